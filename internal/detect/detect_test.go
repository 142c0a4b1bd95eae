package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func addr(s string) models.Addr { return models.AddrFromNetip(netip.MustParseAddr(s)) }

func hostN(n int) models.Addr { return addr(fmt.Sprintf("10.0.%d.%d", n/250, n%250+1)) }

// attempt is a new connection of one small packet; answered ones get through at once.
func attemptAt(src, dst models.Addr, port uint16, answered bool) models.ConnSlot {
	s := models.ConnSlot{
		Orig: src, Resp: dst, OrigPort: 40_000, RespPort: port, Proto: models.ProtoTCP, New: true, State: models.ConnSynSent,
		Up: models.SlotDir{Packets: 1, Bytes: 60},
	}
	if answered {
		s.Answered, s.Completed, s.State = true, true, models.ConnEstablished
		s.Down = models.SlotDir{Packets: 1, Bytes: 60}
	}
	return s
}

// unanswered is a connection that has ended without an answer.
func unanswered(src, dst models.Addr, port uint16) models.ConnSlot {
	s := attemptAt(src, dst, port, false)
	s.New, s.Failed, s.Up = false, true, models.SlotDir{}
	return s
}

// scene is what happens slot by slot; the first slot is number 1,000,000.
type scene struct {
	slots   [][]models.ConnSlot
	arp     map[int][]models.Observation
	options Options
}

const firstSlot = 1_000_000

// at fills in the times of a connection that moves in slot n.
func at(c *models.ConnSlot, n int64) {
	c.First, c.Last = n*models.SlotMicros, n*models.SlotMicros+1000
	if c.New {
		c.Start = c.First
	}
	c.Through = c.Through || c.Completed
}

// judge plays a scene to workers that each get a share of the connections, and returns all revisions.
func (s scene) judge(t testing.TB, workers int) []models.Alert {
	t.Helper()
	s.options.Sensor = "test"
	j, err := NewJudge(s.options)
	if err != nil {
		t.Fatal(err)
	}
	accs := make([]*Accumulator, workers)
	for i := range accs {
		accs[i] = &Accumulator{}
	}
	var all []models.Alert
	for n, slots := range s.slots {
		shares, failed := make([][]models.ConnSlot, workers), make([][]models.ConnSlot, workers)
		for i, c := range slots {
			at(&c, firstSlot+int64(n))
			to := &shares[(i*7+n)%workers]
			if c.Failed {
				to = &failed[(i*7+n)%workers]
			}
			*to = append(*to, c)
		}
		for i, a := range accs {
			a.Reset()
			a.Add(shares[i])
			a.Fail(failed[i])
		}
		for i, o := range s.arp[n] {
			accs[i%workers].Observe(o)
		}
		all = append(all, slices.Clone(j.Slot(firstSlot+int64(n), accs, 0, 0))...)
	}
	return append(all, j.Finish()...)
}

// over spreads n connections over seconds of capture time.
func over(seconds, n int, make func(i int) models.ConnSlot) [][]models.ConnSlot {
	slots := seconds * 25
	all := idle(slots)
	for i := range n {
		at := i * slots / n
		all[at] = append(all[at], make(i))
	}
	return all
}

// idle is n slots in which nothing happens.
func idle(n int) [][]models.ConnSlot { return make([][]models.ConnSlot, n) }

// together plays scenes at the same time.
func together(scenes ...[][]models.ConnSlot) [][]models.ConnSlot {
	longest := 0
	for _, s := range scenes {
		longest = max(longest, len(s))
	}
	all := idle(longest)
	for _, s := range scenes {
		for i := range s {
			all[i] = append(all[i], s[i]...)
		}
	}
	return all
}

func categories(alerts []models.Alert) []string {
	var cs []string
	for _, a := range alerts {
		if a.Rev == 1 {
			cs = append(cs, string(a.Category))
		}
	}
	return cs
}

