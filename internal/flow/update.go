package flow

import (
	"math/bits"
	"slices"

	"netlyra/internal/models"
)

// Update adds packets, in order, to their connections and to the open slot. It sets each packet's Dir and ConnStart; ConnNew and
// ConnEstablished where they hold; and on the packet that completes a TLS hello SNI and JA4, whose text it appends to arena. Packets
// without a connection (ARP) are left alone.
//
// It goes over the batch several times: keys and hashes, loads of what the work will look at (touchAhead), then the work. The loads of one
// pass do not depend on each other, so that their cache misses overlap: more than twice as fast on a table larger than the cache, measured.
func (t *Table) Update(ps []models.Packet, arena []byte) []byte {
	if cap(t.scratch) < len(ps) {
		t.scratch = make([]located, len(ps))
	}
	loc := t.scratch[:len(ps)]
	for i := range ps {
		t.locate(&ps[i], &loc[i])
	}
	t.sink += t.touchAhead(loc)
	for i := range ps {
		if !loc[i].skipped {
			arena = t.update(&ps[i], &loc[i], arena)
		}
	}
	return arena
}

// touchAhead loads what update will look at for each of the packets: its place in the index, the three lines of the entry named there, and the
// entry's record of the open slot.
func (t *Table) touchAhead(loc []located) (sum uint64) {
	for i := range loc {
		sum += t.index[loc[i].hash&t.mask]
	}
	for i := range loc {
		c := &t.entries[uint32(t.index[loc[i].hash&t.mask])]
		sum += uint64(c.last) + c.packets[0] + uint64(c.first)
	}
	for i := range loc {
		c := &t.entries[uint32(t.index[loc[i].hash&t.mask])]
		if c.epoch == t.epoch && int(c.slotRef) < len(t.slots) {
			sum += uint64(t.slots[c.slotRef].First)
		}
	}
	return sum
}

func (t *Table) locate(p *models.Packet, l *located) {
	if p.Proto == models.ProtoARP {
		*l = located{skipped: true}
		return
	}
	src, dst := p.SrcPort, p.DstPort
	if p.Proto == models.ProtoICMP || p.Proto == models.ProtoICMPv6 {
		src, dst = icmpPorts(p.Proto, p.ICMPType, p.ICMPCode)
	}
	l.skipped = false
	// Which end is the smaller is as good as random, and a branch on it would be foreseen half of the time: it is the borrow of a
	// subtraction, and turns the two round by a mask.
	_, less := bits.Sub64(uint64(dst), uint64(src), 0)
	_, less = bits.Sub64(p.Dst.Lo, p.Src.Lo, less)
	_, less = bits.Sub64(p.Dst.Hi, p.Src.Hi, less)
	l.srcIsB = origIsB * marks(less)
	l.key.a.Hi, l.key.b.Hi = exchange(p.Src.Hi, p.Dst.Hi, less)
	l.key.a.Lo, l.key.b.Lo = exchange(p.Src.Lo, p.Dst.Lo, less)
	portA, portB := exchange(uint64(src), uint64(dst), less)
	l.key.w = portA<<32 | portB<<16 | uint64(p.Proto)
	l.hash = t.hash(&l.key)
}

// exchange returns a and b, the other way round if turn is 1 and not 0.
func exchange(a, b, turn uint64) (uint64, uint64) {
	x := (a ^ b) & -turn
	return a ^ x, b ^ x
}

func (t *Table) update(p *models.Packet, l *located, arena []byte) []byte {
	e := t.lookup(&l.key, l.hash)
	if e != none {
		if why := t.over(&t.entries[e], p); why != models.ConnOpen {
			t.remove(e, why)
			e = none
		}
	}
	isNew := e == none
	if isNew {
		e = t.open(p, l)
	}
	c := &t.entries[e]
	dir := int((l.srcIsB ^ c.marks) & origIsB / origIsB)
	c.marks |= answered * marks(dir)
	slot := t.touch(c, p, isNew)
	add(c, slot, p, dir)
	if p.Proto == models.ProtoTCP {
		if p.Flags&(models.SYN|models.FIN|models.RST) != 0 || c.state == models.ConnSynReceived {
			t.track(e, slot, p.Flags, dir)
		}
		if c.marks&(helloOrig<<dir) == 0 {
			arena = t.hello(e, p, dir, arena)
		}
	}
	if c.marks&through == 0 && c.gotThrough(p, dir) {
		c.marks |= through
		slot.Completed = true
		p.ConnEstablished = slot.Asks()
	}
	slot.State = c.state
	slot.Answered = c.marks&answered != 0
	slot.Through = c.marks&through != 0
	slot.Hello = c.marks&hasHello != 0
	p.Dir = models.DirOrig + models.Dir(dir)
	p.ConnStart = c.first
	return arena
}

