package flow

import (
	"math/bits"
	"time"

	"netlyra/internal/models"
)

// A timing wheel with buckets of one second. An entry lies in the bucket of the deadline it had when it was linked; a
// packet does not move it. When the bucket's time comes, entries that have lived on are linked again at their new
// deadline: expiry costs nothing per packet.
const (
	wheelBuckets = 512 // seconds; the longest time-out must be shorter
	second       = int64(time.Second / time.Microsecond)
	maxTimeout   = (wheelBuckets - 2) * time.Second
	evictTries   = 64 // entries that turn out to live on, before one is evicted all the same
)

// class is a kind of time-out.
type class uint8

const (
	tcpOpening class = iota
	tcpEstablished
	tcpFinished
	udp
	other
	numClasses
)

func classOf(c *entry) class {
	switch models.Proto(c.key.w & 0xffff) {
	case models.ProtoTCP:
		switch c.state {
		case models.ConnSynSent, models.ConnSynReceived:
			return tcpOpening
		case models.ConnClosed, models.ConnReset:
			return tcpFinished
		default:
			return tcpEstablished
		}
	case models.ProtoUDP:
		return udp
	default:
		return other
	}
}

// micros fills in the defaults and cuts what is longer than the wheel.
func (o Timeouts) micros() (t [numClasses]int64) {
	set := func(c class, d, byDefault time.Duration) {
		if d <= 0 {
			d = byDefault
		}
		t[c] = min(d, maxTimeout).Microseconds()
	}
	set(tcpOpening, o.TCPOpening, 30*time.Second)
	set(tcpEstablished, o.TCPEstablished, 5*time.Minute)
	set(tcpFinished, o.TCPFinished, 10*time.Second)
	set(udp, o.UDP, time.Minute)
	set(other, o.Other, time.Minute)
	return t
}

type wheel struct {
	head     [wheelBuckets]uint32
	occupied [wheelBuckets / 64]uint64
	tick     int64 // seconds: every bucket up to this one has been looked at
	started  bool
}

// link puts e into the bucket after its deadline, so that when the bucket's time comes the deadline has passed.
func (w *wheel) link(entries []entry, e uint32, deadline int64) {
	if !w.started { // the first connection's time is the wheel's: whatever its time-out, the next second is due next
		w.started = true
		w.tick = entries[e].last/second - 1
	}
	// A deadline before the wheel's time (a late packet) is due at once; one far ahead of it (the clock has jumped) is
	// looked at as soon as the wheel comes by, and linked again.
	at := max(deadline/second+1, w.tick+1)
	b := uint16(at & (wheelBuckets - 1))
	c := &entries[e]
	c.bucket = b
	c.prev = none
	c.next = w.head[b]
	if c.next != none {
		entries[c.next].prev = e
	}
	w.head[b] = e
	w.occupied[b/64] |= 1 << (b % 64)
}

func (w *wheel) unlink(entries []entry, e uint32) {
	c := &entries[e]
	if c.next != none {
		entries[c.next].prev = c.prev
	}
	if c.prev != none {
		entries[c.prev].next = c.next
		return
	}
	w.head[c.bucket] = c.next
	if c.next == none {
		w.occupied[c.bucket/64] &^= 1 << (c.bucket % 64)
	}
}

func (w *wheel) relink(entries []entry, e uint32, deadline int64) {
	w.unlink(entries, e)
	w.link(entries, e, deadline)
}

// due returns the first bucket with entries at or after the wheel's next tick, going round; false if there is none.
func (w *wheel) due() (uint16, bool) {
	start := uint16((w.tick + 1) & (wheelBuckets - 1))
	const words = wheelBuckets / 64
	for i := range uint16(words + 1) {
		word := (start/64 + i) % words
		set := w.occupied[word]
		if i == 0 {
			set &= ^uint64(0) << (start % 64)
		}
		if set != 0 {
			return word*64 + uint16(bits.TrailingZeros64(set)), true
		}
	}
	return 0, false
}

// Advance ends the connections that are overdue at capture time now. Whether a packet still belongs to its connection does not
// depend on when Advance is called: Update asks for the time-out itself.
func (t *Table) Advance(now int64) {
	w := &t.wheel
	target := now / second
	if !w.started || target <= w.tick {
		return
	}
	from := max(w.tick+1, target-wheelBuckets+1) // after a gap every bucket is due once
	w.tick = target
	for s := from; s <= target; s++ {
		b := s & (wheelBuckets - 1)
		e := w.head[b]
		w.head[b] = none
		w.occupied[b/64] &^= 1 << (b % 64)
		for e != none {
			c := &t.entries[e]
			next := c.next
			w.link(t.entries, e, c.last+t.timeout[c.class])
			if now-c.last > t.timeout[c.class] && !t.mustWait(c) {
				t.remove(e, ended(c))
			}
			e = next
		}
	}
}

// mustWait says whether an overdue connection has to stay for another second: its end must be recorded, since it has been
// recorded as open, and there is no room for more records before the next Drain.
func (t *Table) mustWait(c *entry) bool {
	return c.marks&recorded != 0 && len(t.records) >= t.maxRecords
}

// evict ends the connection nearest to its expiry. Half-open ones have the shortest time-out of those that a flood opens.
func (t *Table) evict() {
	for try := 0; ; try++ {
		b, ok := t.wheel.due()
		if !ok {
			return // not reached: the table is full
		}
		e := t.wheel.head[b]
		c := &t.entries[e]
		deadline := c.last + t.timeout[c.class]
		if uint16((deadline/second+1)&(wheelBuckets-1)) == b || try == evictTries || deadline/second <= t.wheel.tick {
			t.remove(e, models.ConnEvicted)
			return
		}
		t.wheel.relink(t.entries, e, deadline)
	}
}

// Flush ends up to n connections, whatever their age, and says whether there are more: the capture is over. Before there are no more, no
// packet may come. Entries are not unlinked one by one: at the end the table is empty.
func (t *Table) Flush(n int) (more bool) {
	for ; t.flushed < t.used; t.flushed++ {
		if e := t.flushed + 1; t.entries[e].live() {
			if n == 0 {
				return true
			}
			t.end(e, models.ConnFlushed)
			n--
		}
	}
	clear(t.index)
	t.used, t.flushed, t.free = 0, 0, none
	t.wheel = wheel{} // whatever time it is next
	return false
}
