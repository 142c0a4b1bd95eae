// Package flow pairs packets into connections: bidirectional 5-tuples with an initiator, a TCP state, counters each way, and
// what each did in the open slot. Times are capture times in microseconds, sizes bytes on the wire.
//
// The table is one slab of entries under an open-addressing index, with a timing wheel for expiry: a packet costs two
// cache misses, no allocation and no pointer. Its size is fixed; when it is full, the connection nearest to its expiry is
// evicted and counted, so that a spoofed flood pushes out its own half-open connections before anybody's established one.
//
// A later fragment has no ports and belongs to the connection with ports 0 between its addresses. An ICMP error belongs to
// a connection of its own, not to the one whose header it quotes.
package flow

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"netlyra/internal/models"
)

// Timeouts say after which silence a connection ends. Zero fields take the defaults given here.
type Timeouts struct {
	TCPOpening     time.Duration // SYN seen, handshake not complete: 30 s
	TCPEstablished time.Duration // 5 min
	TCPFinished    time.Duration // both FIN or a RST seen: 10 s for what is still on its way
	UDP            time.Duration // 1 min
	Other          time.Duration // ICMP and everything else: 1 min
}

// Options configure a Table. Zero values are useful.
type Options struct {
	MaxConnections int    // hard cap; 0 means 262,144, about 60 MB
	Seed           uint64 // of the hash: random for live traffic (an attacker must not guess it), fixed for `analyze`
	FirstID        int64  // the first connection's id; 0 means 1
	IDStride       int64  // between ids, so that workers share one sequence; 0 means 1
	Timeouts       Timeouts
	Records        int // how many Records wait for a Drain at most; 0: none are made
}

const (
	defaultMaxConnections = 1 << 18
	maxMaxConnections     = 1 << 24
	none                  = 0 // entry 0 is never used: an index of 0 is the end of a list
)

// key is a 5-tuple in canonical order: a is the smaller of the two (address, port).
type key struct {
	a, b models.Addr
	w    uint64 // port of a << 32 | port of b << 16 | protocol
}

// equal compares word by word: the compiler would call a function for the struct.
func (k *key) equal(o *key) bool {
	return k.w == o.w && k.a.Lo == o.a.Lo && k.b.Lo == o.b.Lo && k.a.Hi == o.a.Hi && k.b.Hi == o.b.Hi
}

// entry is one connection: three cache lines of 64 bytes. The first holds what every packet reads, the second what it adds to, the
// third what only some need.
type entry struct {
	key     key
	last    int64  // capture time of the last packet
	slotRef uint32 // index into Table.slots, if epoch is the table's
	epoch   uint32
	marks   marks
	flags   [2]models.TCPFlags
	state   models.ConnState
	class   class // of its time-out: follows from protocol and state

	payload  [2]uint64
	packets  [2]uint64
	bytes    [2]uint64
	entropy  uint64 // sum over the packets with payload, 1e-4 bit
	entropyN uint64

	id       int64 // 0: the entry is free
	first    int64
	prev     uint32    // in its wheel bucket
	next     uint32    // in its wheel bucket, or in the list of free entries
	isn      [2]uint32 // sequence number of the first payload byte
	bucket   uint16
	vlan     uint16
	hello    [2]uint16 // index+1 of the buffer that assembles its TLS hello
	origMAC  models.MAC
	respMAC  models.MAC
	icmpType uint8
	icmpCode uint8
	_        uint64 // to the end of the line
}

// marks are the boolean facts of an entry.
type marks uint16

const (
	origIsB   marks = 1 << iota // the initiator is key.b
	answered                    // the responder has sent something
	finOrig                     // FIN seen from the initiator
	finResp                     // FIN seen from the responder
	helloOrig                   // the initiator's first payload has been looked at, or never will be
	helloResp
	dirty    // changed since the last Record of it
	hasHello // Table.hellos has something for it
	through  // the handshake is complete, or what has none has been answered
	backward // the responder sent the first packet
	recorded // there has been a Record of it as open: its end must follow
)

// Counters are what a table has done since it was made. Opened = Active + Expired + Evicted.
type Counters struct {
	Active       uint64
	Opened       uint64
	Expired      uint64 // idle, done, reused or flushed
	Evicted      uint64 // the table was full
	RecordsLost  uint64 // connections that have ended without any Record: the buffer was full, or half full and it was one packet
	HelloBuffers uint64 // hellos not assembled because all buffers were in use
	SNICap       uint64 // hellos not kept because too many are kept
	FailedUntold uint64 // connections without an answer that the detector did not hear of, because there were too many in one slot
}

// Table is the connection table. It is not for concurrent use: each worker has its own.
type Table struct {
	index    []uint64 // hash << 32 | entry; 0 is free. Linear probing, deletion by backward shift
	mask     uint32
	entries  []entry
	free     uint32 // list of free entries through next
	used     uint32 // entries[1..used] have been used
	flushed  uint32 // entries[1..flushed] have been flushed
	seed     [2]uint64
	nextID   int64
	idStride int64

	slot    int64
	slots   []models.ConnSlot
	failed  []models.ConnSlot
	epoch   uint32
	scratch []located

	timeout [numClasses]int64
	wheel   wheel

	hellos  map[uint32]Hello
	buffers helloBuffers

	records    []Record
	maxRecords int
	sweep      uint32
	sink       uint64 // keeps the compiler from dropping the touch-ahead loads
	counters   Counters
}

// located is a packet's key and hash, computed for a whole batch before the table is touched.
type located struct {
	key     key
	hash    uint32
	srcIsB  marks // origIsB if the packet's source is key.b
	skipped bool
}