// track moves e's TCP state, and with it its time-out.
func (t *Table) track(e uint32, slot *models.ConnSlot, f models.TCPFlags, dir int) {
	c := &t.entries[e]
	was := c.state
	if c.track(f, dir); c.state == was {
		return
	}
	slot.Finished = slot.Finished || c.state >= models.ConnClosed && was < models.ConnClosed
	c.class = classOf(c)
	t.wheel.relink(t.entries, e, c.last+t.timeout[c.class])
}

// over says whether p no longer belongs to c: c was silent for longer than its time-out, or is finished and p opens anew.
func (t *Table) over(c *entry, p *models.Packet) models.ConnEnd {
	if p.TS-c.last > t.timeout[c.class] {
		return ended(c)
	}
	if c.state >= models.ConnClosed && p.Flags&(models.SYN|models.ACK) == models.SYN && p.Proto == models.ProtoTCP {
		return models.ConnReused
	}
	return models.ConnOpen
}

func ended(c *entry) models.ConnEnd {
	if c.state >= models.ConnClosed {
		return models.ConnDone
	}
	return models.ConnIdle
}

// open makes the connection of p and decides who is its initiator.
func (t *Table) open(p *models.Packet, l *located) uint32 {
	e := t.insert(&l.key, l.hash)
	c := &t.entries[e]
	c.first, c.last = p.TS, p.TS
	c.vlan = p.VLAN
	c.icmpType, c.icmpCode = p.ICMPType, p.ICMPCode
	c.origMAC, c.respMAC = p.SrcMAC, p.DstMAC
	fromOrig := !sentByResponder(p)
	if !fromOrig || p.Proto == models.ProtoTCP && p.Flags&models.RST != 0 {
		c.marks |= backward // nobody opens a connection with a reset
	}
	if !fromOrig {
		c.origMAC, c.respMAC = p.DstMAC, p.SrcMAC
	}
	c.marks |= l.srcIsB
	if !fromOrig {
		c.marks ^= origIsB
	}
	c.class = classOf(c)
	t.wheel.link(t.entries, e, p.TS+t.timeout[c.class])
	return e
}

// sentByResponder guesses, from the first packet seen of a connection, whether the responder sent it: SYN-ACK, an ICMP
// reply, or TCP picked up in mid-stream with a well-known source port and a higher destination port.
func sentByResponder(p *models.Packet) bool {
	switch p.Proto {
	case models.ProtoTCP:
		if p.Flags&models.SYN != 0 {
			return p.Flags&models.ACK != 0
		}
		return p.Frag != models.FragLater && p.Flags&models.RST == 0 && p.SrcPort < 1024 && p.DstPort >= 1024
	case models.ProtoICMP, models.ProtoICMPv6:
		return icmpIsReply(p.Proto, p.ICMPType)
	default:
		return false
	}
}

// touch returns c's slot record, made if p is c's first packet in the open slot.
func (t *Table) touch(c *entry, p *models.Packet, isNew bool) *models.ConnSlot {
	if c.epoch == t.epoch {
		return &t.slots[c.slotRef]
	}
	return t.begin(c, p, isNew)
}

// begin makes c's record in the open slot, with its first packet there.
func (t *Table) begin(c *entry, p *models.Packet, isNew bool) *models.ConnSlot {
	c.epoch = t.epoch
	c.slotRef = uint32(len(t.slots))
	s := t.nextSlot()
	c.describe(s)
	if s.New = isNew; isNew {
		s.Before = 0
		p.ConnNew = s.Asks()
	}
	return s
}

// minSlots is room for the connections of a quiet slot.
const minSlots = 64

// nextSlot appends a record to the open slot; it holds what an earlier slot left there.
func (t *Table) nextSlot() *models.ConnSlot {
	n := len(t.slots)
	if n == cap(t.slots) {
		t.slots = slices.Grow(t.slots, max(n, minSlots))
	}
	t.slots = t.slots[:n+1]
	return &t.slots[n]
}