func TestLimits(t *testing.T) {
	attacker, victim := addr("10.0.9.9"), addr("10.0.0.10")
	claim := func(mac byte) models.Observation {
		return models.Observation{Op: 2, Sender: victim, Target: victim, MAC: models.MAC{2, 0, 0, 0, 0, mac}}
	}
	for _, tc := range []struct {
		name string
		s    scene
		want []string
		says string
	}{
		{"port scan", scene{slots: over(5, 1000, func(i int) models.ConnSlot { return attemptAt(attacker, victim, uint16(1+i), false) })}, []string{"port_scan"}, "10.0.9.9 was scanning ports: it tried 1000 ports of 10.0.0.10"},
		{"host sweep", scene{slots: over(5, 1000, func(i int) models.ConnSlot { return attemptAt(attacker, hostN(i), 22, false) })}, []string{"host_sweep"}, "on port 22/TCP"},
		{"flood from everywhere", scene{slots: over(5, 2000, func(i int) models.ConnSlot { return attemptAt(hostN(i), victim, 80, false) })}, []string{"flood"}, "10.0.0.10 was being flooded on port 80/TCP: 2000 connections that did not get through from about "},
		{"flood from one", scene{slots: over(5, 2000, func(int) models.ConnSlot { return attemptAt(attacker, victim, 80, false) })}, []string{"flood"}, "did not get through from 1 host"},
		{"amplification", scene{slots: over(5, 500, func(i int) models.ConnSlot {
			return models.ConnSlot{Orig: hostN(i % 40), Resp: victim, OrigPort: 53, RespPort: 9999, Proto: models.ProtoUDP, New: i < 40, Up: models.SlotDir{Packets: 1, Bytes: 1400}}
		})}, []string{"amplification"}, "answers it did not ask for"},
		{"a slow sweep", scene{slots: together(office(600, 3), over(600, 60, func(i int) models.ConnSlot { return unanswered(attacker, hostN(i), 22) }))}, []string{"host_sweep"}, "on port 22/TCP"},
		{"a slow port scan", scene{slots: together(office(600, 3), over(600, 60, func(i int) models.ConnSlot { return unanswered(attacker, victim, uint16(100+i)) }))}, []string{"port_scan"}, "ports of 10.0.0.10"},
		{"two claim one address", scene{slots: over(2, 100, func(i int) models.ConnSlot { return attemptAt(hostN(1), victim, 80, true) }), arp: map[int][]models.Observation{
			10: {claim(1), claim(2)}, 20: {claim(1), claim(2)}, 30: {claim(2), claim(1)},
		}}, []string{"arp_spoofing"}, "both claim to be 10.0.0.10"},

		{"a busy server", scene{slots: over(20, 5000, func(i int) models.ConnSlot { return attemptAt(hostN(i%500), victim, 443, true) })}, nil, ""},
		{"a crawler that gets answers", scene{slots: over(20, 2000, func(i int) models.ConnSlot { return attemptAt(attacker, hostN(i), 443, true) })}, nil, ""},
		{"a few of the hosts are off", scene{slots: over(120, 600, func(i int) models.ConnSlot {
			if i%5 == 0 {
				return unanswered(attacker, hostN(i%200), 22)
			}
			return attemptAt(attacker, hostN(i%200), 22, true)
		})}, nil, ""},
		{"a browser waits for many answers", scene{slots: together(over(1, 50, func(i int) models.ConnSlot { return attemptAt(attacker, hostN(i), 443, false) }), append(idle(50), over(1, 50, func(i int) models.ConnSlot {
			s := attemptAt(attacker, hostN(i), 443, true)
			s.New = false
			return s
		})...))}, nil, ""},
		{"a failover", scene{slots: over(2, 100, func(i int) models.ConnSlot { return attemptAt(hostN(1), victim, 80, true) }), arp: map[int][]models.Observation{10: {claim(1), claim(1), claim(1)}, 30: {claim(2)}}}, nil, ""},
		{"fewer packets than the warm-up", scene{slots: over(1, 40, func(i int) models.ConnSlot { return attemptAt(attacker, victim, uint16(i), false) }), options: Options{Limits: func() Limits {
			l := DefaultLimits()
			l.ScanPorts = 10
			return l
		}()}}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			alerts := tc.s.judge(t, 1)
			if d := cmp.Diff(tc.want, categories(alerts)); d != "" {
				t.Fatalf("incidents (-want +got)\n%s", d)
			}
			for w := 2; w <= 4; w++ {
				if d := cmp.Diff(alerts, tc.s.judge(t, w)); d != "" {
					t.Errorf("with %d workers (-1 +%d)\n%s", w, w, d)
				}
			}
			if len(alerts) == 0 {
				return
			}
			last := alerts[len(alerts)-1]
			if !strings.Contains(last.Summary, tc.says) {
				t.Errorf("%q does not say %q", last.Summary, tc.says)
			}
			checkRevisions(t, alerts)
		})
	}
}

