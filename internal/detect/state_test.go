package detect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// play gives slots to a judge, the first of them slot n.
func play(j *Judge, n int64, slots [][]models.ConnSlot) (alerts []models.Alert) {
	a := &Accumulator{}
	for i, s := range slots {
		var moving, failed []models.ConnSlot
		for _, c := range s {
			at(&c, n+int64(i))
			if c.Failed {
				failed = append(failed, c)
			} else {
				moving = append(moving, c)
			}
		}
		a.Reset()
		a.Add(moving)
		a.Fail(failed)
		alerts = append(alerts, slices.Clone(j.Slot(n+int64(i), []*Accumulator{a}, 0, 0))...)
	}
	return alerts
}

func judgeOf(t testing.TB, o Options) *Judge {
	t.Helper()
	o.Sensor = "test"
	j, err := NewJudge(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// restarted is another judge that has loaded what j saves.
func restarted(t testing.TB, j *Judge, orderly bool) *Judge {
	t.Helper()
	b := j.AppendState(nil, orderly)
	next := judgeOf(t, j.options)
	if err := next.LoadState(b); err != nil {
		t.Fatal(err)
	}
	return next
}

// lively is a quarter of an hour of an office in which things of all kinds happen, then ten minutes with attacks. Between slots quiet and
// quiet+30 s nothing moves.
func lively(quiet int) [][]models.ConnSlot {
	attacker, mac := addr("10.0.0.3"), models.MAC{2, 0, 0, 0, 0, 3}
	beacon := idle(1600 * 25)
	for i := 920 * 25; i < len(beacon); i += 20 * 25 {
		s := attemptAt(hostN(2), addr("203.0.113.7"), 4444, true)
		s.OrigMAC, s.TotalUp, s.TotalDown, s.Finished = models.MAC{2, 0, 0, 0, 0, 2}, 400, 300, true
		beacon[i] = append(beacon[i], s)
	}
	all := together(office(1600, 4), beacon, append(idle(1300*25), over(100, 60, func(i int) models.ConnSlot {
		s := unanswered(attacker, hostN(i), 22)
		s.OrigMAC = mac
		return s
	})...), append(idle(1450*25), over(60, 300, func(int) models.ConnSlot {
		s := attemptAt(hostN(5), hostN(1001), 22, true)
		s.TotalUp, s.TotalDown, s.Finished = 900, 1200, true
		return s
	})...))
	for i := quiet; i < min(quiet+30*25, len(all)); i++ {
		all[i] = nil
	}
	return all
}

// A judge that is stopped while nothing has moved for the length of its windows, and goes on later from what it has saved, says the
// same, to the last byte, as one that was never stopped.
func TestLoadedGoesOnAsIfNeverStopped(t *testing.T) {
	for _, second := range []int{950, 1350, 1550} {
		quiet := second * 25
		scene, stop := lively(quiet), quiet+25*25
		o := Options{BudgetDay: 500, Window: 1000}
		whole := judgeOf(t, o)
		want := append(play(whole, firstSlot, scene), whole.Finish()...)
		if n := len(categories(want)); n < 3 {
			t.Fatalf("only %d incidents: %v", n, categories(want))
		}
		first := judgeOf(t, o)
		got := play(first, firstSlot, scene[:stop])
		next := restarted(t, first, true)
		got = append(got, play(next, firstSlot+int64(stop), scene[stop:])...)
		got = append(got, next.Finish()...)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("stopped after %d s (-whole +stopped)\n%s", second, d)
		}
	}
}

// What is saved twice, or loaded and saved again, is the same bytes.
func TestSavingIsDeterministic(t *testing.T) {
	j := judgeOf(t, Options{BudgetDay: 500, Window: 1000})
	play(j, firstSlot, lively(0)[:1380*25])
	if len(j.incidents) == 0 {
		t.Fatal("no incident is open: the test sees too little")
	}
	b := j.AppendState(nil, true)
	if !bytes.Equal(b, j.AppendState(nil, true)) {
		t.Error("saved twice, it differs")
	}
	if again := restarted(t, j, true).AppendState(nil, true); !bytes.Equal(b, again) {
		t.Errorf("loaded and saved again, it differs: %d and %d bytes", len(b), len(again))
	}
}

// A restart in the middle of an attack, orderly or not, after a pause of any length: the same incident goes on.
func TestARestartDoesNotAlertAnew(t *testing.T) {
	attacker, victim := addr("10.0.9.9"), addr("10.0.0.10")
	for _, tc := range []struct {
		name    string
		orderly bool
		lost    int // slots judged after the state was saved
		pause   int // slots
	}{
		{"at once", true, 0, 0},
		{"after a minute", true, 0, 60 * 25},
		{"after half an hour", true, 0, 1800 * 25},
		{"killed", false, 20 * 25, 0},
		{"killed, and back after ten minutes", false, 20 * 25, 600 * 25},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scan := over(60, 3000, func(i int) models.ConnSlot { return attemptAt(attacker, victim, uint16(1+i), false) })
			j := judgeOf(t, Options{})
			before := play(j, firstSlot, scan[:30*25])
			next := restarted(t, j, tc.orderly)
			after := 30*25 + tc.lost
			before = append(before, play(j, firstSlot+30*25, scan[30*25:after])...)
			got := play(next, firstSlot+int64(after+tc.pause), scan[after:])
			got = append(got, next.Finish()...)
			last := before[len(before)-1]
			if len(got) == 0 {
				t.Fatal("the incident does not go on")
			}
			for _, a := range got {
				if a.ID != last.ID || a.Rev <= last.Rev || a.TS != last.TS {
					t.Fatalf("%s rev %d of %v, want %s above rev %d of %v", a.ID, a.Rev, a.TS, last.ID, last.Rev, last.TS)
				}
				last = a
			}
			if last.State != models.AlertClosed {
				t.Errorf("%+v", last)
			}
			if n := last.Ports.Total; n < uint64(3000-50*tc.lost/25-200) || n > 3100 {
				t.Errorf("%d ports", n)
			}
		})
	}
}

