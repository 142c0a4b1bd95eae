package detect

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"netlyra/internal/models"
)

// bytesOf deals out a fuzzer's bytes; when they are gone it deals out zeros.
type bytesOf struct {
	left  []byte
	drawn uint64
}

func (b *bytesOf) next() byte {
	if len(b.left) == 0 {
		return 0
	}
	v := b.left[0]
	b.left = b.left[1:]
	return v
}

func (b *bytesOf) uint16() uint16 { return uint16(b.next())<<8 | uint16(b.next()) }

// number is small as a rule, and anything at times.
func (b *bytesOf) number() uint64 {
	v := b.next()
	if v < 250 {
		return uint64(v) * uint64(b.next())
	}
	return binary.BigEndian.Uint64([]byte{b.next(), b.next(), b.next(), b.next(), b.next(), b.next(), b.next(), b.next()})
}

func (b *bytesOf) addr() models.Addr {
	switch v := b.next(); {
	case v < 160:
		return models.Addr{Lo: 0xffff<<32 | 10<<24 | uint64(v%16)}
	case v < 220:
		return models.Addr{Lo: 0xffff<<32 | 203<<24 | uint64(v)<<8 | uint64(b.next())}
	case v < 240:
		return models.Addr{Hi: 0xfd << 56, Lo: uint64(b.next())}
	case v < 250:
		return models.Addr{Lo: 0xffff<<32 | 0xe0000000 | uint64(v)}
	}
	return models.Addr{Hi: b.number(), Lo: b.number()}
}

func (b *bytesOf) mac() models.MAC { return models.MAC{b.next() &^ 1, 0, 0, 0, 0, b.next() % 8} }

func (b *bytesOf) port() uint16 {
	if v := b.next(); v < 200 {
		return []uint16{0, 22, 53, 67, 68, 80, 123, 443, 445, 8443}[v%10]
	}
	return b.uint16()
}

func (b *bytesOf) conn(end int64) models.ConnSlot {
	bits := b.uint16()
	on := func(i int) bool { return bits>>i&1 == 1 }
	c := models.ConnSlot{
		Orig: b.addr(), Resp: b.addr(), OrigPort: b.port(), RespPort: b.port(), OrigMAC: b.mac(), RespMAC: b.mac(),
		Proto: []models.Proto{models.ProtoTCP, models.ProtoTCP, models.ProtoUDP, models.ProtoICMP, models.ProtoICMPv6, 47}[b.next()%6],
		New:   on(0), Answered: on(1), Completed: on(2), Through: on(3), Finished: on(4), Failed: on(5), Hello: on(6), Backward: on(7),
		State: models.ConnState(b.next()), ICMPType: b.next(), ICMPCode: b.next(),
		Up: b.side(), Down: b.side(),
	}
	c.TotalUp, c.TotalDown = c.Up.Payload+b.number(), c.Down.Payload+b.number()
	c.First, c.Last = end-models.SlotMicros, end-1
	c.Start, c.Before = end-int64(b.number()%(1<<40)), end-int64(b.number()%(1<<40))
	return c
}

// side is what one side sends: what has no packets has nothing.
func (b *bytesOf) side() (d models.SlotDir) {
	if d.Packets = uint32(b.number()); d.Packets > 0 {
		d.Bytes, d.Payload, d.EntropyN, d.EntropySum = uint64(d.Packets)+b.number(), b.number(), uint32(b.next()), b.number()
	}
	return d
}

func (b *bytesOf) question(end int64) models.Question {
	q := models.Question{TS: end - int64(b.next()), Client: b.addr(), Server: b.addr(), QType: uint16(b.next()), Answer: b.next()&1 == 1, Size: uint32(b.number())}
	name := fmt.Sprintf("%0*x.d%d.example", b.next()%64, b.number(), b.next()%4)
	if b.next() > 230 {
		name = string([]byte{b.next(), b.next(), b.next(), b.next(), b.next(), b.next()})
	}
	q.Len = uint8(copy(q.Name[:], name))
	return q
}

