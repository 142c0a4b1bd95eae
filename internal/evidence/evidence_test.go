package evidence

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func frame(ts int64, data string) *models.Frame {
	return &models.Frame{TS: ts, Data: []byte(data), WireLen: uint32(len(data)), Link: models.LinkEthernet}
}

func TestPacketsAreCopiesInOrder(t *testing.T) {
	r := New(0)
	f := frame(1, "one")
	r.Add(7, f)
	copy(f.Data, "xxx") // the source reuses its memory
	r.Add(8, frame(2, "two"))
	r.Add(7, frame(3, "three"))
	var got []string
	for _, p := range r.Packets(7) {
		got = append(got, string(p.Data))
	}
	if d := cmp.Diff([]string{"one", "three"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestTheOldestGiveWayAndLongOnesAreCut(t *testing.T) {
	r := New(minimumBytes)
	room := len(r.records)
	long := string(make([]byte, 5000))
	for i := range room + 10 {
		r.Add(int64(i), frame(int64(i), long))
	}
	if got := r.Packets(9); got != nil {
		t.Errorf("packet 9 is still there: %+v", got)
	}
	last := r.Packets(int64(room + 9))
	if len(last) != 1 || len(last[0].Data) != snapBytes || last[0].WireLen != 5000 {
		t.Errorf("%+v", last)
	}
}

func TestNothingIsAllocatedPerPacket(t *testing.T) {
	r, f := New(0), frame(1, "data")
	if n := testing.AllocsPerRun(100, func() { r.Add(1, f) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