// What has gone silent while nobody watched is closed at its own time: soon, if the pause was short, and at once if it was long.
func TestSilentIncidentsCloseAfterARestart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		pause   int64 // seconds
		closing int64 // seconds after it
	}{{"short", 600, 61}, {"long", 86_400, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			j := judgeOf(t, Options{})
			before := play(j, firstSlot, over(10, 1000, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) }))
			last := before[len(before)-1]
			end := j.end
			next := restarted(t, j, true)
			var closed []models.Alert
			for s := range int64(120) {
				for _, a := range next.Advance(end + (tc.pause+s)*secondMicros) {
					closed = append(closed, a)
					if s > tc.closing || s < tc.closing-5 {
						t.Errorf("closed %d s after the pause, want %d", s, tc.closing)
					}
				}
			}
			if len(closed) != 1 || closed[0].State != models.AlertClosed || closed[0].ID != last.ID || int64(closed[0].LastTS) > end {
				t.Errorf("%+v", closed)
			}
		})
	}
}

// A pause is no interval of a beacon, no time watched, and grants no budget. So it is where slots are missing, or the sensor was not there.
func TestAPauseTellsNothing(t *testing.T) {
	t.Run("another judge", func(t *testing.T) { checkPause(t, func(j *Judge) *Judge { return restarted(t, j, true) }) })
	t.Run("a gap", func(t *testing.T) { checkPause(t, func(j *Judge) *Judge { j.Gap(); return j }) })
	t.Run("another start of the sensor", func(t *testing.T) { checkPause(t, func(j *Judge) *Judge { j.Restarted(); return j }) })
	t.Run("a gap, then a successor", func(t *testing.T) { checkPause(t, func(j *Judge) *Judge { j.Gap(); return successor(t, j) }) })
}

