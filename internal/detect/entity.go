package detect

import (
	"bytes"
	"math"
	"math/bits"

	"netlyra/internal/models"
)

// windowSeconds is the length of one of the two halves of an entity's window: what is judged is the half that runs and
// the one before, 10 to 20 s.
const windowSeconds = 10

// half is one half of the window.
type half struct {
	opened    uint32
	completed uint32
	unasked   uint64
}

// entity is an address in a role, and what it did lately. Three cache lines hold what every slot touches; the sketches behind them are
// for slots in which it opened connections.
type entity struct {
	addr      models.Addr
	slot      int64 // the last turn of the judge in which it moved
	period    int64 // number of the half that runs: seconds / windowSeconds
	second    int64 // the second that now is about
	hash      uint32
	recent    bool // moved since the eviction hand last came by
	incidents uint8
	listed    int64 // the last turn in which it was listed for the limits
	sender          // of the latest second in which it sent something

	now    tally
	before recent // the second before it

	halves [2]half
	main   mainConn // the heaviest connection of that second

	ports   [2]sketch // of the halves
	peers   [2]sketch
	flooded int64   // when it was last flooded
	scanned int64   // when it last scanned
	peak    float32 // the most connections that are usually opened in one window; what is remembered of it is in its host's habit
	_       [12]byte
}

// recentlyFailed is how many of the connections of this second and the one before have not got through.
func (e *entity) recentlyFailed() int {
	return max(int(e.now.opened)+int(e.before.opened)-int(e.now.completed)-int(e.before.completed), 0)
}

// mainConn is the connection that an entity is named with where there is no better: its heaviest in one slot. Ties are decided by
// where and who, so that the order of the slots does not matter.
type mainConn struct {
	bytes    uint64
	peer     models.Addr
	origPort uint16
	respPort uint16
	proto    models.Proto
}

// sender is the hardware address that a host sends from: that of the connection on which it sent most in one slot. Ties are decided by the
// address, so that the order of the slots does not matter.
type sender struct {
	mac    models.MAC // zero: it has sent nothing
	weight uint16
}

// hear takes who has sent on a connection so heavy for the sender if it is the heaviest so far.
func (s *sender) hear(mac models.MAC, weight uint16) {
	switch {
	case mac == (models.MAC{}):
		return
	case mac == s.mac: // nearly always
		s.weight = max(s.weight, weight)
		return
	case weight < s.weight || weight == s.weight && bytes.Compare(mac[:], s.mac[:]) <= 0:
		return
	}
	*s = sender{mac, weight}
}

// weight is a number of bytes in 16 bits, in the same order but for one part in 256; never 0.
func weight(bytes uint64) uint16 { return uint16(math.Float32bits(float32(bytes)+1) >> 15) }

func mainConnOf(r Role, s *models.ConnSlot) mainConn {
	peer := s.Resp
	if r == Destination {
		peer = s.Orig
	}
	return mainConn{s.Up.Bytes + s.Down.Bytes, peer, s.OrigPort, s.RespPort, s.Proto}
}

func (m *mainConn) heavierThan(o *mainConn) bool {
	switch {
	case m.bytes != o.bytes:
		return m.bytes > o.bytes
	case m.ports() != o.ports():
		return m.ports() < o.ports()
	case m.peer != o.peer:
		return m.peer.Less(o.peer)
	}
	return m.proto < o.proto
}

// ports are both in one number, of which the smaller decides a tie.
func (m *mainConn) ports() uint32 { return portsOf(m.origPort, m.respPort) }

func portsOf(orig, resp uint16) uint32 { return uint32(resp)<<16 | uint32(orig) }

// recent is what of a second is still needed in the next.
type recent struct {
	opened    uint32
	completed uint32
}

// tally is an entity-second.
type tally struct {
	opened     uint32
	completed  uint32
	packetsOut uint32
	packetsIn  uint32
	bytesOut   uint64
	bytesIn    uint64
	entropySum uint64
	unasked    uint32 // bytes
	silent     uint32 // packets of connections that nobody has answered
	entropyN   uint32
	icmp       uint32
}