// New makes an empty table; it allocates all the memory it will need but for the slots that one slot of traffic moves.
func New(o Options) (*Table, error) {
	if o.MaxConnections == 0 {
		o.MaxConnections = defaultMaxConnections
	}
	if o.MaxConnections < 1 || o.MaxConnections > maxMaxConnections {
		return nil, fmt.Errorf("flow: %d connections: the table takes 1 to %d", o.MaxConnections, maxMaxConnections)
	}
	if o.Records < 0 {
		return nil, errors.New("flow: the number of records must not be negative")
	}
	size := uint32(1) << bits.Len(uint(o.MaxConnections*2-1))
	t := &Table{
		index:      make([]uint64, size),
		mask:       size - 1,
		entries:    make([]entry, o.MaxConnections+1),
		seed:       [2]uint64{mix(o.Seed, 0x9e3779b97f4a7c15), mix(o.Seed^0xd1b54a32d192ed03, 0x8cb92ba72f3d8dd7)},
		nextID:     max(o.FirstID, 1),
		idStride:   max(o.IDStride, 1),
		epoch:      1,
		timeout:    o.Timeouts.micros(),
		hellos:     map[uint32]Hello{},
		maxRecords: o.Records,
	}
	return t, nil
}

// mix is the folded 128-bit product of wyhash: every input bit reaches every output bit.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (t *Table) hash(k *key) uint32 {
	h := mix(k.a.Hi^t.seed[0], k.a.Lo^t.seed[1])
	h = mix(h^k.b.Hi, k.b.Lo^t.seed[0])
	h = mix(h^k.w, t.seed[1])
	return uint32(h) ^ uint32(h>>32)
}

// lookup finds the entry of k, or none.
func (t *Table) lookup(k *key, hash uint32) uint32 {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		s := t.index[i]
		if s == 0 {
			return none
		}
		if uint32(s>>32) == hash {
			if e := uint32(s); t.entries[e].key.equal(k) {
				return e
			}
		}
	}
}

// insert takes an entry for k, which must not be in the table, evicting one if there is no other way.
func (t *Table) insert(k *key, hash uint32) uint32 {
	e := t.free
	switch {
	case e != none:
		t.free = t.entries[e].next
	case int(t.used) < len(t.entries)-1:
		t.used++
		e = t.used
	default:
		t.evict()
		e = t.free
		t.free = t.entries[e].next
	}
	i := hash & t.mask
	for t.index[i] != 0 {
		i = (i + 1) & t.mask
	}
	t.index[i] = uint64(hash)<<32 | uint64(e)
	t.entries[e] = entry{key: *k, id: t.nextID}
	t.nextID += t.idStride
	t.counters.Opened++
	t.counters.Active++
	return e
}

// remove ends a connection and frees its entry.
func (t *Table) remove(e uint32, why models.ConnEnd) {
	t.end(e, why)
	t.unlinkIndex(e)
	t.wheel.unlink(t.entries, e)
	t.entries[e].next = t.free
	t.free = e
}

// end takes leave of a connection: its record goes out, what is kept beside its entry is dropped.
func (t *Table) end(e uint32, why models.ConnEnd) {
	t.record(e, why)
	c := &t.entries[e]
	if why == models.ConnIdle && c.marks&(answered|backward) == 0 {
		t.fail(c)
	}
	t.buffers.release(&c.hello[0])
	t.buffers.release(&c.hello[1])
	if c.marks&hasHello != 0 {
		delete(t.hellos, e)
	}
	c.epoch = 0
	c.id = 0
	t.counters.Active--
	if why == models.ConnEvicted {
		t.counters.Evicted++
	} else {
		t.counters.Expired++
	}
}

// unlinkIndex deletes e's index slot and closes the gap, so that probing never needs tombstones.
func (t *Table) unlinkIndex(e uint32) {
	hash := t.hash(&t.entries[e].key)
	i := hash & t.mask
	for uint32(t.index[i]) != e || uint32(t.index[i]>>32) != hash {
		i = (i + 1) & t.mask
	}
	for j := i; ; {
		j = (j + 1) & t.mask
		s := t.index[j]
		if s == 0 {
			break
		}
		home := uint32(s>>32) & t.mask
		if (j-home)&t.mask >= (j-i)&t.mask { // s may stand at i: its home is not between i and j
			t.index[i] = s
			i = j
		}
	}
	t.index[i] = 0
}

// live says whether the entry is a connection: free ones have no id.
func (c *entry) live() bool { return c.id != 0 }

// Capacity is how many connections the table holds at most.
func (t *Table) Capacity() int { return len(t.entries) - 1 }

// Counters returns the counts so far.
func (t *Table) Counters() Counters { return t.counters }

// OpenSlot starts slot n: what the connections did in the one before is forgotten.
func (t *Table) OpenSlot(n int64) {
	t.slot = n
	t.slots = t.slots[:0]
	if t.epoch++; t.epoch == 0 { // a new entry's
		t.epoch = 1
	}
}

// Slots are the connections that moved in the open slot, in the order of their first packet in it. The slice is valid until
// the next OpenSlot.
func (t *Table) Slots() []models.ConnSlot { return t.slots }

// TakeSlots hands the open slot's connections over for good and goes on in next, so that they can be judged while the
// next slot fills, with room for as many. It must be followed by OpenSlot.
func (t *Table) TakeSlots(next []models.ConnSlot) []models.ConnSlot {
	taken := t.slots
	t.slots = next[:0]
	if cap(next) < len(taken) { // as much will move again
		t.slots = make([]models.ConnSlot, 0, cap(taken))
	}
	return taken
}

// TakeFailed hands over those that have ended without an answer since it was last called, and goes on in next.
func (t *Table) TakeFailed(next []models.ConnSlot) []models.ConnSlot {
	taken := t.failed
	t.failed = next[:0]
	return taken
}