func checkPause(t *testing.T, pause func(*Judge) *Judge) {
	t.Helper()
	j := judgeOf(t, Options{})
	call := func(n int64) {
		s := attemptAt(hostN(2), addr("203.0.113.7"), 4444, true)
		play(j, n, [][]models.ConnSlot{{s}})
	}
	const period = 600 * 25
	for i := range int64(8) {
		call(firstSlot + i*period)
	}
	elapsed := j.elapsed
	for i := range int64(20) {
		j = pause(j)
		call(firstSlot + (8+i)*period)
	}
	p := j.pairs.find(pairKey{hostN(2), addr("203.0.113.7"), 4444, models.ProtoTCP})
	if p.gapped != 7 {
		t.Errorf("%d intervals, want 7: none of those in which nobody watched", p.gapped)
	}
	if got := j.elapsed - elapsed; got > 20*(maxStep+models.SlotMicros) {
		t.Errorf("%d µs count as watched", got)
	}
}

// After another start of the sensor its counts begin at 0: what was lost before counts for what was open then, and for nothing else.
func TestTheCountsBeginAnew(t *testing.T) {
	attack := func(j *Judge, who models.Addr, n int64, received, lost uint64) (last models.Alert) {
		var a Accumulator
		for i := range int64(250) {
			a.Reset()
			s := attemptAt(who, addr("10.0.0.10"), uint16(1+i), false)
			at(&s, n+i)
			a.Add([]models.ConnSlot{s})
			for _, al := range j.Slot(n+i, []*Accumulator{&a}, received, lost) {
				last = al
			}
		}
		return last
	}
	j := judgeOf(t, Options{Limits: lowLines(0).Limits})
	before := attack(j, addr("10.0.9.9"), firstSlot, 1000, 1000)
	j.Restarted()
	after := attack(j, addr("10.0.9.9"), firstSlot+250, 1000, 0)
	if after.ID != before.ID || before.CaptureConfidence != 0.5 || after.CaptureConfidence < 0.6 || after.CaptureConfidence > 0.7 {
		t.Errorf("%s with %v, then %s with %v: want the same with 1,000 of 3,000 packets lost", before.ID, before.CaptureConfidence, after.ID, after.CaptureConfidence)
	}
	if another := attack(j, addr("10.0.9.8"), firstSlot+1000, 2000, 0); another.CaptureConfidence != 1 {
		t.Errorf("confidence %v of what began when nothing was lost any more", another.CaptureConfidence)
	}
}

// The clock is behind what is remembered: as when it is set back.
func TestLoadedFromAClockAhead(t *testing.T) {
	j := judgeOf(t, Options{})
	scan := over(10, 1000, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) })
	play(j, firstSlot, scan)
	next := restarted(t, j, true)
	const hour = 3600 * 25
	again := play(next, firstSlot-hour, append(scan, idle(90*25)...))
	if len(again) < 3 || again[0].State != models.AlertClosed || int64(again[0].LastTS) < firstSlot*models.SlotMicros {
		t.Fatalf("%+v", again)
	}
	if second := again[1]; second.ID == again[0].ID || int64(second.TS) > (firstSlot-hour+250)*models.SlotMicros {
		t.Errorf("%+v", second)
	}
}

// A new lease does not make a new host: what is usual for it is found again under its new address, and another host that gets the old
// one does not inherit it.
func TestANewLeaseKeepsTheHost(t *testing.T) {
	host, other := models.MAC{2, 0, 0, 0, 0, 1}, models.MAC{2, 0, 0, 0, 0, 2}
	busy := func(who models.Addr, mac models.MAC, n int) func(int) models.ConnSlot {
		return func(i int) models.ConnSlot {
			s := attemptAt(who, hostN(1000+i%5), 443, true)
			s.OrigMAC, s.RespMAC = mac, models.MAC{2, 0, 0, 0, 1, byte(i % 5)}
			s.Up.Packets, s.Up.Bytes = uint32(n), uint64(n)*100
			return s
		}
	}
	for _, restart := range []bool{false, true} {
		j := judgeOf(t, Options{})
		old, fresh := addr("10.0.0.50"), addr("10.0.0.51")
		play(j, firstSlot, over(400, 800, busy(old, host, 10)))
		if restart {
			j = restarted(t, j, true)
		}
		n := int64(firstSlot + 400*25)
		play(j, n, together(over(5, 10, busy(fresh, host, 10)), over(5, 10, busy(old, other, 3))))
		e := j.roles[Source].entities.find(fresh)
		low, high, ok := j.usual(Source, e, packetRate)
		if !ok || low > 20 || high < 20 {
			t.Errorf("restart %v: under its new address %v to %v packets/s are usual, known %v", restart, low, high, ok)
		}
		if _, _, ok := j.usual(Source, j.roles[Source].entities.find(old), packetRate); ok {
			t.Errorf("restart %v: who has its old address now has its habits, too", restart)
		}
	}
}