// A flood of one connection from each of its hosts, counted by a sketch: never are more hosts claimed than there were connections.
func TestFloodClaimsNoMoreHostsThanConnections(t *testing.T) {
	text := regexp.MustCompile(`(\d+) connections that did not get through from (?:about (\d+)|(nearly as many)) hosts`)
	nearly := 0
	for n := 1500; n < 4500; n += 250 {
		alerts := scene{slots: over(5, n, func(i int) models.ConnSlot { return attemptAt(hostN(i), addr("10.1.0.10"), 80, false) })}.judge(t, 1)
		for _, a := range alerts {
			m := text.FindStringSubmatch(a.Summary)
			if m == nil {
				continue // so few that they are known one by one
			}
			if m[3] != "" {
				nearly++
				continue
			}
			connections, _ := strconv.Atoi(m[1])
			if hosts, _ := strconv.Atoi(m[2]); hosts > connections {
				t.Errorf("%s", a.Summary)
			}
		}
	}
	if nearly == 0 {
		t.Error("no estimate was above the number of connections: the test shows nothing")
	}
}

// checkRevisions holds what is true of every incident: one ID, rising revisions at most once a second but for the last, closed at
// the end, complete.
func checkRevisions(t *testing.T, alerts []models.Alert) {
	t.Helper()
	for i, a := range alerts {
		if a.ID != alerts[0].ID || a.Rev != int64(i+1) {
			t.Errorf("revision %d is %s/%d", i, a.ID, a.Rev)
		}
		if open := i < len(alerts)-1; open != (a.State == models.AlertOpen) {
			t.Errorf("revision %d is %s", i, a.State)
		}
		if i > 0 && i < len(alerts)-1 && a.LastTS-alerts[i-1].LastTS < secondMicros {
			t.Errorf("revisions %d and %d are %d µs apart", i-1, i, a.LastTS-alerts[i-1].LastTS)
		}
		if a.Score < models.AlertLine || a.Score > 1 || a.Summary == "" || a.Counterfactual == "" || len(a.Reasons) == 0 || a.SrcIP == "" || a.DstIP == "" || a.Proto == "" {
			t.Errorf("incomplete: %+v", a)
		}
		for _, f := range []string{"entropy", "packet_rate", "byte_rate", "hst_score"} {
			if _, ok := a.Features[f]; !ok {
				t.Errorf("no feature %s", f)
			}
		}
	}
}

func TestAScanOfTenThousandPortsIsOneAlertAndSaysSo(t *testing.T) {
	s := scene{slots: over(20, 10_000, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) })}
	alerts := s.judge(t, 1)
	last := alerts[len(alerts)-1]
	if got := categories(alerts); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	if n := float64(last.Ports.Total); n < 9_000 || n > 11_000 || len(last.Ports.Top) != topTen || last.Peers.Total != 1 || last.DstPort != 0 {
		t.Errorf("%d ports (%d listed), %d peers", last.Ports.Total, len(last.Ports.Top), last.Peers.Total)
	}
}

// An incident that goes silent is closed after a minute, and what comes later is another.
func TestIncidentsCloseAndOpenAnew(t *testing.T) {
	scan := over(2, 500, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) })
	quiet := over(90, 900, func(int) models.ConnSlot { return attemptAt(hostN(1), hostN(2), 443, true) })
	alerts := scene{slots: slices.Concat(scan, quiet, scan)}.judge(t, 1)
	ids := map[string]bool{}
	closed := 0
	for _, a := range alerts {
		ids[a.ID] = true
		if a.State == models.AlertClosed {
			closed++
			if a.LastTS-a.TS > 30*secondMicros {
				t.Errorf("lasted %d µs", a.LastTS-a.TS)
			}
		}
	}
	if len(ids) != 2 || closed != 2 {
		t.Errorf("%d incidents, %d closed, want 2", len(ids), closed)
	}
}

