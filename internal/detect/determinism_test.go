package detect

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	diff "github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// randomScript is twenty minutes in which a few hosts do everything at once, in few slots, so that much of it meets in one slot. The lines are
// low, so that much of it is told.
func randomScript(t testing.TB, seed uint64) *script {
	rng := rand.New(rand.NewPCG(seed, 3))
	s := newScript(t)
	s.options = lowLines(int64(seed))
	s.work(0, 60)
	p := &everyone{s: s, rng: rng}
	for range 250 {
		p.act(1300 * rng.Float64())
	}
	s.until(1310)
	return s
}

// lowLines are options with which much is told of little.
func lowLines(seed int64) Options {
	l := DefaultLimits()
	l.ScanPorts, l.SweepHosts, l.FloodHalfOpen, l.FloodSources, l.FloodOpened, l.FloodICMP = 12, 15, 20, 25, 40, 30
	l.FloodDatagrams, l.UnsolicitedBytes, l.CloseAfterSeconds = 40, 20_000, 20
	return Options{Sensor: "test", Seed: seed, BudgetDay: 20_000, Window: 100, Limits: l, MaxEntities: 4096}
}

// everyone is some hosts inside and outside, who do anything.
type everyone struct {
	s   *script
	rng *rand.Rand
}

func (p *everyone) host() models.Addr {
	switch p.rng.IntN(4) {
	case 0:
		return addr(fmt.Sprintf("203.0.%d.9", p.rng.IntN(40)))
	case 1:
		return addr(fmt.Sprintf("fd00::%d", 1+p.rng.IntN(5)))
	default:
		return addr(fmt.Sprintf("10.0.0.%d", 1+p.rng.IntN(30)))
	}
}

func (p *everyone) port() uint16 { return []uint16{22, 53, 80, 443, 445, 3389, 8443}[p.rng.IntN(7)] }

// act is one slot in which several things happen, or a second or two of one thing.
func (p *everyone) act(at float64) {
	s, rng := p.s, p.rng
	a, b, n := p.host(), p.host(), 10+rng.IntN(60)
	soon := func(i int) float64 { return at + []float64{0, 0, 0.02, 1}[rng.IntN(4)]*float64(i)/float64(n) }
	switch rng.IntN(12) {
	case 0: // ports
		for i := range n {
			s.conn(soon(i), attemptAt(a, b, uint16(1+i), i%7 == 0))
		}
	case 1: // hosts
		for i := range n {
			s.conn(soon(i), refused(a, addr(fmt.Sprintf("10.0.0.%d", 1+i)), p.port()))
		}
	case 2: // a flood
		for i := range n {
			s.conn(soon(i), attemptAt(spoofed(rng.IntN(5000)), b, 80, i%9 == 0))
		}
	case 3: // visits, all alike
		for i := range n {
			s.conn(soon(i), page(a, b, 22, 500, 900))
		}
	case 4: // fragments, some of which are asked for in the same slot
		for i := range n {
			r := addr(fmt.Sprintf("203.0.%d.9", i%6))
			if i%3 == 0 {
				s.conn(soon(i), datagrams(b, r, 53, 60, 1400))
			}
			s.conn(soon(i), models.ConnSlot{Orig: r, Resp: b, Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: 1400}})
			s.conn(soon(i), models.ConnSlot{Orig: r, Resp: b, OrigPort: 123, RespPort: 40_000, Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: 480}})
		}
	case 5, 6: // names
		for i := range n {
			q := question(a, addr("10.0.0.1"), []uint16{qA, qTXT}[rng.IntN(2)], fresh(rng.IntN(9999), 20+rng.IntN(40), fmt.Sprintf("d%d.example", rng.IntN(4))))
			s.ask(soon(i), q)
			s.answer(soon(i), q, rng.IntN(300))
		}
	case 7: // claims
		for i := range n {
			target := addr(fmt.Sprintf("10.0.0.%d", 1+rng.IntN(30)))
			s.hear(soon(i), uint16(1+rng.IntN(2)), hardware(p.host()), target, addr(fmt.Sprintf("10.0.0.%d", 1+rng.IntN(60))))
		}
	case 8: // an upload
		s.session(at, at+float64(n), 1+rng.Float64(), models.ConnSlot{Orig: a, Resp: b, RespPort: p.port()}, uint64(rng.IntN(3<<20)), uint64(rng.IntN(9000)))
	case 9: // echoes
		for i := range n {
			c := models.ConnSlot{Orig: a, Resp: b, Proto: models.ProtoICMP, ICMPType: []uint8{8, 3, 11}[rng.IntN(3)], New: i == 0, Completed: i == 0, Through: true, Answered: true, Start: micros(at)}
			c.Up = models.SlotDir{Packets: 1, Bytes: 98, Payload: 56, EntropyN: 1, EntropySum: 40_000}
			c.Down = models.SlotDir{Packets: 1, Bytes: 98, Payload: uint64(40 + rng.IntN(60)), EntropyN: 1, EntropySum: 40_000}
			s.conn(at+float64(i), c)
		}
	case 10: // one side only, the heavier one, and another from both
		for i := range n {
			c := attemptAt(a, p.host(), 443, false)
			c.Answered, c.Through, c.State = true, true, models.ConnEstablished
			c.Up, c.Down = models.SlotDir{}, models.SlotDir{Packets: 40, Bytes: 60_000, Payload: 55_000, EntropyN: 40, EntropySum: 300_000}
			if rng.IntN(2) == 0 {
				c.Up.Packets, c.Up.Bytes = 20, uint64(1200+rng.IntN(5))
			}
			c.OrigMAC = models.MAC{2, 1, 0, 0, 0, byte(rng.IntN(4))}
			s.conn(soon(i), c)
		}
	case 11: // leases
		s.conn(at, models.ConnSlot{Orig: a, Resp: addr("255.255.255.255"), OrigPort: 67, RespPort: 68, Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: 342}})
	}
}

