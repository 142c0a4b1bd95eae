package flow

import "netlyra/internal/models"

// Record is a connection as the table saw it at one moment: what leaves the packet path. Index 0 is what the initiator
// sent, 1 the responder.
type Record struct {
	ID         int64
	First      int64
	Last       int64
	Orig, Resp models.Addr
	OrigPort   uint16 // for ICMP the type
	RespPort   uint16
	Proto      models.Proto
	VLAN       uint16
	Packets    [2]uint64
	Bytes      [2]uint64
	Flags      [2]models.TCPFlags
	EntropySum uint64 // 1e-4 bit
	EntropyN   uint64
	State      models.ConnState
	End        models.ConnEnd
	OrigMAC    models.MAC
	RespMAC    models.MAC
	ICMPType   uint8
	ICMPCode   uint8
	Hello      Hello

	// What follows is the detector's word; the table leaves it empty.
	Incident string  // id of the incident that it belongs to
	Score    float64 // of that
}

// Completed says whether the responder has taken the connection up: TCP's handshake is complete, or, where there is none or it was not seen, it
// has answered. A TCP connection that was reset is not told from one that was refused.
func (r *Record) Completed() bool {
	switch r.State {
	case models.ConnEstablished, models.ConnClosing, models.ConnClosed:
		return true
	case models.ConnActive:
		return r.Packets[1] > 0
	case models.ConnSynSent, models.ConnSynReceived, models.ConnReset:
	}
	return false
}

// Connection makes the stored and served form; it computes the Community ID, so call it outside the packet path.
func (r *Record) Connection(sensor string) models.Connection {
	c := models.Connection{
		ID: r.ID, Sensor: sensor, SrcIP: r.Orig.String(), DstIP: r.Resp.String(), Proto: r.Proto.String(), VLAN: r.VLAN,
		CommunityID: CommunityID(r.Orig, r.Resp, r.OrigPort, r.RespPort, r.Proto),
		State:       r.State.String(), End: r.End, FirstTS: models.Micros(r.First), LastTS: models.Micros(r.Last),
		PacketsUp: r.Packets[0], PacketsDown: r.Packets[1], BytesUp: r.Bytes[0], BytesDown: r.Bytes[1],
		FlagsUp: r.Flags[0].String(), FlagsDown: r.Flags[1].String(), SNI: r.Hello.SNI, JA4: r.Hello.JA4, Alert: r.Incident, Score: r.Score,
	}
	switch {
	case r.Proto.HasPorts():
		c.SrcPort, c.DstPort = r.OrigPort, r.RespPort
	case r.Proto == models.ProtoICMP || r.Proto == models.ProtoICMPv6:
		t, code := r.ICMPType, r.ICMPCode
		c.ICMPType, c.ICMPCode = &t, &code
	}
	if r.OrigMAC != (models.MAC{}) {
		c.SrcMAC = r.OrigMAC.String()
	}
	if r.RespMAC != (models.MAC{}) {
		c.DstMAC = r.RespMAC.String()
	}
	if r.EntropyN > 0 {
		c.Entropy = float64(r.EntropySum/r.EntropyN) / 1e4
	}
	return c
}

// worthKeeping leaves out what a flood consists of: a single packet that nobody answered.
func (c *entry) worthKeeping() bool {
	return c.packets[0]+c.packets[1] > 1 || c.marks&answered != 0
}

// record adds c's record to those that wait for a Drain. When more than half of the room is taken, one-packet
// connections are only counted; when all of it is, every one is that has not been recorded before. The end of one that has been
// recorded as open always has a place: without it, the connection would stay open for whoever keeps records.
func (t *Table) record(e uint32, why models.ConnEnd) {
	if t.maxRecords == 0 {
		return
	}
	c := &t.entries[e]
	if c.marks&dirty == 0 && why == models.ConnOpen {
		return
	}
	full := len(t.records) >= t.maxRecords || len(t.records) >= t.maxRecords/2 && !c.worthKeeping()
	switch {
	case why == models.ConnOpen && full:
		return
	case why == models.ConnOpen:
		c.marks |= recorded
	case full && c.marks&recorded == 0:
		t.counters.RecordsLost++
		return
	}
	c.marks &^= dirty
	t.records = append(t.records, t.view(e, why))
}

