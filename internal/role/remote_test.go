package role

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"netlyra/internal/bus"
	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// sampleSlots are the slots of the sample, copied.
func sampleSlots(t testing.TB) (slots []models.SensorSlot) {
	t.Helper()
	p, err := pipeline.New(pipeline.Options{Sensor: "s", Sources: []pipeline.Source{openSample(t)}, Wait: true, Outputs: pipeline.Outputs{Records: pipeline.Records{
		Slots: func(_ context.Context, s *models.SensorSlot) error {
			c := *s
			c.Parts = slices.Clone(s.Parts)
			for i, p := range c.Parts {
				c.Parts[i] = models.SlotPart{Conns: slices.Clone(p.Conns), Failed: slices.Clone(p.Failed), ARP: slices.Clone(p.ARP), DNS: slices.Clone(p.DNS)}
			}
			slots = append(slots, c)
			return nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return slots
}

// records are the slots of one start of a sensor as they are on the wire.
func records(t testing.TB, sensor string, boot uint64, slots []models.SensorSlot) (all [][]byte) {
	t.Helper()
	e, err := bus.NewSlotEncoder(sensor, boot)
	if err != nil {
		t.Fatal(err)
	}
	for i := range slots {
		if err := e.Encode(&slots[i], func(_ bus.SlotKind, record []byte) error { all = append(all, bytes.Clone(record)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// partition is a log in memory, the checkpoints and alerts that are kept outside of any detector, and the faults that it has.
type partition struct {
	t       *testing.T
	entries []Entry
	first   int64 // offset of the oldest entry that is kept
	rng     *rand.Rand

	at      int                 // next entry to be polled
	from    []int64             // what has been sought
	kept    []models.Alert      // acknowledged
	sent    []models.Alert      // not acknowledged yet
	history map[string][][]byte // checkpoints of each sensor
	older   int                 // a zombie may have written its checkpoint up to so many places late
	rejects []string
	refuses bool // to take checkpoints

	most  int // detectors that are killed
	steps int // until whoever uses this is killed; below 0: nobody is
}

var errKilled = errors.New("killed")

// step is one thing that somebody does who may be killed before it.
func (p *partition) step() error {
	if p.steps == 0 {
		return errKilled
	}
	p.steps--
	return nil
}

// seek has the next poll begin at an offset, or with the oldest record where that is not in the log, as a broker does.
func (p *partition) seek(offset int64) {
	p.from = append(p.from, offset)
	p.at = int(max(offset, p.first) - p.first)
	if p.at > len(p.entries) {
		p.at = 0
	}
}

// poll gives some records; none at the end.
func (p *partition) poll() []Entry {
	from := p.at
	p.at = min(p.at+1+p.rng.IntN(40), len(p.entries))
	return p.entries[from:p.at]
}

// latest are the last checkpoints, or older ones.
func (p *partition) latest() map[string][]byte {
	latest := map[string][]byte{}
	for sensor, all := range p.history {
		latest[sensor] = all[max(len(all)-1-p.rng.IntN(p.older+1), 0)]
	}
	return latest
}

func (p *partition) Save(_ context.Context, sensor string, b []byte) error {
	if err := p.step(); err != nil {
		return err
	}
	if p.refuses {
		return ErrCheckpoint
	}
	if len(p.sent) > 0 {
		p.t.Error("a checkpoint is written before the alerts in front of it are kept")
	}
	p.history[sensor] = append(p.history[sensor], bytes.Clone(b))
	return p.step() // or it is killed when it has been kept
}

func (p *partition) Forget(_ context.Context, sensor string) error {
	p.history[sensor] = append(p.history[sensor], nil)
	return p.step()
}

func (p *partition) Send(_ context.Context, alerts []models.Alert) error {
	if err := p.step(); err != nil {
		return err
	}
	p.sent = append(p.sent, alerts...)
	return nil
}

func (p *partition) Flush(context.Context) error {
	p.kept, p.sent = append(p.kept, p.sent...), nil
	return p.step()
}

func newPartition(t *testing.T, seed uint64, entries []Entry) *partition {
	t.Helper()
	for i := range entries {
		entries[i].Offset = int64(i)
	}
	return &partition{t: t, entries: entries, rng: rand.New(rand.NewPCG(seed, 6)), history: map[string][][]byte{}, steps: -1}
}

// detector is one that reads the partition, whose checkpoints are every so many slots.
func (p *partition) detector(every int) *RemoteDetector {
	p.t.Helper()
	d, err := NewRemoteDetector(RemoteOptions{Detect: detect.Options{MaxEntities: 4096}, Every: every, Sensors: 8}, RemoteDeps{
		Checkpoints: p, Alerts: p, Log: slog.New(slog.DiscardHandler),
		Rejected: func(_ context.Context, e Entry, reason error) error {
			p.rejects = append(p.rejects, fmt.Sprintf("%s %d: %v", e.Sensor, e.Offset, reason))
			return nil
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

func (p *partition) begin(d *RemoteDetector) {
	p.t.Helper()
	from, err := d.Begin(p.t.Context(), p.latest())
	if err != nil {
		p.t.Fatal(err)
	}
	p.seek(from)
}

// drive gives a detector the rest of the records.
func (p *partition) drive(d *RemoteDetector) error {
	for {
		entries := p.poll()
		if len(entries) == 0 {
			return d.End(p.t.Context())
		}
		for _, e := range entries {
			if err := d.Take(p.t.Context(), e); err != nil {
				return err
			}
		}
		if err := p.step(); err != nil {
			return err
		}
	}
}

// run reads the partition to its end, with one detector after the other if they are killed.
func (p *partition) run(every, steps int) (counts RemoteCounts, kills int) {
	p.t.Helper()
	for {
		if p.steps = -1; steps > 0 && kills < p.most {
			p.steps = p.rng.IntN(steps)
		}
		d := p.detector(every)
		p.begin(d)
		err := p.drive(d)
		if err == nil {
			return d.Counts(), kills
		}
		if !errors.Is(err, errKilled) {
			p.t.Fatal(err)
		}
		kills++
		arrived := p.rng.IntN(len(p.sent) + 1) // of what was on its way
		p.kept, p.sent = append(p.kept, p.sent[:arrived]...), nil
	}
}

// revisions are the alerts that a reader has who knows each revision of each incident once. Two of one are the same.
func revisions(t *testing.T, alerts []models.Alert) []models.Alert {
	t.Helper()
	known := map[string]models.Alert{}
	for _, a := range alerts {
		k := fmt.Sprintf("%s %s %06d", a.Sensor, a.ID, a.Rev)
		if before, ok := known[k]; ok {
			if d := diff.Diff(before, a); d != "" {
				t.Fatalf("%s came a second time, and says something else\n%s", k, d)
			}
		}
		known[k] = a
	}
	all := make([]models.Alert, 0, len(known))
	for _, k := range slices.Sorted(maps.Keys(known)) {
		all = append(all, known[k])
	}
	return all
}

// mixed has the records of several sensors, each in its order.
func mixed(rng *rand.Rand, sensors map[string][][]byte) (entries []Entry) {
	names := slices.Sorted(maps.Keys(sensors))
	for len(names) > 0 {
		i := rng.IntN(len(names))
		rest := sensors[names[i]]
		n := min(1+rng.IntN(30), len(rest))
		for _, r := range rest[:n] {
			entries = append(entries, Entry{Sensor: names[i], Record: r})
		}
		if sensors[names[i]] = rest[n:]; len(rest) == n {
			names = slices.Delete(names, i, i+1)
		}
	}
	return entries
}

// scan is a slot so large that it takes several records.
func scan(n int64) models.SensorSlot {
	s := models.SensorSlot{N: n, Received: 10_000, Parts: make([]models.SlotPart, 1)}
	for i := range 9000 {
		s.Parts[0].Conns = append(s.Parts[0].Conns, models.ConnSlot{
			Orig: models.AddrFrom4([]byte{10, 9, 9, 9}), Resp: models.AddrFrom4([]byte{10, 0, 0, 10}), OrigPort: 40_000, RespPort: uint16(1 + i), Proto: models.ProtoTCP, New: true,
			State: models.ConnSynSent, Start: n * models.SlotMicros, First: n * models.SlotMicros, Last: n * models.SlotMicros, Up: models.SlotDir{Packets: 1, Bytes: 60},
		})
	}
	return s
}

// eventful is what four sensors say: one is started anew, of another records are missing, cannot be read or come twice, the third is silent at first
// and has slots of many records, the clock of the fourth is set back.
func eventful(t *testing.T) []Entry {
	slots := sampleSlots(t)
	half := len(slots) / 2
	a := append(records(t, "a", 11, slots[:half]), records(t, "a", 12, slots[half:])...)
	b := records(t, "b", 21, slots)
	b = slices.Delete(b, 200, 230)
	b[300] = b[300][:len(b[300])/2]
	b = slices.Insert(b, 100, b[95:100]...)
	c := records(t, "c", 31, append([]models.SensorSlot{scan(slots[0].N - 50), scan(slots[0].N - 49)}, slots...))
	n := slots[0].N
	back := []models.SensorSlot{scan(n), {N: n + 5, Received: 10_000}, {N: n - 2000, Epoch: 1, Received: 20_000}, scan(n - 1990)}
	d := records(t, "d", 41, append(back, slots...))
	rng := rand.New(rand.NewPCG(8, 8))
	first := mixed(rng, map[string][][]byte{"a": a[:100], "b": b[:150]})
	return append(first, mixed(rng, map[string][][]byte{"a": a[100:], "b": b[150:], "c": c, "d": d})...)
}

// Detectors that are killed at any place, before and after an alert or a checkpoint is kept, and taken over from their last checkpoints or from
// older ones, give the alerts of one that lives: none is lost, none is new, and what comes twice is the same.
func TestARemoteDetectorIsTakenOver(t *testing.T) {
	entries := eventful(t)
	alive := newPartition(t, 0, slices.Clone(entries))
	counts, _ := alive.run(1<<30, 0)
	want := revisions(t, alive.kept)
	if len(want) < 20 || counts.Restarts != 1 || counts.Missing != 31 || counts.Damaged != 1 || counts.Repeated != 5 {
		t.Fatalf("%d revisions, %+v: the scene is too tame", len(want), counts)
	}
	seeds, most := uint64(12), 30
	if testing.Short() {
		seeds, most = 3, 6
	}
	for seed := range seeds {
		p := newPartition(t, seed, slices.Clone(entries))
		p.older, p.most = int(seed%3), most
		_, kills := p.run([]int{1, 7, 40, 150}[seed%4], 20+int(seed)*8)
		if kills < 3 {
			t.Errorf("seed %d: %d were killed", seed, kills)
		}
		if d := diff.Diff(want, revisions(t, p.kept)); d != "" {
			t.Errorf("seed %d, %d killed (-alive +taken over)\n%.3000s", seed, kills, d)
		}
	}
}

// What is read from records is what is told by a call.
func TestARemoteDetectorSaysWhatOneInTheProcessDoes(t *testing.T) {
	slots := sampleSlots(t)
	var want []models.Alert
	here, err := NewDetector(DetectorOptions{Sensor: "a", Detect: detect.Options{MaxEntities: 4096}}, DetectorDeps{Alerts: func(_ context.Context, as []models.Alert) error {
		want = append(want, as...)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range slots {
		if err := here.Slot(t.Context(), &slots[i]); err != nil {
			t.Fatal(err)
		}
	}
	var entries []Entry
	for _, r := range records(t, "a", 1, slots) {
		entries = append(entries, Entry{Sensor: "a", Record: r})
	}
	p := newPartition(t, 1, entries)
	p.run(50, 0)
	if d := diff.Diff(want, p.kept); d != "" || len(want) == 0 {
		t.Errorf("%d alerts (-in the process +by records)\n%s", len(want), d)
	}
}

// What lacks, comes twice, cannot be read or is another's is counted by its reason and left; the rest is judged.
func TestWhatIsLeftOfAStream(t *testing.T) {
	slots := sampleSlots(t)[:60]
	one := func() [][]byte { return records(t, "a", 1, slots) }
	two := func() [][]byte { return records(t, "a", 2, slots[30:]) }
	large := func() [][]byte { return records(t, "a", 1, []models.SensorSlot{scan(slots[0].N - 1), slots[0]}) } // 3 records, then 1 or more
	n := uint64(len(one()))
	for _, tc := range []struct {
		name    string
		records [][]byte
		want    RemoteCounts
		rejects int
	}{
		{name: "whole", records: one(), want: RemoteCounts{Slots: 60}},
		{name: "ten are missing", records: slices.Delete(one(), 20, 30), want: RemoteCounts{Missing: 10}},
		{name: "the end of a slot is missing", records: slices.Delete(large(), 2, 3), want: RemoteCounts{Slots: 1, Missing: 1, Cut: 2}},
		{name: "the beginning of a slot is missing", records: large()[1:], want: RemoteCounts{Slots: 1, Cut: 2}},
		{name: "the middle of a slot is missing", records: slices.Delete(large(), 1, 2), want: RemoteCounts{Slots: 1, Missing: 1, Cut: 2}},
		{name: "all come twice", records: slices.Concat(one(), one()), want: RemoteCounts{Slots: 60, Repeated: n}},
		{name: "started anew", records: slices.Concat(one(), two()), want: RemoteCounts{Slots: 90, Restarts: 1}},
		{name: "started anew within a slot", records: slices.Concat(large()[:2], two()), want: RemoteCounts{Slots: 30, Restarts: 1, Cut: 2}},
		{name: "two of one name", records: slices.Concat(one()[:10], two()[:10], one()[10:], two()[10:]), want: RemoteCounts{Restarts: 1, Second: n - 10}},
		{name: "damaged", records: slices.Insert(one(), 10, []byte("something else"), nil), want: RemoteCounts{Slots: 60, Damaged: 2}, rejects: 2},
		{name: "of another sensor", records: slices.Concat(one(), records(t, "b", 1, slots)), want: RemoteCounts{Slots: 60, Damaged: n}, rejects: int(n)},
		{name: "a file, read twice", records: slices.Concat(records(t, "a", 0, slots), records(t, "a", 0, slots)), want: RemoteCounts{Slots: 120, Restarts: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var entries []Entry
			for _, r := range tc.records {
				entries = append(entries, Entry{Sensor: "a", Record: r})
			}
			p := newPartition(t, 1, entries)
			got, _ := p.run(1<<30, 0)
			if got.Checkpoints != 2 { // the first, and the last
				t.Errorf("%d checkpoints", got.Checkpoints)
			}
			got.Checkpoints = 0
			if tc.want.Slots == 0 {
				got.Slots = 0
			}
			if got != tc.want || len(p.rejects) != tc.rejects {
				t.Errorf("%+v, %d handed on\nwant %+v, %d", got, len(p.rejects), tc.want, tc.rejects)
			}
		})
	}
}

// A detector begins where the last checkpoint of every sensor is at or behind it: that of one which nobody has written for yet is written before
// its first record is judged, that of a silent one now and then.
func TestWhereASuccessorBegins(t *testing.T) {
	slots := sampleSlots(t)[:200]
	var entries []Entry
	add := func(sensor string, boot uint64, slots []models.SensorSlot) {
		for _, r := range records(t, sensor, boot, slots) {
			entries = append(entries, Entry{Sensor: sensor, Record: r})
		}
	}
	add("a", 1, slots[:20])
	first := int64(len(entries))
	add("b", 1, slots[:10])
	t.Run("killed before anything is saved", func(t *testing.T) {
		p := newPartition(t, 1, slices.Clone(entries))
		d := p.detector(1 << 30)
		p.begin(d)
		for _, e := range p.entries {
			if err := d.Take(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		next := p.detector(1 << 30)
		p.begin(next)
		if got := next.streams["b"]; got == nil || got.saved != first || p.from[1] != 0 {
			t.Errorf("it begins at %v, with %+v", p.from, got)
		}
	})
	t.Run("a silent sensor", func(t *testing.T) {
		p := newPartition(t, 1, slices.Clone(entries))
		for i := range uint64(2) {
			for _, r := range records(t, "b", 2+i, slots) {
				p.entries = append(p.entries, Entry{Sensor: "b", Record: r, Offset: int64(len(p.entries))})
			}
		}
		p.run(2, 0)
		p.begin(p.detector(2))
		if from := p.from[1]; from < first+refreshFactor || from > int64(len(p.entries)) {
			t.Errorf("it begins at %d of %d: before the last of the one that is silent", from, len(p.entries))
		}
	})
}

// A topic that has been made anew has its offsets from 0 again; one whose oldest records are gone goes on with what is left.
func TestALogThatIsNotAsItWas(t *testing.T) {
	slots := sampleSlots(t)
	all := records(t, "a", 1, slots)
	entries := func(records [][]byte) (es []Entry) {
		for _, r := range records {
			es = append(es, Entry{Sensor: "a", Record: r})
		}
		return es
	}
	p := newPartition(t, 1, entries(all[:300]))
	p.run(50, 0)
	t.Run("made anew", func(t *testing.T) {
		anew := newPartition(t, 1, entries(all[300:]))
		anew.history = maps.Clone(p.history)
		if counts, _ := anew.run(50, 0); counts.Slots == 0 || counts.Missing+counts.Repeated+counts.Restarts != 0 {
			t.Errorf("%+v", counts)
		}
	})
	t.Run("the oldest are gone", func(t *testing.T) {
		rest := newPartition(t, 1, entries(all))
		rest.entries, rest.first = rest.entries[350:], 350
		rest.history = maps.Clone(p.history)
		if counts, _ := rest.run(50, 0); counts.Slots == 0 || counts.Missing != 50 {
			t.Errorf("%+v, want 50 missing", counts)
		}
	})
}

// Who is asked to end writes what it knows, and ends without an error; its successor goes on there, also in the middle of a slot.
func TestARemoteDetectorEndsInOrder(t *testing.T) {
	slots := sampleSlots(t)
	var entries []Entry
	for _, r := range records(t, "a", 1, append([]models.SensorSlot{scan(slots[0].N - 50), scan(slots[0].N - 20), {N: slots[0].N - 2000, Epoch: 1, Received: 20_000}}, slots[:10]...)) {
		entries = append(entries, Entry{Sensor: "a", Record: r})
	}
	whole := newPartition(t, 1, slices.Clone(entries))
	all, _ := whole.run(1<<30, 0)
	for n := 1; n < len(entries); n++ {
		p := newPartition(t, 1, slices.Clone(entries))
		first := p.detector(1 << 30)
		p.begin(first)
		for _, e := range p.entries[:n] {
			if err := first.Take(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := first.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		second, _ := p.run(1<<30, 0)
		if got := first.Counts().Slots + second.Slots; got != all.Slots || first.Counts().Checkpoints > 2 || second.Repeated+second.Missing+second.Cut > 0 {
			t.Errorf("ended behind record %d: %d slots are judged, want %d; %+v, then %+v", n, got, all.Slots, first.Counts(), second)
		}
		if d := diff.Diff(revisions(t, whole.kept), revisions(t, p.kept)); d != "" || len(whole.kept) == 0 {
			t.Errorf("ended behind record %d (-never +ended)\n%.3000s", n, d)
		}
	}
}

// A detector that could not hand on an alert, and is asked to end in order, writes no checkpoint: its successor judges that slot again.
func TestNoCheckpointIsWrittenAfterAnError(t *testing.T) {
	var entries []Entry
	for _, r := range records(t, "a", 1, sampleSlots(t)) {
		entries = append(entries, Entry{Sensor: "a", Record: r})
	}
	whole := newPartition(t, 1, slices.Clone(entries))
	whole.run(1<<30, 0)
	p := newPartition(t, 1, slices.Clone(entries))
	first := p.detector(1 << 30)
	p.begin(first)
	refused := 0
	for _, e := range p.entries {
		if p.steps = -1; len(p.sent) > 3 {
			p.steps = 0 // no alert is taken any more
		}
		if err := first.Take(t.Context(), e); err != nil {
			refused++
		}
	}
	saved := len(p.history["a"])
	p.kept, p.sent, p.steps = append(p.kept, p.sent...), nil, -1
	if err := first.End(t.Context()); !errors.Is(err, errKilled) || refused < 2 || len(p.history["a"]) != saved {
		t.Errorf("%v, %d records refused, %d checkpoints, %d before", err, refused, len(p.history["a"]), saved)
	}
	p.run(1<<30, 0)
	if d := diff.Diff(revisions(t, whole.kept), revisions(t, p.kept)); d != "" {
		t.Errorf("(-never an error +after one)\n%.3000s", d)
	}
}

// While records are missing, and between two starts of a sensor, nobody watches: an incident goes on behind it. The counts of another start begin
// anew.
func TestAnIncidentGoesOnBehindAPause(t *testing.T) {
	const n, pause = 43_200_000_000, 600 * 25 // ten minutes
	slots := make([]models.SensorSlot, 3)
	for i, at := range []int64{n, n + 10, n + pause} {
		slots[i] = scan(at)
		slots[i].Received, slots[i].Lost = 1000, 1000
	}
	again := scan(n + pause)
	again.Received, again.Lost = 1000, 0
	one := records(t, "a", 1, slots)
	perSlot := len(one) / len(slots)
	for _, tc := range []struct {
		name       string
		records    [][]byte
		confidence float64
	}{
		{"records are missing", slices.Concat(one[:perSlot], one[2*perSlot:]), 0.5},
		{"started anew", slices.Concat(one[:perSlot], records(t, "a", 2, []models.SensorSlot{again})), 0.6667},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var entries []Entry
			for _, r := range tc.records {
				entries = append(entries, Entry{Sensor: "a", Record: r})
			}
			p := newPartition(t, 1, entries)
			p.run(1, 0)
			last := p.kept[len(p.kept)-1]
			if last.ID != p.kept[0].ID || last.State != models.AlertOpen || last.Rev < 2 || last.CaptureConfidence != tc.confidence {
				t.Errorf("%+v\nwant it to go on with a confidence of %v", last, tc.confidence)
			}
		})
	}
}

// No more sensors are followed than there may be.
func TestMoreSensorsThanAreFollowed(t *testing.T) {
	var entries []Entry
	slots := sampleSlots(t)[:3]
	for i := range 12 {
		sensor := fmt.Sprint("s", i)
		for _, r := range records(t, sensor, 1, slots) {
			entries = append(entries, Entry{Sensor: sensor, Record: r})
		}
	}
	p := newPartition(t, 1, entries)
	each := uint64(len(entries) / 12)
	if counts, _ := p.run(50, 0); counts.Slots != 8*3 || counts.Refused != 4*each {
		t.Errorf("%+v, want 8 sensors followed", counts)
	}
}

// Who has been silent for long makes room for another, and its checkpoint is taken out; who is silent for a moment does not. A successor follows those that were heard last.
func TestASensorThatIsSilentForLongMakesRoom(t *testing.T) {
	first := sampleSlots(t)[:1]
	p := newPartition(t, 1, nil)
	d := p.detector(50)
	p.begin(d)
	take := func(sensor string, offset int64) {
		t.Helper()
		for _, r := range records(t, sensor, 1, first) {
			if err := d.Take(t.Context(), Entry{Sensor: sensor, Offset: offset, Record: r}); err != nil {
				t.Fatal(err)
			}
		}
	}
	followed := func() string { return strings.Join(slices.Sorted(maps.Keys(d.States())), " ") }
	for i := range int64(8) {
		take(fmt.Sprint("s", i), 100+10*i)
	}
	take("s0", 10_000)
	take("late", 10_010)
	if got := followed(); got != "s0 s1 s2 s3 s4 s5 s6 s7" {
		t.Errorf("followed are %s", got)
	}
	take("s1", 1_000_000)
	take("later", 1_000_010)
	if got := followed(); got != "later s0 s1 s3 s4 s5 s6 s7" || d.Counts().Forgotten != 1 {
		t.Errorf("followed are %s, %+v", got, d.Counts())
	}
	if err := d.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	successor := func(want string) {
		t.Helper()
		d = p.detector(50)
		p.begin(d)
		if got := followed(); got != want {
			t.Errorf("a successor follows %s, want %s", got, want)
		}
	}
	successor("later s0 s1 s3 s4 s5 s6 s7")
	p.history["s2"] = p.history["s2"][:1] // there are nine
	successor("later s0 s1 s3 s4 s5 s6 s7")
	delete(p.history, "later")
	successor("s0 s1 s2 s3 s4 s5 s6 s7")
}

// A record that cannot be read makes no sensor, whatever its key is.
func TestWhatCannotBeReadMakesNoSensor(t *testing.T) {
	p := newPartition(t, 1, []Entry{{Sensor: "made up", Record: []byte("no record")}, {Sensor: "other", Record: records(t, "one", 1, sampleSlots(t)[:1])[0]}})
	counts, _ := p.run(50, 0)
	if counts.Damaged != 2 || len(p.rejects) != 2 || len(p.history) != 0 || counts.Checkpoints != 0 {
		t.Errorf("%+v, rejected %q, checkpoints of %v", counts, p.rejects, slices.Collect(maps.Keys(p.history)))
	}
}

// Where a checkpoint is not taken, the detector goes on, and a successor from the one before.
func TestACheckpointThatIsNotTaken(t *testing.T) {
	p := newPartition(t, 1, eventful(t))
	d := p.detector(20)
	p.begin(d)
	half := len(p.entries) / 2
	for _, e := range p.entries[:half] {
		if err := d.Take(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	before := map[string]int{}
	for sensor, all := range p.history {
		before[sensor] = len(all)
	}
	written := d.Counts().Checkpoints
	p.refuses = true
	for _, e := range p.entries[half:] {
		if err := d.Take(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := d.Counts().Checkpoints; n != written {
		t.Errorf("%d checkpoints counted that were not taken", n-written)
	}
	for sensor, all := range p.history {
		if len(all) != before[sensor] && before[sensor] != 0 {
			t.Errorf("%s has %d checkpoints", sensor, len(all))
		}
	}
	p.refuses = false
	p.run(20, 0)
	if from := p.from[len(p.from)-1]; from >= int64(half) {
		t.Errorf("the successor begins at %d, behind %d", from, half)
	}
	whole := newPartition(t, 1, slices.Clone(p.entries))
	whole.run(20, 0)
	if d := diff.Diff(revisions(t, whole.kept), revisions(t, p.kept)); d != "" {
		t.Error(d)
	}
}

// A checkpoint that cannot be used is left: the sensor is learned anew from the oldest record.
func TestACheckpointThatCannotBeUsed(t *testing.T) {
	all := records(t, "a", 1, sampleSlots(t))
	var entries []Entry
	for _, r := range all {
		entries = append(entries, Entry{Sensor: "a", Record: r})
	}
	p := newPartition(t, 1, entries)
	p.run(50, 0)
	whole := p.history["a"][2]
	c, err := newTakeoverCodec()
	if err != nil {
		t.Fatal(err)
	}
	packed := func(plain string) []byte { return c.encoder.EncodeAll([]byte(plain), nil) }
	at, _, err := c.decode(whole)
	if err != nil || at.next == 0 || !at.any || at.boot != 1 {
		t.Fatalf("%+v, %v", at, err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": whole[:len(whole)-9], "something else": []byte(strings.Repeat("x", 1000)), "another magic": packed("something else"),
		"another version": packed(takeoverMagic + "\xff"), "only a header": packed(takeoverMagic + "\x02"),
		"no judge": c.encode(&at, func(b []byte) []byte { return b }), "a damaged judge": c.encode(&at, func(b []byte) []byte { return append(b, "NetLyra checkpoint\n and more"...) }),
	} {
		t.Run(name, func(t *testing.T) {
			next := newPartition(t, 1, slices.Clone(p.entries))
			next.history["a"] = [][]byte{bytes.Clone(b)}
			counts, _ := next.run(50, 0)
			if next.from[0] != 0 || counts.Missing != 0 {
				t.Errorf("it begins at %v, %+v", next.from, counts)
			}
			if d := diff.Diff(revisions(t, p.kept), revisions(t, next.kept)); d != "" {
				t.Errorf("learned anew (-first +anew)\n%s", d)
			}
		})
	}
}

// nowhere takes what a benchmark has no use for.
type nowhere struct{}

func (nowhere) Send(context.Context, []models.Alert) error { return nil }
func (nowhere) Flush(context.Context) error                { return nil }
func (nowhere) Forget(context.Context, string) error       { return nil }
func (nowhere) Save(context.Context, string, []byte) error { return nil }

// BenchmarkRemoteDetector: what a record costs from its bytes to its alerts, with few rows and with many; a pass has one checkpoint, at its beginning.
func BenchmarkRemoteDetector(b *testing.B) {
	slots := sampleSlots(b)
	var large []models.SensorSlot
	for i := range int64(40) {
		large = append(large, scan(slots[0].N+i))
	}
	for name, slots := range map[string][]models.SensorSlot{"sample": slots, "large": large} {
		all := records(b, "a", 1, slots)
		rows := 0
		for i := range slots {
			for _, p := range slots[i].Parts {
				rows += len(p.Conns) + len(p.Failed) + len(p.DNS) + len(p.ARP)
			}
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				d, err := NewRemoteDetector(RemoteOptions{}, RemoteDeps{Checkpoints: nowhere{}, Alerts: nowhere{}, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				for i, r := range all {
					if err := d.Take(b.Context(), Entry{Sensor: "a", Offset: int64(i), Record: r}); err != nil {
						b.Fatal(err)
					}
				}
			}
			perRecord := float64(b.Elapsed().Nanoseconds()) / float64(b.N*len(all))
			b.ReportMetric(perRecord, "ns/record")
			b.ReportMetric(perRecord*float64(len(all))/float64(rows), "ns/row")
		})
	}
}

// Whatever a checkpoint is: no panic, and what is read is written as it was.
func FuzzTakeover(f *testing.F) {
	c, err := newTakeoverCodec()
	if err != nil {
		f.Fatal(err)
	}
	judge := []byte("a judge")
	p := place{next: 77, any: true, boot: 3, seq: 9, last: -4, left: []uint64{1, 2}}
	c.encode(&p, func(b []byte) []byte { return append(b, judge...) })
	f.Add(bytes.Clone(c.plain))
	f.Fuzz(func(t *testing.T, plain []byte) {
		p, judge, err := c.decode(c.encoder.EncodeAll(plain, nil))
		if err != nil {
			return
		}
		judge = bytes.Clone(judge)
		if c.encode(&p, func(b []byte) []byte { return append(b, judge...) }); !bytes.Equal(c.plain, plain) {
			t.Errorf("%q is written as %q", plain, c.plain)
		}
	})
}
