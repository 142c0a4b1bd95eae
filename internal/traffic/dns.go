package traffic

import (
	"encoding/binary"
	"strings"
)

// The DNS types that are asked for (IANA "Domain Name System Parameters").
const (
	typeA     = 1
	typeCNAME = 5
	typeSOA   = 6
	typeNULL  = 10
	typePTR   = 12
	typeTXT   = 16
	typeAAAA  = 28
	typeHTTPS = 65
	typeANY   = 255

	rcodeOK       = 0
	rcodeNXDomain = 3
)

// question is one question of a host.
type question struct {
	id    uint16
	name  string
	qtype uint16
}

// record is a resource record of an answer.
type record struct {
	name  string // "" is the question's
	rtype uint16
	ttl   uint32
	data  []byte
}

func appendName(b []byte, name string) []byte {
	for label := range strings.SplitSeq(name, ".") {
		if label != "" {
			b = append(b, byte(len(label)))
			b = append(b, label...)
		}
	}
	return append(b, 0)
}

// query is a message with one question (RFC 1035, section 4.1), asked for recursively, with EDNS (RFC 6891).
func (q *question) query(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, q.id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1)
	b = q.append(b)
	return append(b, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0) // 1232 bytes
}

func (q *question) append(b []byte) []byte {
	b = appendName(b, q.name)
	b = binary.BigEndian.AppendUint16(b, q.qtype)
	return append(b, 0, 1)
}

// response is the answer to q.
func (q *question) response(b []byte, rcode byte, answers, authority []record) []byte {
	b = binary.BigEndian.AppendUint16(b, q.id)
	b = append(b, 0x81, 0x80|rcode, 0, 1, 0, byte(len(answers)), 0, byte(len(authority)), 0, 0)
	b = q.append(b)
	for _, list := range [2][]record{answers, authority} {
		for _, r := range list {
			b = r.append(b)
		}
	}
	return b
}

func (r *record) append(b []byte) []byte {
	if r.name == "" {
		b = append(b, 0xc0, 12)
	} else {
		b = appendName(b, r.name)
	}
	b = binary.BigEndian.AppendUint16(b, r.rtype)
	b = append(b, 0, 1)
	b = binary.BigEndian.AppendUint32(b, r.ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.data)))
	return append(b, r.data...)
}

// soa is what a negative answer has in its authority section (RFC 2308).
func soa(zone string) record {
	d := appendName(appendName(nil, "ns1."+zone), "hostmaster."+zone)
	for _, v := range []uint32{2026030201, 7200, 900, 1209600, 300} {
		d = binary.BigEndian.AppendUint32(d, v)
	}
	return record{zone, typeSOA, 300, d}
}

// txt is the data of a TXT record: strings of up to 255 bytes.
func txt(b []byte) []byte {
	var d []byte
	for len(b) > 0 {
		n := min(len(b), 255)
		d = append(append(d, byte(n)), b[:n]...)
		b = b[n:]
	}
	return d
}

// exchange is a question to the host's resolver and its answer after a delay. It says whether there was one.
func (p *proc) exchange(h *host, q *question, rcode byte, answers, authority []record, delay int64) bool {
	r := h.resolver
	six := p.prefers6(&h.node, r)
	sport := h.ephemeral(p)
	for _, wait := range []int64{sec, 2 * sec, 4 * sec} {
		if !p.resolve(&h.node, r, six) {
			return false
		}
		p.datagram(&h.node, r, six, sport, 53, q.query(p.s.scratch[:0]))
		if !p.s.world.deaf {
			p.sleep(r.rtt + delay)
			p.datagram(r, &h.node, six, 53, sport, q.response(p.s.scratch[:0], rcode, answers, authority))
			p.sleep(h.rtt + 20)
			return true
		}
		p.sleep(wait)
	}
	return false
}

// ask looks a name up.
func (p *proc) ask(h *host, name string, qtype uint16, rcode byte, answers, authority []record) bool {
	return p.exchange(h, &question{uint16(p.rng.Uint32()), name, qtype}, rcode, answers, authority, p.expo(6*ms))
}

// lookup finds a site's addresses, unless the host still knows them. It says whether it does.
func (p *proc) lookup(h *host, s *site) bool {
	if h.known[s] > p.at {
		return true
	}
	if !p.ask(h, s.name, typeA, rcodeOK, s.answers(typeA), nil) {
		return false
	}
	h.known[s] = p.at + int64(s.ttl)*sec
	if h.asks6 {
		if a := s.answers(typeAAAA); s.nodes[0].six {
			p.ask(h, s.name, typeAAAA, rcodeOK, a, nil)
		} else {
			p.ask(h, s.name, typeAAAA, rcodeOK, a, []record{soa(s.zone)})
		}
	}
	if h.asksHTTPS && p.chance(0.7) {
		p.ask(h, s.name, typeHTTPS, rcodeOK, nil, []record{soa(s.zone)})
	}
	return true
}

// fail looks up a name that does not exist.
func (p *proc) fail(h *host, name, zone string) {
	p.ask(h, name, typeA, rcodeNXDomain, nil, []record{soa(zone)})
}

// reverse looks up whose an address is (RFC 1035, section 3.5).
func (p *proc) reverse(h *host, of *node, name string) {
	q := reverseName(of)
	if name == "" {
		p.ask(h, q, typePTR, rcodeNXDomain, nil, []record{soa("in-addr.arpa")})
		return
	}
	p.ask(h, q, typePTR, rcodeOK, []record{{"", typePTR, 3600, appendName(nil, name)}}, nil)
}
