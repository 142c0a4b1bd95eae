package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"netlyra/internal/models"
)

// heap is what is reachable, in MiB.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// stress plays slots to one judge, and holds what it grows by.
type stress struct {
	t      *testing.T
	j      *Judge
	a      Accumulator
	n      int64
	before float64
	alerts map[string]models.Alert
}

func newStress(t *testing.T, o Options) *stress {
	t.Helper()
	o.Sensor = "test"
	before := heap()
	j, err := NewJudge(o)
	if err != nil {
		t.Fatal(err)
	}
	return &stress{t: t, j: j, n: models.Slot(scriptDay), before: before, alerts: map[string]models.Alert{}}
}

func (s *stress) slot(slots, failed []models.ConnSlot, questions []models.Question, arp []models.Observation) {
	s.a.Reset()
	for i := range slots {
		slots[i].First, slots[i].Last = s.n*models.SlotMicros, s.n*models.SlotMicros
	}
	s.a.Add(slots)
	s.a.Fail(failed)
	s.a.ObserveDNS(questions, 0)
	for _, o := range arp {
		s.a.Observe(o)
	}
	for _, al := range s.j.Slot(s.n, []*Accumulator{&s.a}, 0, 0) {
		s.alerts[al.ID] = al
	}
	s.n++
}

// grown fails if the judge, its accumulator and their alerts have taken more than so many MiB in all.
func (s *stress) grown(most float64) {
	s.t.Helper()
	after := heap()
	s.t.Logf("%.0f MiB", after-s.before)
	if after-s.before > most {
		s.t.Errorf("%.0f MiB more than before, want %v at most", after-s.before, most)
	}
	runtime.KeepAlive(s)
}

// A flood from ten million addresses in eight seconds: one incident on its victim, which says from how many, and no more memory than a flood
// from a hundred thousand takes. So that ordinary hosts have to hold their ground, they go on all the time.
func TestTenMillionSpoofedSources(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; run without -short")
	}
	const perSlot, most = 50_000, 200.0 // MiB: entities 2 x 25, accumulator 30, blocks and tables
	victim := addr("10.0.0.77")
	s := newStress(t, Options{})
	ordinary := office(40, 3)
	slots := make([]models.ConnSlot, 0, perSlot+8)
	failed := make([]models.ConnSlot, 3*4096) // as many as three workers tell of in a slot
	flood := func(from, to int) {
		for n := from; n < to; n += perSlot {
			slots = append(slots[:0], ordinary[n/perSlot%len(ordinary)]...)
			for i := range perSlot {
				slots = append(slots, models.ConnSlot{
					Orig: spoofed((n + i) * 7), Resp: victim, OrigPort: uint16(i), RespPort: 80, Proto: models.ProtoTCP, New: true, State: models.ConnSynSent,
					Up: models.SlotDir{Packets: 1, Bytes: 60},
				})
			}
			for i := range failed {
				failed[i] = unanswered(spoofed((n+i)*7), victim, 80)
			}
			s.slot(slots, failed, nil, nil)
		}
	}
	flood(0, 2_000_000)
	early := heap() - s.before
	flood(2_000_000, 10_000_000)
	s.grown(most)
	if late := heap() - s.before; late > early+10 {
		t.Errorf("%.0f MiB after two million sources, %.0f after ten", early, late)
	}
	floods := 0
	for _, a := range s.alerts {
		if a.Category != models.CategoryFlood {
			t.Errorf("%s: %s", a.Category, a.Summary)
			continue
		}
		floods++
		if a.DstIP != victim.String() || a.DstPort != 80 || a.Proto != "TCP" {
			t.Errorf("%s:%d/%s: %s", a.DstIP, a.DstPort, a.Proto, a.Summary)
		}
		if off := math.Abs(float64(a.Peers.Total)-1e7) / 1e7; off > 0.15 {
			t.Errorf("from %d hosts, want ten million: %s", a.Peers.Total, a.Summary)
		}
	}
	if floods != 1 {
		t.Errorf("%d floods", floods)
	}
	caps := s.j.Stats().CapsHit
	if caps["entities_source"] == 0 || caps["events"] == 0 || s.j.Stats().Entities["source"] > defaultMaxEntities {
		t.Errorf("%v, %v", caps, s.j.Stats().Entities)
	}
}

