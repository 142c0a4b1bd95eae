package detect

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// successor is another judge that has restored a checkpoint of j.
func successor(t testing.TB, j *Judge) *Judge {
	t.Helper()
	next, err := NewJudge(j.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Restore(j.Checkpoint(nil)); err != nil {
		t.Fatal(err)
	}
	return next
}

// relay replaces the judge after every so many slots; 0: at random, one time in fifty.
func relay(t testing.TB, every int) (heir func(j *Judge) *Judge, times *int) {
	rng, slots, n := rand.New(rand.NewPCG(4, 4)), 0, 0
	return func(j *Judge) *Judge {
		slots++
		if every > 0 && slots%every != 0 || every == 0 && rng.IntN(50) != 0 {
			return j
		}
		n++
		return successor(t, j)
	}, &n
}

// A judge that is replaced again and again says the same, in every member of every revision, as one that never was: where much happens in
// few slots, packets are lost, and entities, incidents and sketches run out of room.
func TestSuccessorsSayTheSame(t *testing.T) {
	busy := func(t *testing.T, seed uint64) *script {
		s := randomScript(t, seed)
		s.losses = []loss{{200, 260, 0.2}, {700, 900, 0.01}}
		return s
	}
	crowded := func(t *testing.T, seed uint64) *script {
		s := randomScript(t, seed)
		s.options.MaxEntities = 64
		return s
	}
	for _, tc := range []struct {
		name   string
		script func(*testing.T, uint64) *script
		seed   uint64
		every  []int
	}{
		{"much at once", busy, 0, []int{97, 997, 0}},
		{"little room", crowded, 100, []int{97, 997, 0}},
		{"and again", busy, 1, []int{29}},
		{"and again, with little room", crowded, 101, []int{29}},
		{"every few slots", crowded, 102, []int{5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && tc.every[0] < 90 {
				t.Skip("-short")
			}
			want, judge := tc.script(t, tc.seed).play(1, 1)
			if n := len(categories(want)); n < 8 {
				t.Fatalf("%d incidents: the scene is too tame", n)
			}
			for _, every := range tc.every {
				s := tc.script(t, tc.seed)
				var times *int
				s.heir, times = relay(t, every)
				got, last := s.play(1, 1)
				if *times == 0 {
					t.Fatal("nobody was replaced")
				}
				if d := diff.Diff(want, got); d != "" {
					t.Fatalf("replaced %d times, every %d slots (-never +replaced)\n%.3000s", *times, every, d)
				}
				if !bytes.Equal(judge.Checkpoint(nil), last.Checkpoint(nil)) {
					t.Errorf("replaced %d times, it knows something else", *times)
				}
			}
		})
	}
}

// So it is in the quarter of an hour of an office with attacks, with the default options but for the budget, and where an incident began in a crowd.
func TestSuccessorsInAnOffice(t *testing.T) {
	from := func(first, n int) func(int) models.ConnSlot {
		return func(i int) models.ConnSlot { return attemptAt(hostN(first+i%n), addr("10.0.0.11"), 80, i%3 == 0) }
	}
	crowd := together(over(10, 3000, from(0, 3000)), append(idle(250), over(20, 30_000, from(0, 20_000))...))
	for _, tc := range []struct {
		name  string
		scene [][]models.ConnSlot
		every int
	}{{"office", lively(0), 997}, {"crowd", crowd, 97}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && tc.name == "office" {
				t.Skip("-short")
			}
			o := Options{BudgetDay: 500, Window: 1000}
			whole, j := judgeOf(t, o), judgeOf(t, o)
			want := append(play(whole, firstSlot, tc.scene), whole.Finish()...)
			var got []models.Alert
			for i := 0; i < len(tc.scene); i += tc.every {
				got = append(got, play(j, firstSlot+int64(i), tc.scene[i:min(i+tc.every, len(tc.scene))])...)
				j = successor(t, j)
			}
			got = append(got, j.Finish()...)
			if d := diff.Diff(want, got); d != "" || len(want) == 0 {
				t.Errorf("%d alerts (-never +replaced)\n%.3000s", len(want), d)
			}
		})
	}
}

// What is written twice, or restored and written again, is the same bytes.
func TestCheckpointsAreDeterministic(t *testing.T) {
	j := judgeOf(t, Options{BudgetDay: 500, Window: 1000})
	play(j, firstSlot, lively(0)[:1380*25+7])
	b := j.Checkpoint(nil)
	if !bytes.Equal(b, j.Checkpoint(nil)) {
		t.Error("written twice, it differs")
	}
	if !bytes.Equal(b, successor(t, j).Checkpoint(nil)) {
		t.Error("restored and written again, it differs")
	}
}