// FuzzJudge plays anything to a judge. It may not panic, and whatever it tells is sorted, complete and of one incident per id, whose
// revisions rise and which is closed in the end.
func FuzzJudge(f *testing.F) {
	f.Add([]byte{}, int64(1))
	for seed := range uint64(6) {
		f.Add(randomBytes(seed, 2048), int64(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte, trees int64) {
		half := len(data) / 2
		playBytes(t, data[:half], trees)
		playActs(t, data[half:])
	})
}

// playActs has everyone act as a fuzzer's bytes say.
func playActs(t *testing.T, data []byte) revisions {
	t.Helper()
	s := newScript(t)
	s.options = lowLines(1)
	b := &bytesOf{left: data}
	p := &everyone{s, rand.New(b)}
	for range min(len(data)/64, 40) {
		p.act(1300 * p.rng.Float64())
	}
	s.until(1310)
	alerts, _ := s.play(1+int(b.next()%3), 1)
	told := revisions{}
	for i := range alerts {
		told.take(t, alerts[i:i+1])
	}
	return told
}

// Uint64 makes bytesOf a source of random numbers, which never runs dry.
func (b *bytesOf) Uint64() uint64 {
	b.drawn += 0x9e3779b97f4a7c15
	return b.drawn + binary.BigEndian.Uint64([]byte{b.next(), b.next(), b.next(), b.next(), b.next(), b.next(), b.next(), b.next()})
}

// What the fuzzer plays reaches most of what there is to tell.
func TestWhatIsFuzzedReachesTheRules(t *testing.T) {
	kinds := map[models.Category]int{}
	for seed := range uint64(12) {
		for _, told := range []revisions{playBytes(t, randomBytes(seed, 8192), int64(seed)), playActs(t, randomBytes(seed, 8192))} {
			for _, a := range told {
				kinds[a.Category]++
			}
		}
	}
	if len(kinds) < 9 {
		t.Errorf("only %v", kinds)
	}
	t.Log(kinds)
}

func randomBytes(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func playBytes(t *testing.T, data []byte, trees int64) revisions {
	t.Helper()
	l := DefaultLimits()
	l.WarmupPackets, l.ScanPorts, l.SweepHosts, l.FloodHalfOpen, l.FloodSources = 1, 4, 5, 6, 8
	l.FloodOpened, l.FloodDatagrams, l.FloodICMP, l.FloodPackets, l.UnsolicitedBytes = 9, 9, 9, 50, 1000
	j, err := NewJudge(Options{Sensor: "fuzz", Seed: trees, BudgetDay: 1e6, Window: 8, Limits: l, MaxEntities: 128})
	if err != nil {
		t.Fatal(err)
	}
	b := &bytesOf{left: data}
	told := revisions{}
	n := models.Slot(scriptDay)
	var received, lost uint64
	parts := []*Accumulator{{}, {}}
	for range learnSeconds/2 + 1 {
		n += 2 * scriptSecond
		told.take(t, j.Slot(n, parts, 0, 0))
	}
	for len(b.left) > 0 {
		switch v := b.next(); {
		case v < 180:
			n++
		case v < 230:
			n += int64(b.next()) * 25
		case v < 250:
			n += int64(b.uint16()) * 250
		case v < 253:
			told.take(t, j.Advance((n+int64(b.next()))*models.SlotMicros))
		default:
			n -= int64(b.uint16()) * 25
			told.take(t, j.SetBack(n*models.SlotMicros))
		}
		for _, a := range parts {
			b.fill(a, (n+1)*models.SlotMicros)
		}
		received += b.number() % 1e6
		lost += b.number() % 1e6
		told.take(t, j.Slot(n, parts, received, lost))
	}
	told.take(t, j.Finish())
	for id, a := range told {
		if a.State != models.AlertClosed {
			t.Errorf("%s is %s in the end: %s", id, a.State, a.Summary)
		}
	}
	if s := j.Stats(); s.OpenIncidents > 0 || s.Learning < 0 || s.Learning > 1 || s.LearnedAlerts+s.LimitAlerts != uint64(len(told)) {
		t.Errorf("%d incidents were told: %+v", len(told), s)
	}
	for r := range j.roles {
		if live := j.roles[r].entities.live; live > 128 {
			t.Errorf("%d entities", live)
		}
		for i := range j.roles[r].entities.slab {
			if n := j.roles[r].entities.slab[i].incidents; n != 0 {
				t.Errorf("an entity is in %d incidents in the end", n)
			}
		}
	}
	return told
}

// fill gives an accumulator what happens in a slot.
func (b *bytesOf) fill(a *Accumulator, end int64) {
	a.Reset()
	var slots, failed []models.ConnSlot
	var questions []models.Question
	for range b.next() % 12 {
		for repeated, c := b.next()%24, b.conn(end); ; repeated-- {
			if c.Failed {
				failed = append(failed, c)
			} else {
				slots = append(slots, c)
			}
			if repeated == 0 {
				break
			}
			c.RespPort++
			c.Resp.Lo += uint64(repeated & 1)
		}
	}
	for range b.next() % 8 {
		questions = append(questions, b.question(end))
	}
	a.Add(slots)
	a.Fail(failed)
	a.ObserveDNS(questions, uint64(b.next()%2))
	for range b.next() % 8 {
		a.Observe(models.Observation{TS: end - 1, Op: uint16(b.next() % 4), Sender: b.addr(), Target: b.addr(), MAC: b.mac()})
	}
}

// revisions are the latest of each incident.
type revisions map[string]models.Alert

func (r revisions) take(t *testing.T, alerts []models.Alert) {
	t.Helper()
	for i, a := range alerts {
		if i > 0 && alerts[i-1].TS > a.TS {
			t.Errorf("an alert of %v comes after one of %v", a.TS, alerts[i-1].TS)
		}
		checkComplete(t, &a)
		last, known := r[a.ID]
		if known && (a.Rev != last.Rev+1 || last.State == models.AlertClosed || a.TS != last.TS) || !known && a.Rev != 1 {
			t.Errorf("revision %d of %v, %s, after %d of %v, %s: %s", a.Rev, a.TS, a.State, last.Rev, last.TS, last.State, a.Summary)
		}
		r[a.ID] = a
	}
}