// goesOn says whether connections still fail at a tenth of the limit's pace or more, and most of them do: over this second and the one
// before, while the limit itself is over the window of 10 to 20 s. When an attack stops, its incident does.
func (e *entity) goesOn(limit int, share float64) bool {
	opened := int(e.now.opened) + int(e.before.opened)
	failed := e.recentlyFailed()
	return 10*failed >= limit && float64(failed) >= share*float64(opened)
}

// entities is a fixed slab of entities of one role under an open-addressing index. When it is full, an entity that has not moved
// for a round of the clock hand is evicted; those in an open incident stay.
type entities struct {
	index   []uint32 // the entity in the bits of low, those of its hash in the others; 0 is free
	low     uint32
	slab    []entity
	used    int
	hand    int
	tidied  int
	live    int
	evicted uint64
	barren  int64  // the last turn in which there was nobody to evict
	refused uint64 // entities that found no room: all the others moved in the same slot
	blocks  blocks
}

func newEntities(capacity int) *entities {
	size := 1
	for size < 2*capacity {
		size *= 2
	}
	return &entities{index: make([]uint32, size), low: 1<<bits.Len(uint(capacity)) - 1, slab: make([]entity, capacity+1), used: 1} // 0 is noEntity
}

// never is before any turn, window and second.
const never = -1 << 62

// noEntity stands for an address that there is no room for.
const noEntity = 0

// get finds or makes the entity of addr, whose hash is given, in a turn of the judge; noEntity if there is no room.
func (t *entities) get(addr models.Addr, hash uint32, turn int64) uint32 {
	mask := uint32(len(t.index) - 1)
	i := hash & mask
	for t.index[i] != 0 {
		if s := t.index[i]; s&^t.low == hash&^t.low {
			if e := s & t.low; t.slab[e].addr == addr {
				return e
			}
		}
		i = (i + 1) & mask
	}
	var e uint32
	if t.used < len(t.slab) {
		e = uint32(t.used)
		t.used++
	} else {
		if e = t.evict(turn); e == noEntity {
			t.refused++
			return noEntity
		}
		for i = hash & mask; t.index[i] != 0; i = (i + 1) & mask {
		}
	}
	t.index[i] = hash&^t.low | e
	t.slab[e] = entity{addr: addr, hash: hash, slot: never, period: never, second: never}
	t.live++
	return e
}

// find returns the entity of addr, nil if there is none.
func (t *entities) find(addr models.Addr) *entity {
	if e := t.indexOf(addr); e != noEntity {
		return &t.slab[e]
	}
	return nil
}

// indexOf returns the place of the entity of addr in the slab, noEntity if there is none.
func (t *entities) indexOf(addr models.Addr) uint32 {
	hash := hashAddr(addr)
	mask := uint32(len(t.index) - 1)
	for i := hash & mask; t.index[i] != 0; i = (i + 1) & mask {
		if s := t.index[i]; s&^t.low == hash&^t.low && t.slab[s&t.low].addr == addr {
			return s & t.low
		}
	}
	return noEntity
}

// touch loads what get will look at for each of the rows, so that the cache misses overlap.
func (t *entities) touch(rows []moved) (sum uint64) {
	mask := uint32(len(t.index) - 1)
	for i := range rows {
		sum += uint64(t.index[rows[i].hash&mask])
	}
	for i := range rows {
		if e := t.index[rows[i].hash&mask] & t.low; e > 0 {
			ent := &t.slab[e]
			sum += uint64(ent.slot) + uint64(ent.now.opened) + ent.halves[0].unasked
		}
	}
	return sum
}

