package detect

import (
	"math/bits"
	"slices"

	"netlyra/internal/models"
)

// moved is what one entity did within one slot, as one worker saw it. Every field adds up. "Out" is what the initiators sent.
type moved struct {
	addr       models.Addr
	hash       uint32
	opened     uint32 // connections
	completed  uint32 // connections that got through
	packetsOut uint32
	packetsIn  uint32
	bytesOut   uint64
	bytesIn    uint64
	entropySum uint64 // of what the initiators sent, 1e-4 bit
	entropyN   uint32
	entity     uint32 // where the judge has put it; set by the judge
	main       uint32 // index of the slot's heaviest connection
	mainPorts  uint32 // of it
	mainBytes  uint64 // of it
	unasked    uint64 // bytes from a service port that nobody has answered yet
	icmp       uint32 // packets that the initiators sent, of packetsOut
	silent     uint32 // packets that nobody has answered yet, of packetsOut
	sender     sender
}

// Accumulator rolls up the slots of one worker. It is not for concurrent use; the judge reads it between Reset and Reset.
type Accumulator struct {
	slots      []models.ConnSlot
	rows       [numRoles][]moved
	rowOf      [numRoles][]uint32 // row of each slot's source and destination
	index      [numRoles][]uint32 // open addressing: row+1, 0 is free
	failed     []models.ConnSlot
	opened     []uint32 // slots whose initiator opens its connection
	telling    []uint32 // slots that their connection's pair hears of
	fragments  []uint32 // slots of later fragments of UDP datagrams, which have no ports
	observed   []models.Observation
	questions  []models.Question
	unobserved uint64
	packets    uint64
	last       [numRoles]lastRow
}

// lastRow remembers the row before: connections of one host often stand together.
type lastRow struct {
	addr models.Addr
	row  uint32
	ok   bool
}

const (
	minIndex    = 1 << 10
	sparse      = 4    // places in an index for each row at least: who collides seldom is foreseen well
	servicePort = 1024 // below it a port is a service's (RFC 6335, section 6)
)

// Reset forgets the slot before.
func (a *Accumulator) Reset() {
	for r := range a.rows {
		if len(a.rows[r]) > 0 {
			clear(a.index[r])
		}
		a.rows[r] = a.rows[r][:0]
		a.rowOf[r] = a.rowOf[r][:0]
		a.last[r] = lastRow{}
	}
	a.slots, a.failed = nil, nil
	a.opened, a.telling, a.fragments, a.questions = a.opened[:0], a.telling[:0], a.fragments[:0], a.questions[:0]
	a.observed, a.unobserved = a.observed[:0], 0
	a.packets = 0
}

// Take rolls up one worker's part of a slot, in place of the one before.
func (a *Accumulator) Take(p *models.SlotPart) {
	a.Reset()
	a.Add(p.Conns)
	a.Fail(p.Failed)
	for _, o := range p.ARP {
		a.Observe(o)
	}
	a.ObserveDNS(p.DNS, p.Unheard)
}

// Add takes the connections that moved in the slot. It keeps the slice until the next Reset, and changes nothing in it.
func (a *Accumulator) Add(slots []models.ConnSlot) {
	a.slots = slots
	for r := range a.rowOf {
		a.rowOf[r] = slices.Grow(a.rowOf[r], len(slots))
	}
	for i := range slots {
		s := &slots[i]
		a.packets += uint64(s.Up.Packets) + uint64(s.Down.Packets)
		var bytes uint64
		if unasked(s) {
			bytes = s.Up.Bytes
		}
		if s.Opens() {
			a.opened = append(a.opened, uint32(i))
		}
		if telling(s) {
			a.telling = append(a.telling, uint32(i))
		}
		if fragments(s) {
			a.fragments = append(a.fragments, uint32(i))
		}
		a.roll(Source, s.Orig, i, bytes)
		a.roll(Destination, s.Resp, i, bytes)
	}
}

// unasked says whether a connection looks like the answer to a question that nobody has asked.
func unasked(s *models.ConnSlot) bool {
	return s.Proto == models.ProtoUDP && !s.Answered && s.OrigPort < servicePort && s.RespPort >= servicePort
}

// fragments says whether a connection is of later fragments of datagrams, which have no ports, or of datagrams between high ports that
// are large enough for answers: who sends them is known only from whether they were asked for.
func fragments(s *models.ConnSlot) bool {
	const large = 200
	if s.Proto != models.ProtoUDP || s.Answered {
		return false
	}
	return s.OrigPort == 0 && s.RespPort == 0 || s.OrigPort >= servicePort && s.OrigPort < dynamicPort && s.RespPort >= servicePort && s.Up.Bytes >= large*uint64(s.Up.Packets)
}