// In the core profile a host is its IP address: a new lease begins anew, and who gets the old address has its habits.
func TestCoreKnowsHostsByAddress(t *testing.T) {
	j := judgeOf(t, Options{Without: NotInCore})
	busy := func(who models.Addr, mac models.MAC) func(int) models.ConnSlot {
		return func(i int) models.ConnSlot {
			s := attemptAt(who, hostN(1000+i%5), 443, true)
			s.OrigMAC, s.RespMAC = mac, models.MAC{2, 0, 0, 0, 1, byte(i % 5)}
			s.Up.Packets, s.Up.Bytes = 10, 1000
			return s
		}
	}
	old, fresh := addr("10.0.0.50"), addr("10.0.0.51")
	play(j, firstSlot, over(400, 800, busy(old, models.MAC{2, 0, 0, 0, 0, 1})))
	play(j, int64(firstSlot+400*25), together(over(5, 10, busy(fresh, models.MAC{2, 0, 0, 0, 0, 1})), over(5, 10, busy(old, models.MAC{2, 0, 0, 0, 0, 2}))))
	if _, _, ok := j.usual(Source, j.roles[Source].entities.find(fresh), packetRate); ok {
		t.Error("the new address has the habits of the hardware address")
	}
	if _, _, ok := j.usual(Source, j.roles[Source].entities.find(old), packetRate); !ok {
		t.Error("the old address has lost its habits to the hardware address")
	}
	st := &j.roles[Source]
	if r := j.reason(st, st.entities.find(old), packetRate, 10, 0); r.Basis != models.BasisNetwork {
		t.Errorf("a value is held against the range of the %s, want that of the network", r.Basis)
	}
}

// A host may have many leases, one after the other; who speaks for as many at once is a router.
func TestLeasesDoNotMakeARouter(t *testing.T) {
	for _, tc := range []struct {
		name   string
		every  int64
		router bool
	}{{"a lease every two days", 48 * hourMicros, false}, {"one a minute", minuteMicros, true}} {
		t.Run(tc.name, func(t *testing.T) {
			var l link
			for i := range 30 {
				l.note(hostN(i), int64(i+1)*tc.every)
			}
			if got := l.n == routerNets; got != tc.router {
				t.Errorf("router %v, want %v", got, tc.router)
			}
		})
	}
}

// filler sets every field of a value, unexported ones too, to something that is not zero and that can be.
type filler struct{ rng *rand.Rand }

func (f filler) fill(v reflect.Value, name string) {
	if v.CanAddr() && !v.CanSet() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	switch v.Interface().(type) {
	case models.Category:
		v.SetString(string(models.CategoryBeacon))
		return
	case models.Severity:
		v.SetString(string(models.SeverityHigh))
		return
	case Role:
		v.SetUint(uint64(Destination))
		return
	case hostKey:
		v.Set(reflect.ValueOf(hostKey{mac: models.MAC{2, 0, 0, 0, 0, 9}}))
		return
	}
	full := map[string]uint64{"link.n": routerNets, "renown.n": renownUsers, "probes.n": maxTried, "domain.textSize": maxDomain}
	if n, ok := full[name]; ok {
		v.SetUint(n)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name)
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), "")
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 3 {
			f.fill(v.Index(i), "")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + f.rng.Uint64N(200))
	case reflect.Int, reflect.Int64:
		v.SetInt(pairGaps + f.rng.Int64N(1e12))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5 + float64(f.rng.IntN(1000)))
	case reflect.String:
		v.SetString("text")
	default:
		panic("state_test: what is a " + name + " of kind " + v.Kind().String() + "?")
	}
}

