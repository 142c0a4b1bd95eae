package traffic

import "encoding/binary"

// logon gets a host's ticket for the day and one for a service from the file server (RFC 4120, section 3): a request that is told to prove
// itself, the proof, a ticket.
func (w *world) logon(p *proc, h *host) {
	kdc := &w.one(fileServer).node
	for round := range 3 {
		if kdc.off || !p.resolve(&h.node, kdc, false) {
			return
		}
		sport := h.ephemeral(p)
		p.datagram(&h.node, kdc, false, sport, 88, p.asRequest(h.name))
		p.sleep(kdc.rtt + p.expo(2*ms))
		if round == 0 {
			p.datagram(kdc, &h.node, false, 88, sport, p.krbError(25)) // pre-authentication is required
		} else {
			p.datagram(kdc, &h.node, false, 88, sport, p.asReply(h.name))
		}
		p.sleep(p.expo(20 * ms))
	}
}

// asReply is a ticket, readable only for the service, and a part for the client.
func (p *proc) asReply(user string) []byte {
	sealed := func(n int) []byte {
		return der(derSequence, field(0, integer(18)), field(1, integer(2)), field(2, der(derOctets, p.random(nil, n))))
	}
	ticket := der(0x61, der(derSequence, field(0, integer(5)), field(1, der(derString, []byte(realm))), field(2, principal(2, "krbtgt", realm)), field(3, sealed(900))))
	return der(0x6b, der(derSequence, field(0, integer(5)), field(1, integer(11)), field(3, der(derString, []byte(realm))), field(4, principal(1, user)),
		field(5, ticket), field(6, sealed(220))))
}

// der is a value of ASN.1 in its distinguished encoding: a tag, the length, and parts.
func der(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := []byte{tag}
	switch {
	case n < 128:
		b = append(b, byte(n))
	case n < 256:
		b = append(b, 0x81, byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0x82), uint16(n))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// The tags of ASN.1 that Kerberos needs.
const (
	derInteger  = 0x02
	derBits     = 0x03
	derOctets   = 0x04
	derTime     = 0x18
	derString   = 0x1b
	derSequence = 0x30
	derField    = 0xa0
)

func field(n byte, parts ...[]byte) []byte { return der(derField+n, parts...) }

func integer(v byte) []byte { return der(derInteger, []byte{v}) }

func principal(kind byte, names ...string) []byte {
	var all []byte
	for _, n := range names {
		all = append(all, der(derString, []byte(n))...)
	}
	return der(derSequence, field(0, integer(kind)), field(1, der(derSequence, all)))
}

const realm = "OFFICE.EXAMPLE"

// asRequest asks for a ticket, with an encrypted time as proof of the password.
func (p *proc) asRequest(user string) []byte {
	proof := der(derSequence, field(0, integer(18)), field(2, der(derOctets, p.random(nil, 56))))
	data := der(derSequence, field(1, integer(2)), field(2, der(derOctets, proof)))
	body := der(derSequence,
		field(0, der(derBits, []byte{0, 0x40, 0x81, 0, 0x10})),
		field(1, principal(1, user)),
		field(2, der(derString, []byte(realm))),
		field(3, principal(2, "krbtgt", realm)),
		field(5, der(derTime, []byte("20370913024805Z"))),
		field(7, der(derInteger, p.nonce())),
		field(8, der(derSequence, integer(18), integer(17), integer(23))))
	return der(0x6a, der(derSequence, field(1, integer(5)), field(2, integer(10)), field(3, der(derSequence, data)), field(4, body)))
}

// nonce is a positive number.
func (p *proc) nonce() []byte {
	return binary.BigEndian.AppendUint32(nil, 0x10000000|p.rng.Uint32N(0x60000000))
}

// krbError is a refusal.
func (p *proc) krbError(code byte) []byte {
	return der(0x7e, der(derSequence,
		field(0, integer(5)), field(1, integer(30)), field(4, der(derTime, []byte("20260302090000Z"))), field(5, der(derInteger, []byte{1, 0x20})),
		field(6, integer(code)), field(9, der(derString, []byte(realm))), field(10, principal(2, "krbtgt", realm))))
}