// Fail takes the connections that have ended without an answer. It keeps the slice until the next Reset.
func (a *Accumulator) Fail(failed []models.ConnSlot) { a.failed = failed }

func (a *Accumulator) roll(r Role, addr models.Addr, i int, unasked uint64) {
	s := &a.slots[i]
	row := a.row(r, addr, i)
	a.rowOf[r] = append(a.rowOf[r], row)
	m := &a.rows[r][row]
	bytes := s.Up.Bytes + s.Down.Bytes
	if ports := portsOf(s.OrigPort, s.RespPort); bytes > m.mainBytes || bytes == m.mainBytes && (ports < m.mainPorts || ports == m.mainPorts && a.heavier(r, uint32(i), m.main)) {
		m.main, m.mainPorts, m.mainBytes = uint32(i), ports, bytes
	}
	switch {
	case r == Source && s.Up.Packets > 0:
		m.sender.hear(s.OrigMAC, weight(bytes))
	case r == Destination && s.Down.Packets > 0:
		m.sender.hear(s.RespMAC, weight(bytes))
	}
	if s.Opens() {
		m.opened++
	}
	if s.GetsThrough() {
		m.completed++
	}
	m.packetsOut += s.Up.Packets
	m.packetsIn += s.Down.Packets
	m.bytesOut += s.Up.Bytes
	m.bytesIn += s.Down.Bytes
	m.entropySum += s.Up.EntropySum
	m.entropyN += s.Up.EntropyN
	m.unasked += unasked
	if !s.Answered {
		m.silent += s.Up.Packets
	}
	if s.Proto == models.ProtoICMP || s.Proto == models.ProtoICMPv6 {
		m.icmp += s.Up.Packets
	}
}

// heavier compares two of the slot's connections.
func (a *Accumulator) heavier(r Role, i, than uint32) bool {
	one, other := mainConnOf(r, &a.slots[i]), mainConnOf(r, &a.slots[than])
	return one.heavierThan(&other)
}

// row finds or makes the row of addr, whose first connection is slot i.
func (a *Accumulator) row(r Role, addr models.Addr, i int) uint32 {
	last := &a.last[r]
	if last.ok && last.addr == addr {
		return last.row
	}
	if sparse*(len(a.rows[r])+1) > len(a.index[r]) {
		a.grow(r)
	}
	index := a.index[r]
	mask := uint32(len(index) - 1)
	hash := hashAddr(addr)
	at := hash & mask
	for index[at] != 0 {
		if row := index[at] - 1; a.rows[r][row].addr == addr {
			*last = lastRow{addr, row, true}
			return row
		}
		at = (at + 1) & mask
	}
	row := uint32(len(a.rows[r]))
	if len(a.rows[r]) == cap(a.rows[r]) {
		a.rows[r] = slices.Grow(a.rows[r], max(len(a.rows[r]), minIndex/sparse))
	}
	a.rows[r] = a.rows[r][:row+1]
	a.rows[r][row] = moved{addr: addr, hash: hash, main: uint32(i)}
	index[at] = row + 1
	*last = lastRow{addr, row, true}
	return row
}

func (a *Accumulator) grow(r Role) {
	a.index[r] = make([]uint32, max(minIndex, 2*len(a.index[r])))
	mask := uint32(len(a.index[r]) - 1)
	for row := range a.rows[r] {
		i := a.rows[r][row].hash & mask
		for a.index[r][i] != 0 {
			i = (i + 1) & mask
		}
		a.index[r][i] = uint32(row) + 1
	}
}

// hashAddr spreads addresses over tables and sketches. It has a fixed seed, so that every run gives the same alerts: who
// collides on purpose makes a probe longer, within a table that is bounded.
func hashAddr(a models.Addr) uint32 {
	hi, lo := bits.Mul64(a.Lo^0x9e3779b97f4a7c15, a.Hi^0xd1b54a32d192ed03)
	hi, lo = bits.Mul64(hi^lo^a.Lo, 0x8cb92ba72f3d8dd7)
	h := hi ^ lo
	return uint32(h) ^ uint32(h>>32)
}

func hashPort(port uint16, proto models.Proto) uint32 {
	hi, lo := bits.Mul64(uint64(port)<<16|uint64(proto)|1<<40, 0x8cb92ba72f3d8dd7)
	h := hi ^ lo
	return uint32(h) ^ uint32(h>>32)
}