// describe writes to s, all of it, a slot in which c has not moved yet.
func (c *entry) describe(s *models.ConnSlot) {
	proto := models.Proto(c.key.w & 0xffff)
	turn := uint64(c.marks & origIsB / origIsB)
	s.Orig.Hi, s.Resp.Hi = exchange(c.key.a.Hi, c.key.b.Hi, turn)
	s.Orig.Lo, s.Resp.Lo = exchange(c.key.a.Lo, c.key.b.Lo, turn)
	orig, resp := exchange(c.key.w>>32, c.key.w>>16, turn)
	s.OrigPort, s.RespPort = uint16(orig), uint16(resp)
	if !proto.HasPorts() {
		s.OrigPort, s.RespPort = 0, 0
	}
	s.ConnID, s.Start, s.Before, s.First, s.Last = uint64(c.id), c.first, c.last, 0, 0
	s.Proto, s.VLAN, s.OrigMAC, s.RespMAC, s.State = proto, c.vlan, c.origMAC, c.respMAC, c.state
	s.New, s.Answered, s.Completed, s.Through, s.Finished, s.Failed, s.Hello = false, false, false, false, false, false, false
	s.Backward = c.marks&backward != 0
	s.ICMPType, s.ICMPCode = c.icmpType, c.icmpCode
	s.Up, s.Down = models.SlotDir{}, models.SlotDir{}
	s.TotalUp, s.TotalDown = c.payload[0], c.payload[1]
}

// fail notes that a connection has ended without an answer. Of a flood of them, maxFailed a slot are told.
func (t *Table) fail(c *entry) {
	if len(t.failed) == maxFailed {
		t.counters.FailedUntold++
		return
	}
	t.failed = append(t.failed, models.ConnSlot{})
	s := &t.failed[len(t.failed)-1]
	c.describe(s)
	s.Failed, s.First, s.Last = true, c.last, c.last
}

// maxFailed bounds the connections without an answer that one slot tells of.
const maxFailed = 1 << 12

// add counts p in its connection and slot.
func add(c *entry, slot *models.ConnSlot, p *models.Packet, dir int) {
	c.last = max(c.last, p.TS)
	c.packets[dir]++
	c.bytes[dir] += uint64(p.WireLen)
	c.payload[dir] += uint64(p.PayloadLen)
	c.flags[dir] |= p.Flags
	c.marks |= dirty

	if slot.First == 0 {
		slot.First = p.TS
	}
	slot.Last = max(slot.Last, p.TS)
	s := [...]*models.SlotDir{&slot.Up, &slot.Down}[dir&1]
	if s.Packets == 0 {
		sender(c, slot, p, dir)
	}
	s.Packets++
	s.Bytes += uint64(p.WireLen)
	if p.PayloadLen > 0 {
		c.entropy += uint64(p.Entropy)
		c.entropyN++
		s.Payload += uint64(p.PayloadLen)
		s.EntropySum += uint64(p.Entropy)
		s.EntropyN++
		slot.TotalUp, slot.TotalDown = c.payload[0], c.payload[1]
	}
}

// sender notes which hardware address a side sends from, once a slot: another machine may have taken its place.
func sender(c *entry, slot *models.ConnSlot, p *models.Packet, dir int) {
	*[...]*models.MAC{&c.origMAC, &c.respMAC}[dir&1] = p.SrcMAC
	*[...]*models.MAC{&slot.OrigMAC, &slot.RespMAC}[dir&1] = p.SrcMAC
}

// gotThrough says whether p is what completes its connection: the end of TCP's handshake; without one (not TCP, or picked up in
// mid-stream) the responder's first packet, unless it refuses.
func (c *entry) gotThrough(p *models.Packet, dir int) bool {
	switch c.state {
	case models.ConnEstablished:
		return true
	case models.ConnSynSent, models.ConnSynReceived, models.ConnReset:
		return false
	default:
		return dir == 1 && p.Flags&models.RST == 0
	}
}

// track moves the TCP state: RFC 9293, section 3.3.2, as far as one sees it from outside. ConnActive is TCP picked up in
// mid-stream.
func (c *entry) track(f models.TCPFlags, dir int) {
	switch {
	case c.state == models.ConnReset:
	case f&models.RST != 0:
		c.state = models.ConnReset
	case f&models.FIN != 0:
		c.marks |= finOrig << dir
		if c.marks&(finOrig|finResp) == finOrig|finResp {
			c.state = models.ConnClosed
		} else {
			c.state = models.ConnClosing
		}
	case f&models.SYN != 0:
		if c.state > models.ConnSynReceived {
			return // a retransmission, or an attack on the state: the handshake is over
		}
		if f&models.ACK != 0 {
			c.state = models.ConnSynReceived
		} else if c.state == models.ConnActive && c.packets[0]+c.packets[1] == 1 {
			c.state = models.ConnSynSent
		}
	case c.state == models.ConnSynReceived && dir == 0:
		c.state = models.ConnEstablished
	}
}
