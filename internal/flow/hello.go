package flow

import (
	"netlyra/internal/models"
)

// Hello is what a TLS ClientHello (RFC 8446, section 4.1.2) says of who sent it and whom it wants.
type Hello struct {
	SNI string // server name (RFC 6066, section 3), printable, lower case as sent; "" without one
	JA4 string // JA4 client fingerprint
}

const (
	maxHello     = 16 << 10 // bytes of a direction that a hello may take; post-quantum ones are under 4 kB today
	maxBuffers   = 256      // hellos assembled at the same time: 4 MiB
	maxHellos    = 1 << 16  // hellos kept for open connections
	maxHelloGaps = 4        // segments out of order
)

// helloBuffers is a fixed set of buffers that hellos spanning several segments are assembled in.
type helloBuffers struct {
	all  []assembly
	free []uint16
}

// assembly holds the first bytes of one direction of a connection, with the ranges that are there.
type assembly struct {
	data   []byte
	ranges []span // sorted, disjoint
	need   int    // bytes from the start without which parsing again is in vain
}

type span struct{ from, to int }

func (h *helloBuffers) take() uint16 {
	if n := len(h.free); n > 0 {
		b := h.free[n-1]
		h.free = h.free[:n-1]
		return b
	}
	if len(h.all) == maxBuffers {
		return 0
	}
	h.all = append(h.all, assembly{data: make([]byte, maxHello), ranges: make([]span, 0, maxHelloGaps+1)})
	return uint16(len(h.all))
}

func (h *helloBuffers) release(ref *uint16) {
	if *ref != 0 {
		h.all[*ref-1].ranges = h.all[*ref-1].ranges[:0]
		h.all[*ref-1].need = 0
		h.free = append(h.free, *ref)
		*ref = 0
	}
}

// add copies a segment to its place and returns the bytes that are there from the start; ok is false if it cannot belong
// to a hello: too far on, or too many gaps.
func (a *assembly) add(at int, b []byte) (prefix []byte, ok bool) {
	if at < 0 || at >= maxHello {
		return nil, false
	}
	n := copy(a.data[at:], b)
	i := 0
	for i < len(a.ranges) && a.ranges[i].from <= at {
		i++
	}
	a.ranges = append(a.ranges, span{})
	copy(a.ranges[i+1:], a.ranges[i:])
	a.ranges[i] = span{at, at + n}
	merged := a.ranges[:1]
	for _, r := range a.ranges[1:] {
		if last := &merged[len(merged)-1]; r.from <= last.to {
			last.to = max(last.to, r.to)
		} else {
			merged = append(merged, r)
		}
	}
	a.ranges = merged
	if len(merged) > maxHelloGaps {
		return nil, false
	}
	if merged[0].from > 0 {
		return nil, true
	}
	return a.data[:merged[0].to], true
}

// hello looks at a direction's first payload for a TLS ClientHello. A hello within one segment, the usual case, is read where it
// lies; one that spans segments is assembled, at most maxHello bytes, in any order.
func (t *Table) hello(e uint32, p *models.Packet, dir int, arena []byte) []byte {
	c := &t.entries[e]
	if p.Flags&models.SYN != 0 {
		c.isn[dir] = p.Seq + 1
		return arena
	}
	if len(p.Payload) == 0 {
		return arena
	}
	if c.isn[dir] == 0 {
		c.isn[dir] = p.Seq // picked up in mid-stream: take this for the first
	}
	at := int(int32(p.Seq - c.isn[dir]))
	start, buffered := p.Payload, at != 0 || c.hello[dir] != 0
	if buffered {
		var ok bool
		if start, ok = t.assemble(c, dir, at, p.Payload); !ok {
			return t.helloDone(c, dir, arena)
		}
		if len(start) < max(t.buffers.all[c.hello[dir]-1].need, 1) {
			return arena
		}
	}
	h, need, status := parseHello(start)
	switch status {
	case helloWhole:
		arena = t.keepHello(e, h, p, arena)
	case helloMore:
		if !buffered {
			t.assemble(c, dir, at, p.Payload)
		}
		if c.hello[dir] != 0 {
			t.buffers.all[c.hello[dir]-1].need = need
			return arena
		}
	case helloNot:
	}
	return t.helloDone(c, dir, arena)
}