// Who accumulates what, and in which order, makes no difference: the same bytes come out.
func TestAlertsDoNotDependOnWhoAccumulates(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 2
	}
	kinds := map[models.Category]int{}
	for seed := range seeds {
		s := randomScript(t, seed)
		first, _ := s.play(1, 1)
		want, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		for i := range first {
			checkComplete(t, &first[i])
			kinds[first[i].Category]++
		}
		for workers := 1; workers <= 4; workers++ {
			alerts, _ := s.play(workers, uint64(workers)+7)
			if got, _ := json.Marshal(alerts); string(got) != string(want) {
				t.Fatalf("seed %d, %d workers in another order (-one +%d)\n%s", seed, workers, workers, diff.Diff(first, alerts))
			}
		}
	}
	if len(kinds) < 8 {
		t.Errorf("the scenes are too tame: %v", kinds)
	}
	t.Log(kinds)
}

// Which hardware address speaks for a host follows from its heaviest connection that it sends something on, whoever accumulates that one
// and the heavier ones that it only listens on.
func TestHardwareAddressesDoNotDependOnWhoAccumulates(t *testing.T) {
	host := addr("10.0.0.5")
	slot := func(mac byte, up, down uint64) models.ConnSlot {
		c := attemptAt(host, addr(fmt.Sprintf("203.0.113.%d", mac)), 443, true)
		c.OrigMAC = models.MAC{2, 0, 0, 0, 0, mac}
		c.Up, c.Down = models.SlotDir{Packets: uint32(up / 100), Bytes: up}, models.SlotDir{Packets: uint32(down / 100), Bytes: down}
		at(&c, firstSlot)
		return c
	}
	slots := []models.ConnSlot{slot(1, 100, 200), slot(2, 0, 9000), slot(3, 500, 600), slot(4, 0, 300), slot(5, 300, 100)}
	for order := range 30 {
		rng := rand.New(rand.NewPCG(uint64(order), 5))
		for workers := 1; workers <= 3; workers++ {
			j, err := NewJudge(Options{MaxEntities: 16})
			if err != nil {
				t.Fatal(err)
			}
			shares, parts := make([][]models.ConnSlot, workers), make([]*Accumulator, workers)
			for _, i := range rng.Perm(len(slots)) {
				to := rng.IntN(workers)
				shares[to] = append(shares[to], slots[i])
			}
			for i := range parts {
				parts[i] = &Accumulator{}
				parts[i].Add(shares[i])
			}
			j.Slot(firstSlot, parts, 0, 0)
			if got, want := j.roles[Source].entities.find(host).mac, slots[2].OrigMAC; got != want {
				t.Fatalf("order %d, %d workers: %v, want %v", order, workers, got, want)
			}
		}
	}
}

// What is judged in one order must have one: two that differ are never taken for the same.
func TestOrdersAreTotal(t *testing.T) {
	q := question(addr("10.0.0.5"), addr("10.0.0.1"), qA, "www.example")
	q.TS = 7
	questions := []models.Question{q}
	for _, change := range []func(q *models.Question){
		func(q *models.Question) { q.TS++ }, func(q *models.Question) { q.Client.Lo++ }, func(q *models.Question) { q.Server.Lo++ },
		func(q *models.Question) { q.QType++ }, func(q *models.Question) { q.Size++ }, func(q *models.Question) { q.Answer = true },
		func(q *models.Question) { q.Name[0]++ }, func(q *models.Question) { q.Len-- },
	} {
		other := q
		change(&other)
		questions = append(questions, other)
	}
	checkOrder(t, questions, compareQuestions)
	c := page(addr("10.0.0.5"), addr("10.0.0.1"), 443, 100, 100)
	slots := []models.ConnSlot{c}
	for _, change := range []func(c *models.ConnSlot){
		func(c *models.ConnSlot) { c.First++ }, func(c *models.ConnSlot) { c.Orig.Lo++ }, func(c *models.ConnSlot) { c.Resp.Lo++ },
		func(c *models.ConnSlot) { c.OrigPort++ }, func(c *models.ConnSlot) { c.RespPort++ }, func(c *models.ConnSlot) { c.Proto++ },
		func(c *models.ConnSlot) { c.Start++ }, func(c *models.ConnSlot) { c.ICMPType++ }, func(c *models.ConnSlot) { c.ICMPCode++ },
		func(c *models.ConnSlot) { c.Last++ },
	} {
		other := c
		change(&other)
		slots = append(slots, other)
	}
	checkOrder(t, slots, compareSlots)
	o := models.Observation{TS: 7, Op: 1, Sender: addr("10.0.0.5"), Target: addr("10.0.0.1"), MAC: models.MAC{2}}
	observations := []models.Observation{o}
	for _, change := range []func(o *models.Observation){
		func(o *models.Observation) { o.TS++ }, func(o *models.Observation) { o.Op++ }, func(o *models.Observation) { o.Sender.Lo++ },
		func(o *models.Observation) { o.Target.Lo++ }, func(o *models.Observation) { o.MAC[5]++ },
	} {
		other := o
		change(&other)
		observations = append(observations, other)
	}
	checkOrder(t, observations, compareObservations)
}

func checkOrder[T any](t *testing.T, all []T, compare func(a, b *T) int) {
	t.Helper()
	for i := range all {
		for k := range all {
			if got := compare(&all[i], &all[k]); (got == 0) != (i == k) || got != -compare(&all[k], &all[i]) {
				t.Errorf("%d and %d of %T compare as %d", i, k, all[i], got)
			}
		}
	}
}