func exporter() cmp.Option { return cmp.Exporter(func(reflect.Type) bool { return true }) }

// stored writes a filled value, reads it back, and compares.
func stored[T any](t *testing.T, name string, field func(*codec, *T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for seed := range uint64(20) {
			var v, got T
			filler{rand.New(rand.NewPCG(seed, 1))}.fill(reflect.ValueOf(&v).Elem(), "")
			c := codec{base: 1_700_000_000_000_000}
			field(&c, &v)
			r := codec{b: c.b, reading: true, base: c.base}
			field(&r, &got)
			if r.bad || len(r.b) > 0 {
				t.Fatalf("not read back: bad %v, %d bytes are left", r.bad, len(r.b))
			}
			if d := cmp.Diff(v, got, exporter()); d != "" {
				t.Fatalf("a field is not stored: add it in state.go and count stateVersion up (-want +got)\n%s", d)
			}
		}
	})
}

// Whoever adds a field to what is learned is reminded here that it must be saved.
func TestEveryFieldIsStored(t *testing.T) {
	stored(t, "link", (*codec).link)
	stored(t, "host", (*codec).host)
	stored(t, "habit", (*codec).habit)
	stored(t, "habitKey", (*codec).habitKey)
	stored(t, "pair", (*codec).pair)
	stored(t, "pairKey", (*codec).pairKey)
	stored(t, "renown", (*codec).renown)
	stored(t, "portProto", (*codec).portProto)
	stored(t, "serviceKey", (*codec).serviceKey)
	stored(t, "domain", (*codec).domain)
	stored(t, "domainKey", (*codec).domainKey)
	stored(t, "probes", (*codec).probes)
	stored(t, "probeKey", (*codec).probeKey)
	stored(t, "mainConn", (*codec).mainConn)
	stored(t, "finding", (*codec).finding)
	stored(t, "reason", (*codec).reason)
}

// The same of the structs that hold maps and pointers, by their number of fields.
func TestEveryPartIsStored(t *testing.T) {
	for _, tc := range []struct {
		of   any
		want int
	}{
		{incident{}, 23}, // of which entity is found again, received and lost are told by their difference
		{tops[uint16]{}, 7},
		{model{}, 7},
		{usual{}, 2},
		{ranks{}, 2},
		{memory{}, 18},
	} {
		if got := reflect.TypeOf(tc.of).NumField(); got != tc.want {
			t.Errorf("%T has %d fields, %d when its state was written: save the new one in state.go, count stateVersion up, then change this number", tc.of, got, tc.want)
		}
	}
}

func TestIncidentsAreStoredInWhole(t *testing.T) {
	j := judgeOf(t, Options{BudgetDay: 500, Window: 1000})
	play(j, firstSlot, lively(0)[:1500*25])
	scan := over(20, 20_000, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) })
	flood := over(20, 20_000, func(i int) models.ConnSlot { return attemptAt(hostN(i%15_000), addr("10.0.0.11"), 80, false) })
	play(j, firstSlot+1500*25, together(scan, flood))
	if len(j.incidents) < 3 {
		t.Fatalf("%d incidents", len(j.incidents))
	}
	want := j.state(true)
	got, err := ReadState(want.Append(nil), j.options)
	if err != nil {
		t.Fatal(err)
	}
	same := []cmp.Option{exporter(), cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".entity" || name == ".received" || name == ".lost"
	}, cmp.Ignore())}
	if d := cmp.Diff(want.incidents, got.incidents, same...); d != "" {
		t.Errorf("incidents (-want +got)\n%s", d)
	}
	if d := cmp.Diff(want.sweeps, got.sweeps); d != "" {
		t.Errorf("sweeps (-want +got)\n%s", d)
	}
	if len(want.floods) == 0 || !slices.Equal(want.floods, got.floods) {
		t.Errorf("floods %v, want %v", got.floods, want.floods)
	}
}