// evict frees the entity that the clock hand finds: one that is in no incident, has not moved since the hand last came by, and above all
// not in this turn, whose lists name it. noEntity if there is none.
func (t *entities) evict(turn int64) uint32 {
	if t.barren == turn {
		return noEntity
	}
	for range 2 * len(t.slab) {
		if t.hand++; t.hand >= len(t.slab) {
			t.hand = 1
		}
		e := &t.slab[t.hand]
		switch {
		case e.incidents > 0 || e.slot == turn:
			continue
		case e.recent:
			e.recent = false
			continue
		}
		t.remove(uint32(t.hand))
		t.evicted++
		t.live--
		return uint32(t.hand)
	}
	t.barren = turn
	return noEntity
}

// tidy brings the windows of the next n entities up to period, going round, so that hosts that have gone silent give their blocks back. free
// is turn's.
func (t *entities) tidy(period int64, n int, free bool) {
	for range min(n, t.used-1) {
		if t.tidied++; t.tidied >= t.used {
			t.tidied = 1
		}
		if e := &t.slab[t.tidied]; e.period < period {
			e.turn(period, &t.blocks, free)
		}
	}
}

// forget removes all entities.
func (t *entities) forget() {
	for e := 1; e < t.used; e++ {
		for h := range t.slab[e].halves {
			t.slab[e].ports[h].reset(&t.blocks)
			t.slab[e].peers[h].reset(&t.blocks)
		}
	}
	clear(t.index)
	t.used, t.live, t.hand, t.tidied = 1, 0, 0, 0
}

func (t *entities) remove(e uint32) {
	ent := &t.slab[e]
	for h := range ent.halves {
		ent.ports[h].reset(&t.blocks)
		ent.peers[h].reset(&t.blocks)
	}
	mask := uint32(len(t.index) - 1)
	i := ent.hash & mask
	for t.index[i]&t.low != e {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		if t.index[j] == 0 {
			break
		}
		home := t.slab[t.index[j]&t.low].hash & mask
		if (j-home)&mask >= (j-i)&mask {
			t.index[i] = t.index[j]
			i = j
		}
	}
	t.index[i] = 0
}

// turn brings the halves of the window up to the half of time period.
func (e *entity) turn(period int64, p *blocks, free bool) {
	if e.period == period {
		return
	}
	steps := period - e.period
	e.learnPeak(free)
	e.period = period
	for range min(max(steps, 0), 2) {
		e.ports[1].reset(p)
		e.peers[1].reset(p)
		e.ports[1], e.peers[1] = e.ports[0], e.peers[0]
		e.ports[0], e.peers[0] = sketch{}, sketch{}
		e.halves[1], e.halves[0] = e.halves[0], half{}
	}
}

// learnPeak takes the window for usual: freely while everything is; later a peak grows to 2.4 times as much a day, so that a slow ramp
// shows, and not while the entity is in an incident.
func (e *entity) learnPeak(free bool) {
	opened := float32(e.opened())
	switch {
	case e.incidents > 0 || opened <= e.peak:
	case free:
		e.peak = opened
	default:
		e.peak = min(opened, max(e.peak, leastPeak)*peakGrowth)
	}
}

const (
	peakGrowth = 1.0001 // a half of the window: 86,400 s / 10 s of them make 2.4 times as much
	leastPeak  = 10
)

func (e *entity) opened() int    { return int(e.halves[0].opened) + int(e.halves[1].opened) }
func (e *entity) completed() int { return int(e.halves[0].completed) + int(e.halves[1].completed) }
func (e *entity) failed() int    { return max(e.opened()-e.completed(), 0) }
func (e *entity) unasked() uint64 {
	return e.halves[0].unasked + e.halves[1].unasked
}

func (e *entity) portCount(p *blocks) int { return e.ports[0].union(&e.ports[1], p) }
func (e *entity) peerCount(p *blocks) int { return e.peers[0].union(&e.peers[1], p) }

// knows says whether the entity has turned to a peer within the window.
func (e *entity) knows(p *blocks, peer uint32) bool {
	return e.peers[0].has(p, peer) || e.peers[1].has(p, peer)
}