// helloDone marks the direction as looked at and gives its buffer back.
func (t *Table) helloDone(c *entry, dir int, arena []byte) []byte {
	c.marks |= helloOrig << dir
	t.buffers.release(&c.hello[dir])
	return arena
}

// assemble adds a segment to the direction's buffer, taking one if there is none. It returns what is there from the start, nil
// while the start itself is missing; false if there is no buffer or this can be no hello.
func (t *Table) assemble(c *entry, dir, at int, b []byte) ([]byte, bool) {
	if c.hello[dir] == 0 {
		if c.hello[dir] = t.buffers.take(); c.hello[dir] == 0 {
			t.counters.HelloBuffers++
			return nil, false
		}
	}
	return t.buffers.all[c.hello[dir]-1].add(at, b)
}

func (t *Table) keepHello(e uint32, h Hello, p *models.Packet, arena []byte) []byte {
	text := func(s string) models.Text {
		at := models.Text{Off: uint32(len(arena)), Len: uint16(len(s))}
		arena = append(arena, s...)
		return at
	}
	p.SNI, p.JA4 = text(h.SNI), text(h.JA4)
	if len(t.hellos) >= maxHellos {
		t.counters.SNICap++
		return arena
	}
	t.hellos[e] = h
	t.entries[e].marks |= hasHello
	return arena
}

type helloStatus int

const (
	helloNot helloStatus = iota
	helloMore
	helloWhole
)

// Limits on TLSPlaintext records (RFC 8446, section 5.1). A hello in more records than maxHelloRecords is nobody's, but would cost
// a parse for each.
const (
	recordHeader    = 5
	maxRecord       = 1<<14 + 256
	maxHelloRecords = 8
)

// parseHello reads the ClientHello at the start of a TLS stream, over as many records as it takes. With helloMore, need is
// how many bytes of the stream the next attempt wants at least.
func parseHello(b []byte) (h Hello, need int, status helloStatus) {
	body, need, status := handshake(b)
	if status != helloWhole {
		return Hello{}, need, status
	}
	ch, ok := readClientHello(body)
	if !ok {
		return Hello{}, 0, helloNot
	}
	return Hello{SNI: ch.serverName(), JA4: ch.ja4()}, 0, helloWhole
}

// handshake returns the body of the message that b starts with: records of type handshake, in them one message of type
// client_hello.
func handshake(b []byte) (body []byte, need int, status helloStatus) {
	const typeHandshake, typeClientHello = 22, 1
	var message []byte
	at := 0
	for range maxHelloRecords {
		r := b[at:]
		if len(r) > 0 && r[0] != typeHandshake || len(r) > 1 && r[1] != 3 || at == 0 && len(r) > recordHeader && r[5] != typeClientHello {
			return nil, 0, helloNot
		}
		if len(r) < recordHeader {
			return nil, at + recordHeader, helloMore
		}
		n := int(r[3])<<8 | int(r[4])
		if n == 0 || n > maxRecord {
			return nil, 0, helloNot
		}
		at += recordHeader + n
		if at > len(b) {
			return nil, at, helloMore
		}
		if message == nil {
			message = r[recordHeader : recordHeader+n : recordHeader+n] // the usual case, the whole message in one record, is read in place
		} else {
			message = append(message, r[recordHeader:recordHeader+n]...)
		}
		if len(message) < 4 {
			continue
		}
		whole := 4 + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
		if whole > maxHello {
			return nil, 0, helloNot
		}
		if len(message) >= whole {
			return message[4:whole], 0, helloWhole
		}
	}
	return nil, 0, helloNot
}