// The clock is set back by an hour while an incident is open: it is closed at its own time, and what comes afterwards is judged at the new one.
func TestTheClockIsSetBack(t *testing.T) {
	j, err := NewJudge(Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := &Accumulator{}
	play := func(first int64, slots [][]models.ConnSlot) (alerts []models.Alert) {
		for n, s := range slots {
			for i := range s {
				at(&s[i], first+int64(n))
			}
			a.Reset()
			a.Add(s)
			alerts = append(alerts, slices.Clone(j.Slot(first+int64(n), []*Accumulator{a}, 0, 0))...)
		}
		return alerts
	}
	scan := over(2, 500, func(i int) models.ConnSlot { return attemptAt(addr("10.0.9.9"), addr("10.0.0.10"), uint16(1+i), false) })
	play(firstSlot, scan)
	const hour = 3600 * 25
	closed := slices.Clone(j.SetBack((firstSlot - hour) * models.SlotMicros))
	if len(closed) != 1 || closed[0].State != models.AlertClosed || closed[0].LastTS < firstSlot*models.SlotMicros {
		t.Fatalf("%+v", closed)
	}
	again := play(firstSlot-hour, append(scan, idle(90*25)...))
	if len(again) < 2 || again[0].TS > (firstSlot-hour+100)*models.SlotMicros || again[len(again)-1].State != models.AlertClosed {
		t.Errorf("%d revisions, the first at %v, want one at %v and a close", len(again), again[0].TS, models.Micros((firstSlot-hour)*models.SlotMicros))
	}
}

// The clock is set forward by years: that grants no budget.
func TestTheClockIsSetForward(t *testing.T) {
	j, err := NewJudge(Options{Window: 200})
	if err != nil {
		t.Fatal(err)
	}
	a := &Accumulator{}
	n := int64(firstSlot)
	for i, s := range office(400, 5) {
		if i == 200*25 {
			n += 10 * 365 * 86_400 * 25
		}
		a.Reset()
		a.Add(s)
		for _, al := range j.Slot(n, []*Accumulator{a}, 0, 0) {
			t.Fatalf("%s", al.Summary)
		}
		n++
	}
}

// Hosts that have gone silent give back what they held, so that the next ones are counted.
func TestSilentHostsGiveTheirSketchesBack(t *testing.T) {
	j, err := NewJudge(Options{MaxEntities: 4096})
	if err != nil {
		t.Fatal(err)
	}
	a := &Accumulator{}
	n := int64(0)
	slot := func(slots []models.ConnSlot) {
		a.Reset()
		a.Add(slots)
		j.Slot(n, []*Accumulator{a}, 0, 0)
		n++
	}
	for i := range 1000 {
		var slots []models.ConnSlot
		for k := range 12 {
			slots = append(slots, attemptAt(hostN(i), hostN(2000+k), uint16(k), true))
		}
		slot(slots)
	}
	for range 3000 {
		slot(nil)
	}
	for r := range j.roles {
		if b := &j.roles[r].entities.blocks; len(b.all) != len(b.free) {
			t.Errorf("%s: %d of %d blocks are still held", Role(r), len(b.all)-len(b.free), len(b.all))
		}
	}
}

func TestOldClaimsAreForgotten(t *testing.T) {
	var c claims
	for i := range maxClaims + 10 {
		c.add(claim{models.Addr{Lo: uint64(i)}, models.MAC{1}}, 5)
	}
	if len(c.counts) != maxClaims {
		t.Errorf("%d claims", len(c.counts))
	}
	c.expire(6)
	c.expire(7)
	if len(c.counts)+len(c.macs) != 0 || !c.add(claim{models.Addr{Lo: 1}, models.MAC{1}}, 7) {
		t.Errorf("%d claims are left", len(c.counts))
	}
	for i := range 100 {
		c.add(claim{models.Addr{Lo: 1}, models.MAC{2, byte(i)}}, 7)
	}
	if n := len(c.macs[models.Addr{Lo: 1}]); n != maxRivals {
		t.Errorf("%d hardware addresses of one address", n)
	}
}

// office is ordinary traffic: hosts that open some connections a second to some servers, all answered.
func office(seconds int, seed uint64) [][]models.ConnSlot {
	rng := rand.New(rand.NewPCG(seed, 1))
	all := idle(seconds * 25)
	for i := range all {
		for range 1 + rng.IntN(3) {
			s := attemptAt(hostN(rng.IntN(20)), hostN(1000+rng.IntN(30)), []uint16{443, 80, 53}[rng.IntN(3)], true)
			s.Up.Packets += uint32(rng.IntN(20))
			s.Up.Bytes += uint64(s.Up.Packets) * uint64(rng.IntN(400))
			s.Up.EntropySum, s.Up.EntropyN = uint64(60_000+rng.IntN(20_000)), 1
			s.Down.Packets += uint32(rng.IntN(30))
			s.Down.Bytes += uint64(s.Down.Packets) * uint64(rng.IntN(1400))
			all[i] = append(all[i], s)
		}
	}
	return all
}

// What no limit knows, the trees find once they have learned: here an upload beyond everything usual. The budget is high, so that the test
// need not play hours.
func TestTheTreesFindWhatNoLimitKnows(t *testing.T) {
	odd := idle(600 * 25)
	for i := 590 * 25; i < 593*25; i++ {
		s := attemptAt(hostN(3), addr("203.0.113.9"), 8443, true)
		s.New = i == 590*25
		s.Up = models.SlotDir{Packets: 4000, Bytes: 6_000_000, EntropySum: 79_900 * 4000, EntropyN: 4000}
		s.Down = models.SlotDir{Packets: 400, Bytes: 24_000}
		odd[i] = append(odd[i], s)
	}
	s := scene{slots: together(office(600, 1), odd), options: Options{BudgetDay: 2000, Window: 1000}}
	var found *models.Alert
	others := 0
	alerts := s.judge(t, 1)
	for i := range alerts {
		a := &alerts[i]
		if a.Rev != 1 {
			continue
		}
		if a.Category != models.CategoryAnomaly {
			t.Errorf("%s: %s", a.Category, a.Summary)
		}
		if a.SrcIP == hostN(3).String() && a.TS >= models.Micros((firstSlot+590*25)*models.SlotMicros) {
			found = a
		} else {
			others++
		}
	}
	if found == nil {
		t.Fatalf("the upload was not found; %d other alerts", others)
	}
	if r := found.Reasons[0]; r.Feature != "byte_rate" && r.Feature != "packet_rate" || r.Value <= r.Expected.High {
		t.Errorf("reasons %+v", found.Reasons)
	}
	if budget := 2000.0 / 86_400 * 600; float64(others) > 2*budget+1 {
		t.Errorf("%d other alerts, the budget grants %.1f", others, budget)
	}
	if d := cmp.Diff(alerts, s.judge(t, 3)); d != "" {
		t.Errorf("with 3 workers (-1 +3)\n%s", d)
	}
}

func TestBeforeTheBudgetGrantsOneTheTreesAreSilent(t *testing.T) {
	if alerts := (scene{slots: office(900, 2), options: Options{Window: 500}}).judge(t, 1); len(alerts) > 0 {
		t.Errorf("%d alerts, the first: %s", len(alerts), alerts[0].Summary)
	}
}

// A flood from ten times more addresses than there are entities: memory stays, the flood is one alert, evictions are counted.
func TestASpoofedFloodDoesNotGrowMemory(t *testing.T) {
	j, err := NewJudge(Options{MaxEntities: 1024})
	if err != nil {
		t.Fatal(err)
	}
	a := &Accumulator{}
	victim := addr("10.0.0.10")
	incidents := 0
	for n := range 200 {
		slots := make([]models.ConnSlot, 60)
		for i := range slots {
			slots[i] = attemptAt(models.Addr{Lo: 0xffff<<32 | uint64(0x0b000000+n*60+i)}, victim, 80, false)
		}
		a.Reset()
		a.Add(slots)
		for _, al := range j.Slot(int64(n), []*Accumulator{a}, 0, 0) {
			if al.Rev == 1 {
				incidents++
			}
		}
	}
	s := j.Stats()
	if incidents != 1 || s.CapsHit["entities_source"] == 0 || s.Entities["source"] > 1024 {
		t.Errorf("%d incidents, %+v", incidents, s)
	}
}

func TestSketches(t *testing.T) {
	var p blocks
	for _, n := range []int{0, 1, 8, 9, 150, 400, 2000} {
		var a, b sketch
		for i := range n {
			h := hashAddr(models.Addr{Lo: uint64(i)})
			if i%2 == 0 || i%3 == 0 {
				a.add(&p, h)
			}
			if i%2 == 1 || i%3 == 0 {
				b.add(&p, h)
			}
		}
		if got, diff := a.union(&b, &p), float64(n)*0.03; float64(got) < float64(n)-diff || float64(got) > float64(n)+diff {
			t.Errorf("union of %d: %d", n, got)
		}
		a.reset(&p)
		b.reset(&p)
	}
	if len(p.free) != len(p.all) {
		t.Error("a block was not given back")
	}
}

func TestNothingIsAllocatedPerSlot(t *testing.T) {
	slots := office(4, 3)
	j, err := NewJudge(Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := &Accumulator{}
	n := int64(0)
	play := func() {
		for _, s := range slots {
			a.Reset()
			a.Add(s)
			j.Slot(n, []*Accumulator{a}, 0, 0)
			n++
		}
	}
	play()
	if got := testing.AllocsPerRun(5, play); got > 10 {
		t.Errorf("%v allocations in %d slots, want none but what a second costs", got, len(slots))
	}
}

func BenchmarkSlot(b *testing.B) {
	const conns = 10_000
	slots := make([]models.ConnSlot, conns)
	for i := range slots {
		slots[i] = attemptAt(hostN(i%250), hostN(1000+i%5000), 443, true)
		slots[i].New = i%20 == 0
	}
	j, err := NewJudge(Options{})
	if err != nil {
		b.Fatal(err)
	}
	a := &Accumulator{}
	n := int64(0)
	for b.Loop() {
		a.Reset()
		a.Add(slots)
		j.Slot(n, []*Accumulator{a}, 0, 0)
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/conns, "ns/connection")
}