func TestDamagedAndForeignCheckpoints(t *testing.T) {
	j := judgeOf(t, Options{Window: 1000})
	play(j, firstSlot, lively(0)[:60*25])
	whole := j.Checkpoint(nil)
	version := slices.Clone(whole)
	version[len(checkpointMagic)]++
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	elsewhere, err := NewJudge(Options{Window: 1000, Sensor: "another"})
	if err != nil {
		t.Fatal(err)
	}
	small := judgeOf(t, Options{Window: 1000, MaxEntities: 16})
	for _, tc := range []struct {
		name string
		to   *Judge
		b    []byte
		want error
	}{
		{"empty", j, nil, ErrStateDamaged},
		{"a saved state", j, j.AppendState(nil, true), ErrStateDamaged},
		{"another version", j, version, ErrStateOther},
		{"one bit", j, flipped, ErrStateDamaged},
		{"a byte too many", j, sealed(append(slices.Clone(whole[:len(whole)-4]), 0)), ErrStateDamaged},
		{"other trees", j, judgeOf(t, Options{Window: 500}).Checkpoint(nil), ErrStateOther},
		{"another sensor", j, elsewhere.Checkpoint(nil), ErrStateOther},
		{"no room for so many", small, whole, ErrStateOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := tc.to.Checkpoint(nil)
			if err := tc.to.Restore(tc.b); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if !bytes.Equal(before, tc.to.Checkpoint(nil)) {
				t.Error("the judge is not as before")
			}
		})
	}
	if err := j.LoadState(whole); !errors.Is(err, ErrStateDamaged) {
		t.Errorf("as a saved state it is loaded: %v", err)
	}
	for n := 0; n < len(whole)-1; n += 1 + n/50 {
		if err := j.Restore(whole[:n]); !errors.Is(err, ErrStateDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if err := j.Restore(sealed(whole[:n])); err == nil {
			t.Fatalf("cut to %d bytes and sealed anew, it is restored", n)
		}
	}
}

// Whoever adds a field to what a judge knows is reminded here that its successor needs it.
func TestEveryPartIsInTheCheckpoint(t *testing.T) {
	for _, tc := range []struct {
		of   any
		want int
	}{
		{Judge{}, 34}, // of which nine are scratch, and six count for the statistics of one run
		{roleState{}, 6},
		{entities{}, 11},
		{entity{}, 19},
		{half{}, 3},
		{tally{}, 11},
		{recent{}, 2},
		{sender{}, 2},
		{sketch{}, 4},
		{claims{}, 3},
		{claimed{}, 2},
		{conflict{}, 4},
		{lossEntry{}, 3},
		{surplus{}, 14},
		{windows{}, 12},
	} {
		if got := reflect.TypeOf(tc.of).NumField(); got != tc.want {
			t.Errorf("%T has %d fields, %d when its checkpoint was written: add the new one to checkpoint.go, count checkpointVersion up, then change this number", tc.of, got, tc.want)
		}
	}
	stored(t, "tally", (*codec).tally)
}

// Whatever the bytes are: no panic, no checkpoint that cannot be written again, and a judge that works. What stands for the state is that of a
// judge that knows nothing; FuzzLoadState tries others.
func FuzzRestore(f *testing.F) {
	o := Options{Window: 100, MaxEntities: 256}
	j := judgeOf(f, o)
	c := codec{b: appendHeader(nil, checkpointMagic, checkpointVersion, &j.options), whole: true}
	c.u64(&j.received)
	c.u64(&j.lost)
	s := j.state(true)
	s.end = (firstSlot + 5*25) * models.SlotMicros
	s.values(&c)
	front := c.b
	seed := func(w *windows) {
		c := codec{base: s.end, whole: true}
		c.windows(w, s)
		f.Add(c.b)
	}
	seed(j.windows())
	crowd := over(5, 600, func(i int) models.ConnSlot { return attemptAt(hostN(i%20), addr("10.0.0.11"), uint16(i%250), false) })
	play(j, firstSlot, crowd)
	w := j.windows()
	w.order = nil // there is no incident in the state
	seed(w)
	later := office(3, 8)
	f.Fuzz(func(t *testing.T, body []byte) {
		next := judgeOf(t, o)
		if next.Restore(sealed(slices.Concat(front, body))) != nil {
			return
		}
		if err := judgeOf(t, o).Restore(next.Checkpoint(nil)); err != nil {
			t.Fatalf("what was restored cannot be restored again: %v", err)
		}
		play(next, firstSlot+5*25, later)
		next.Advance((firstSlot + 90*25) * models.SlotMicros)
		next.Finish()
	})
}

// flooded is a judge whose tables are full, and whose entities are all that it has room for: each of 60,000 hosts has tried ten others.
func flooded(t testing.TB) *Judge {
	j := full(t)
	play(j, j.end/models.SlotMicros+1, over(10, 600_000, func(i int) models.ConnSlot {
		return attemptAt(spoofed(i%60_000), spoofed(100_000+i*7919%60_000), uint16(i), false)
	}))
	return j
}

// So is a checkpoint in the worst case; a broker takes 16 MB of it.
func TestTheCheckpointStaysSmall(t *testing.T) {
	j := flooded(t)
	b := j.Checkpoint(nil)
	t.Logf("all tables full: %.1f MB; a small office: %.2f MB", float64(len(b))/1e6, float64(len(judgeAfter(t).Checkpoint(nil)))/1e6)
	const most = 80 << 20
	if len(b) > most {
		t.Errorf("%d bytes, want %d at most", len(b), most)
	}
	if !bytes.Equal(b, successor(t, j).Checkpoint(nil)) {
		t.Error("restored and written again, it differs")
	}
}

func BenchmarkCheckpoint(b *testing.B) {
	for name, j := range map[string]*Judge{"full": flooded(b), "office": judgeAfter(b)} {
		b.Run(name, func(b *testing.B) {
			var buffer []byte
			b.ReportAllocs()
			for b.Loop() {
				buffer = j.Checkpoint(buffer[:0])
			}
			b.SetBytes(int64(len(buffer)))
		})
	}
}

func BenchmarkRestore(b *testing.B) {
	j := judgeAfter(b)
	checkpoint := j.Checkpoint(nil)
	for b.Loop() {
		if err := j.Restore(checkpoint); err != nil {
			b.Fatal(err)
		}
	}
}