// Ten thousand questions a slot, each about another domain: the table of domains stays at its room, and what was pushed out is counted.
func TestRandomDomains(t *testing.T) {
	const perSlot = 10_000
	slots := 25
	if testing.Short() {
		slots = 2
	}
	s := newStress(t, Options{MaxEntities: 1024})
	questions := make([]models.Question, perSlot)
	n := 0
	for range slots {
		for i := range questions {
			questions[i] = question(hostN(1+i%50), addr("10.0.0.1"), qA, fmt.Sprintf("www.x%dy.example", n))
			questions[i].TS = s.n * models.SlotMicros
			n++
		}
		s.slot(nil, nil, questions, nil)
	}
	s.grown(40)
	if got := len(s.j.domains.cells); got != maxDomains || s.j.Stats().CapsHit["domains"] != uint64(2*n-maxDomains) {
		t.Errorf("%d domains, %d pushed out of %d", got, s.j.Stats().CapsHit["domains"], 2*n)
	}
	if len(s.alerts) > 0 {
		t.Errorf("%d alerts", len(s.alerts))
	}
}

// A flood of ARP: what is known of claims and of who asks for whom stays at its room, what was not looked at is counted.
func TestARPFlood(t *testing.T) {
	s := newStress(t, Options{MaxEntities: 1024})
	rng := rand.New(rand.NewPCG(1, 1))
	slots := 20
	if testing.Short() {
		slots = 6
	}
	arp := make([]models.Observation, maxObserved+1000)
	for range slots {
		for i := range arp {
			arp[i] = models.Observation{
				TS: s.n * models.SlotMicros, Op: uint16(1 + rng.IntN(2)), Sender: spoofed(rng.IntN(1 << 20)), Target: spoofed(rng.IntN(1 << 20)),
				MAC: models.MAC{2, byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256)), 0, 0},
			}
		}
		s.slot(nil, nil, nil, arp)
	}
	s.grown(80)
	if got := len(s.j.arp.counts); got > maxClaims || got < maxClaims/2 {
		t.Errorf("%d claims", got)
	}
	if lost := s.j.Stats().CapsHit["claims"]; lost < uint64(1000*slots) {
		t.Errorf("%d claims were not looked at", lost)
	}
	if got := len(s.j.probes.cells); got > maxProbes {
		t.Errorf("%d lists of probes", got)
	}
}

// Everything that there can be many of is at its room: hosts, hardware addresses, pairs, peers, ports, services, lists of probes.
func TestTablesStayAtTheirRoom(t *testing.T) {
	conns := 300_000
	if testing.Short() {
		conns = 30_000
	}
	s := newStress(t, Options{})
	const perSlot = 3000
	slots := make([]models.ConnSlot, perSlot)
	for n := 0; n < conns; n += perSlot {
		for i := range slots {
			k := n + i
			c := page(models.Addr{Lo: 0xffff<<32 | uint64(10<<24+k%90_000)}, spoofed(k*256), uint16(k), 9_000_000, 500)
			switch k % 3 {
			case 0:
				c = refused(c.Orig, models.Addr{Lo: 0xffff<<32 | uint64(10<<24+k)}, uint16(k))
			case 1:
				c.Resp = models.Addr{Lo: 0xffff<<32 | uint64(10<<24+k)}
			}
			c.OrigMAC = models.MAC{2, 0, byte(k >> 24), byte(k >> 16), byte(k >> 8), byte(k)}
			c.RespMAC = hardware(c.Resp)
			c.Through = c.Completed
			slots[i] = c
		}
		s.slot(slots, nil, nil, nil)
	}
	s.grown(280)
	j := s.j
	for _, tc := range []struct {
		name       string
		used, room int
	}{
		{"links", len(j.links.cells), maxLinks},
		{"hosts", len(j.hosts.cells), maxHosts},
		{"pairs", len(j.pairs.cells), maxPairs},
		{"peers", len(j.peers.cells), maxPeers},
		{"ports", len(j.ports.cells), maxPorts},
		{"services", len(j.services.cells), maxServices},
		{"probes", len(j.probes.cells), maxProbes},
	} {
		if tc.used > tc.room || !testing.Short() && tc.used < tc.room {
			t.Errorf("%d %s, there is room for %d", tc.used, tc.name, tc.room)
		}
	}
	if caps := j.Stats().CapsHit; !testing.Short() && (caps["pairs"] == 0 || caps["probes"] == 0) {
		t.Errorf("%v", caps)
	}
}