func (t *Table) view(e uint32, why models.ConnEnd) Record {
	c := &t.entries[e]
	r := Record{
		ID: c.id, First: c.first, Last: c.last, Orig: c.key.a, Resp: c.key.b,
		OrigPort: uint16(c.key.w >> 32), RespPort: uint16(c.key.w >> 16), Proto: models.Proto(c.key.w & 0xffff), VLAN: c.vlan,
		Packets: c.packets, Bytes: c.bytes, Flags: c.flags, EntropySum: c.entropy, EntropyN: c.entropyN,
		State: c.state, End: why, OrigMAC: c.origMAC, RespMAC: c.respMAC, ICMPType: c.icmpType, ICMPCode: c.icmpCode,
	}
	if c.marks&origIsB != 0 {
		r.Orig, r.Resp = r.Resp, r.Orig
		r.OrigPort, r.RespPort = r.RespPort, r.OrigPort
	}
	if c.marks&hasHello != 0 {
		r.Hello = t.hellos[e]
	}
	return r
}

// Sweep records the open connections that have changed in the next of parts parts of the table, going round: called once a slot, it
// reports every long-lived connection once in parts slots, however many there are.
func (t *Table) Sweep(parts int) {
	if t.used == 0 || t.maxRecords == 0 {
		return
	}
	for range int(t.used)/parts + 1 {
		t.sweep = t.sweep%t.used + 1
		if c := &t.entries[t.sweep]; c.live() && c.marks&dirty != 0 && c.worthKeeping() {
			t.record(t.sweep, models.ConnOpen)
		}
	}
}

// View appends the records of those connections of the open slot that keep returns true for, at most limit.
func (t *Table) View(dst []Record, limit int, keep func(*models.ConnSlot) bool) []Record {
	for i := range t.slots {
		if len(dst) >= limit {
			break
		}
		s := &t.slots[i]
		if !keep(s) {
			continue
		}
		if e := t.find(s); e != none {
			dst = append(dst, t.view(e, models.ConnOpen))
		}
	}
	return dst
}

// livePart is how many places of the table one call of Live looks at: some milliseconds.
const livePart = 32768

// Live appends the records of the connections in a part of the table that keep returns true for. Parts begin at 0; next is where the
// next one begins, 0 after the last.
func (t *Table) Live(dst []Record, from uint32, keep func(*Record) bool) (_ []Record, next uint32) {
	e := max(from, 1)
	for end := min(e+livePart, t.used+1); e < end; e++ {
		if !t.entries[e].live() {
			continue
		}
		if r := t.view(e, models.ConnOpen); keep(&r) {
			dst = append(dst, r)
		}
	}
	if e > t.used {
		return dst, 0
	}
	return dst, e
}

// find looks up the entry of a slot's connection; none if it has ended since.
func (t *Table) find(s *models.ConnSlot) uint32 {
	p := models.Packet{PacketMeta: models.PacketMeta{
		Src: s.Orig, Dst: s.Resp, SrcPort: s.OrigPort, DstPort: s.RespPort, Proto: s.Proto, ICMPType: s.ICMPType, ICMPCode: s.ICMPCode,
	}}
	var l located
	t.locate(&p, &l)
	if e := t.lookup(&l.key, l.hash); e != none && t.entries[e].id == int64(s.ConnID) {
		return e
	}
	return none
}

// Drain hands over the records that wait, and leaves none. The slice is valid until the next call on the table.
func (t *Table) Drain() []Record {
	r := t.records
	t.records = t.records[:0]
	return r
}