// An incident whose window was too full to be known one by one: its members may be more than those that are new.
func TestIncidentsThatBeganInACrowd(t *testing.T) {
	j := judgeOf(t, Options{})
	from := func(first, n int) func(int) models.ConnSlot {
		return func(i int) models.ConnSlot { return attemptAt(hostN(first+i%n), addr("10.0.0.11"), 80, i%3 == 0) }
	}
	play(j, firstSlot, over(10, 3000, from(0, 3000)))
	play(j, firstSlot+250, over(10, 9000, from(0, 6000)))
	seen := false
	for _, in := range j.incidents {
		seen = seen || in.peers.seen != nil && len(in.peers.members) > len(in.peers.hashes)
	}
	if !seen {
		t.Fatal("no incident with a bitmap: the test tests nothing")
	}
	if b := j.AppendState(nil, true); !bytes.Equal(b, restarted(t, j, true).AppendState(nil, true)) {
		t.Error("loaded and saved again, it differs")
	}
}

func TestDamagedAndForeignStates(t *testing.T) {
	j := judgeOf(t, Options{Window: 1000})
	play(j, firstSlot, lively(0)[:60*25])
	whole := j.AppendState(nil, true)
	version := slices.Clone(whole)
	version[len(stateMagic)]++
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	longer := sealed(append(slices.Clone(whole[:len(whole)-4]), 0))
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrStateDamaged},
		{"something else", bytes.Repeat([]byte("SQLite format 3\x00"), 10), ErrStateDamaged},
		{"another version", version, ErrStateOther},
		{"one bit", flipped, ErrStateDamaged},
		{"a byte too many", longer, ErrStateDamaged},
		{"other trees", judgeOf(t, Options{Window: 500}).AppendState(nil, true), ErrStateOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := j.AppendState(nil, true)
			if err := j.LoadState(tc.b); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if !bytes.Equal(before, j.AppendState(nil, true)) {
				t.Error("the judge is not as before")
			}
		})
	}
	for n := 0; n < len(whole)-1; n += 1 + n/50 {
		if err := j.LoadState(whole[:n]); !errors.Is(err, ErrStateDamaged) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		if err := j.LoadState(sealed(whole[:n])); err == nil {
			t.Fatalf("cut to %d bytes and sealed anew, it is loaded", n)
		}
	}
}

// sealed gives bytes the checksum that they should have.
func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

const headerSize = len(stateMagic) + headerRest

// Whatever the bytes are: no panic, no state that cannot be saved again, and a judge that works. What follows them are the models of a judge
// that knows nothing; package hst tries those.
func FuzzLoadState(f *testing.F) {
	o := Options{Window: 100, MaxEntities: 256}
	j := judgeOf(f, o)
	empty := j.AppendState(nil, true)
	header := empty[:headerSize]
	c := codec{}
	for r := range j.roles {
		c.model(&j.roles[r].model, 0)
	}
	known := c.b
	f.Add(empty[headerSize : len(empty)-4-len(known)])
	scan := over(5, 200, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) })
	play(j, firstSlot, together(lively(0)[:10*25], scan))
	s := j.state(false)
	for r := range s.models {
		s.models[r] = judgeOf(f, o).roles[r].model
	}
	b := s.Append(nil)
	f.Add(b[headerSize : len(b)-4-len(known)])
	later := office(3, 8)
	f.Fuzz(func(t *testing.T, body []byte) {
		next := judgeOf(t, o)
		if next.LoadState(sealed(slices.Concat(header, body, known))) != nil {
			return
		}
		again := next.AppendState(nil, false)
		if err := judgeOf(t, o).LoadState(again); err != nil {
			t.Fatalf("what was loaded cannot be loaded again: %v", err)
		}
		play(next, firstSlot+60*25, later)
		next.Advance((firstSlot + 90*25) * models.SlotMicros)
		next.Finish()
	})
}