// Of ordinary traffic, once everybody is known, neither a slot nor the second that it ends allocates anything. A DNS message does, once: the
// public suffix list looks whether a name is an address, and is told that it is not by an error. What is new to a table does, too.
func TestOrdinaryTrafficAllocatesNothing(t *testing.T) {
	for _, tc := range []struct {
		name      string
		arp       bool
		questions int
	}{{"TCP", false, 0}, {"TCP and ARP", true, 0}, {"TCP, ARP and DNS", true, 2}} {
		t.Run(tc.name, func(t *testing.T) {
			p := newOrdinary(t, tc.arp, tc.questions)
			for range 100 {
				p.play()
			}
			if got, want := testing.AllocsPerRun(5, p.play), float64(tc.questions*len(p.slots)); got != want {
				t.Errorf("%v allocations in %d slots, want %v", got, len(p.slots), want)
			}
		})
	}
}

// ordinary is ten seconds of work, again and again.
type ordinary struct {
	t     *testing.T
	j     *Judge
	a     []*Accumulator
	n     int64
	slots [][]models.ConnSlot
	asked []models.Question
	arp   []models.Observation
}

func newOrdinary(t *testing.T, arp bool, questions int) *ordinary {
	t.Helper()
	j, err := NewJudge(Options{Sensor: "test", MaxEntities: 4096})
	if err != nil {
		t.Fatal(err)
	}
	p := &ordinary{t: t, j: j, a: []*Accumulator{{}}, n: models.Slot(scriptDay)}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 250 {
		var conns []models.ConnSlot
		for range 4 {
			c := page(hostN(rng.IntN(10)), addr(fmt.Sprintf("198.51.%d.10", 100+rng.IntN(8))), 443, uint64(300+rng.IntN(3000)), uint64(shortDown+1+rng.IntN(30_000)))
			c.OrigMAC, c.RespMAC, c.Through = hardware(c.Orig), hardware(c.Resp), true
			conns = append(conns, c)
		}
		p.slots = append(p.slots, conns)
	}
	for i := range questions {
		p.asked = append(p.asked, question(hostN(1+i), addr("10.0.0.1"), qA, "www.known.example"))
	}
	if arp {
		p.arp = []models.Observation{{Op: arpReply, Sender: hostN(1), Target: hostN(2), MAC: hardware(hostN(1))}}
	}
	return p
}

func (p *ordinary) play() {
	for _, conns := range p.slots {
		now := p.n * models.SlotMicros
		for i := range conns {
			conns[i].First, conns[i].Last, conns[i].Start = now, now, now
		}
		a := p.a[0]
		a.Reset()
		a.Add(conns)
		for i := range p.asked {
			p.asked[i].TS = now
		}
		a.ObserveDNS(p.asked, 0)
		for i := range p.arp {
			p.arp[i].TS = now
			a.Observe(p.arp[i])
		}
		if got := p.j.Slot(p.n, p.a, 0, 0); len(got) > 0 {
			p.t.Fatal(got[0].Summary)
		}
		p.n++
	}
}
