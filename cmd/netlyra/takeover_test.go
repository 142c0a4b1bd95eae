package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/bus"
	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/traffic"
)

// nextSlot gives the slots of a sensor one by one; io.EOF at their end.
type nextSlot func() (*models.SensorSlot, error)

// slotsOf are recorded slots; encodedSlots the same from the records of the wire.
func slotsOf(slots []models.SensorSlot) nextSlot {
	return func() (*models.SensorSlot, error) {
		if len(slots) == 0 {
			return nil, io.EOF
		}
		s := &slots[0]
		slots = slots[1:]
		return s, nil
	}
}

func encodedSlots(t *testing.T, slots []models.SensorSlot) nextSlot {
	t.Helper()
	enc, err := bus.NewSlotEncoder("s", 7)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	for i := range slots {
		if err := enc.Encode(&slots[i], func(_ bus.SlotKind, record []byte) error { _, err := stream.Write(record); return err }); err != nil {
			t.Fatal(err)
		}
	}
	r, err := bus.NewSlotReader(&stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r.Next
}

// takenOver gives all revisions of a detector that is replaced from its checkpoint behind each slot that kill names, how often it was, and the
// longest checkpoint.
func takenOver(t *testing.T, next nextSlot, o detect.Options, kill func(slot int) bool) (alerts []models.Alert, times, longest int) {
	t.Helper()
	newJudge := func() *detect.Judge {
		j, err := detect.NewJudge(o)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j, other := newJudge(), newJudge()
	var checkpoint []byte
	for i := 0; ; i++ {
		s, err := next()
		if errors.Is(err, io.EOF) {
			return append(alerts, slices.Clone(j.Finish())...), times, longest
		}
		if err != nil {
			t.Fatal(err)
		}
		parts := make([]*detect.Accumulator, len(s.Parts))
		for p := range s.Parts {
			parts[p] = &detect.Accumulator{}
			parts[p].Take(&s.Parts[p])
		}
		alerts = append(alerts, slices.Clone(j.Slot(s.N, parts, s.Received, s.Lost))...)
		if !kill(i) {
			continue
		}
		checkpoint = j.Checkpoint(checkpoint[:0])
		if times%10 == 0 { // what one knows that was killed before does not matter to it
			other = newJudge()
		}
		if err := other.Restore(checkpoint); err != nil {
			t.Fatal(err)
		}
		j, other = other, j
		times, longest = times+1, max(longest, len(checkpoint))
	}
}

// A detector that has been killed is replaced by another, which goes on from its last checkpoint with the slots behind it: no alert is lost, none
// is new, and each says the same in every member.
func TestADetectorIsTakenOver(t *testing.T) {
	captures := map[string]string{"sample": sample}
	if !testing.Short() {
		captures["office"] = filepath.Join(t.TempDir(), "office.pcap")
		o := traffic.Options{Seed: 5, Duration: 28 * time.Minute, Changing: true}
		for i, family := range []string{
			"flood_syn", "brute_ssh", "scan_vertical_tcp", "scan_udp", "amplification_dns", "dns_tunnel_txt", "icmp_tunnel", "arp_spoof", "scan_arp_sweep",
			"flood_icmp", "exfil_https_upload", "rogue_dhcp", "worm", "lease_change", "beacon_regular",
		} {
			o.Plays = append(o.Plays, traffic.Play{Family: family, At: 16*time.Minute + time.Duration(20*i)*time.Second, Seed: uint64(i)})
		}
		writeOffice(t, captures["office"], o)
		const shared = "../../../shared/captures"
		if _, err := os.Stat(filepath.Join(shared, "compose.py")); err == nil {
			captures["office-dev"] = compose(t, shared, "office-dev")
		}
	}
	every := func(n int) func(int) bool { return func(slot int) bool { return slot%n == n-1 } }
	for name, file := range captures {
		slots := recordedSlots(t, file, 2)
		for _, budget := range []float64{0, 2000} {
			o := detect.Options{Sensor: "s", Seed: analysisSeed, BudgetDay: budget}
			want, _, _ := takenOver(t, slotsOf(slots), o, func(int) bool { return false })
			if len(want) < 10 {
				t.Errorf("%s: %d revisions: they show little", name, len(want))
			}
			rng := rand.New(rand.NewPCG(1, 2))
			type takeover struct {
				name string
				next nextSlot
				kill func(int) bool
			}
			all := []takeover{{"at random, by the wire", encodedSlots(t, slots), func(int) bool { return rng.IntN(200) == 0 }}}
			if budget > 0 { // more happens
				all = append(all, takeover{"every 97 slots", slotsOf(slots), every(97)}, takeover{"every 397 slots, by the wire", encodedSlots(t, slots), every(397)})
			}
			for _, tc := range all {
				got, times, longest := takenOver(t, tc.next, o, tc.kill)
				if times == 0 {
					t.Errorf("%s, %s: nobody was replaced", name, tc.name)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s, budget %v, replaced %d times, %s (-never +replaced)\n%.3000s", name, budget, times, tc.name, d)
				}
				t.Logf("%s, budget %v, %s: %d revisions, %d slots, replaced %d times, %d bytes at most", name, budget, tc.name, len(want), len(slots), times, longest)
			}
		}
	}
}