// full is a judge whose tables are full of what a busy network leaves in them: two thirds of the pairs are clients of the web, one third
// come at intervals of their own.
func full(t testing.TB) *Judge {
	j := judgeOf(t, Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	j.end, j.elapsed = 1_700_000_000_000_000, 30*24*hourMicros
	v := filler{rng}
	some := func(n uint32) models.Addr { return models.Addr{Lo: 0xffff<<32 | uint64(n)} }
	for i := range uint32(maxPairs) {
		p, _ := j.pairs.get(pairKey{some(0x0a000000 + i%2000), some(rng.Uint32()), uint16(rng.IntN(2000)), models.ProtoTCP})
		p.first, p.start, p.minute = j.end-rng.Int64N(30*24*hourMicros), j.end-rng.Int64N(24*hourMicros), j.end/minuteMicros-rng.Int64N(1000)
		p.up, p.down, p.visits[0], p.gapped = moments{5, rng.Float64() * 1000, rng.Float64() * 1e5}, moments{5, rng.Float64() * 1000, rng.Float64() * 1e5}, 2, 3
		if i%3 == 0 {
			p.gapped = 500
		}
		for g := range p.gaps {
			p.gaps[g] = rng.Uint32N(3_600_000)
		}
	}
	for i := range uint32(maxHabits) {
		h, _ := j.habits.get(habitKey{hostKey{addr: some(rng.Uint32())}, Role(i % 2)})
		v.fill(reflect.ValueOf(h).Elem(), "habit")
	}
	for range maxPeers {
		r, _ := j.peers.get(network(some(rng.Uint32())))
		v.fill(reflect.ValueOf(r).Elem(), "renown")
	}
	for i := range uint32(maxHosts) {
		h, _ := j.hosts.get(hostKey{addr: some(i)})
		v.fill(reflect.ValueOf(h).Elem(), "host")
		l, _ := j.links.get(models.MAC{2, byte(i >> 16), byte(i >> 8), byte(i)})
		l.note(some(i), j.end)
		n, _ := j.services.get(serviceKey{some(i), uint16(i), models.ProtoTCP})
		*n = i
		r, _ := j.ports.get(portProto{uint16(i), models.ProtoTCP})
		v.fill(reflect.ValueOf(r).Elem(), "renown")
		p, _ := j.probes.get(probeKey{source: some(i), host: some(rng.Uint32())})
		p.n, p.started = uint8(1+i%6), j.end
		for k := range p.tried[:p.n] {
			p.tried[k] = attempt{rng.Uint32(), uint16(rng.IntN(65_536)), uint32(j.end / secondMicros)}
		}
	}
	for i := range maxDomains {
		d, _ := j.domains.get(domainKey{hostKey{addr: some(uint32(i % 2000))}, rng.Uint64()})
		d.textSize = uint8(copy(d.text[:], "some-domain.example"))
		for range 20 {
			d.long.add(rng.Uint64())
		}
	}
	return j
}

// The state of a busy network stays reasonable.
func TestTheStateStaysSmall(t *testing.T) {
	j := full(t)
	b := j.AppendState(nil, true)
	t.Logf("all tables full: %.1f MB; a small office: %.2f MB", float64(len(b))/1e6, float64(len(judgeAfter(t).AppendState(nil, true)))/1e6)
	const most = 40 << 20
	if len(b) > most {
		t.Errorf("%d bytes, want %d at most", len(b), most)
	}
	next := judgeOf(t, Options{})
	if err := next.LoadState(b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, next.AppendState(nil, true)) {
		t.Error("loaded and saved again, it differs")
	}
}

func judgeAfter(t testing.TB) *Judge {
	j := judgeOf(t, Options{})
	play(j, firstSlot, lively(0))
	return j
}

func BenchmarkAppendState(b *testing.B) {
	for name, j := range map[string]*Judge{"full": full(b), "office": judgeAfter(b)} {
		b.Run(name, func(b *testing.B) {
			var buffer []byte
			for b.Loop() {
				buffer = j.AppendState(buffer[:0], true)
			}
			b.SetBytes(int64(len(buffer)))
		})
	}
}

func BenchmarkLoadState(b *testing.B) {
	j := full(b)
	state := j.AppendState(nil, true)
	for b.Loop() {
		if err := j.LoadState(state); err != nil {
			b.Fatal(err)
		}
	}
}
