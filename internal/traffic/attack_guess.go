package traffic

import (
	"encoding/binary"
	"fmt"
)

// guess runs a few clients side by side that each open connections to a port until the end, and do with each what try does.
func (a *play) guess(from, to *node, port uint16, clients int, end, pause int64, try func(*conn)) {
	a.names(one(from), one(to))
	for range clients {
		a.spawn(func(p *proc) {
			p.sleep(p.expo(sec))
			for p.at < end {
				k := p.dial(from, to, port)
				if k == nil {
					return
				}
				try(k)
				p.sleep(p.expo(pause))
			}
		})
	}
	a.until(end)
}

// guessing is how long guessing goes on.
func (a *play) guessing() int64 { return a.at + a.lasts(minute, 5*minute) }

// bruteSSH tries passwords, a few connections at a time.
func bruteSSH(a *play) {
	a.guess(a.attacker(), &a.target().node, 22, int(a.between(1, 6)), a.guessing(), 300*ms, func(k *conn) {
		k.ssh()
		for range k.p.between(1, 3) {
			k.ask(nil, 148, k.p.between(300*ms, 2*sec), nil, 52, random) // a password, and no
		}
		k.close(client)
	})
}

// bruteFTP tries passwords in plain text (RFC 959).
func bruteFTP(a *play) {
	a.guess(a.attacker(), &a.w.one(webServer).node, 21, int(a.between(1, 8)), a.guessing(), 200*ms, func(k *conn) {
		p := k.p
		k.say(server, []byte("220 FTP server ready\r\n"))
		for range p.between(1, 5) {
			k.say(client, fmt.Appendf(nil, "USER %s\r\n", word(p.rng, 2)))
			k.say(server, []byte("331 Please specify the password.\r\n"))
			k.say(client, fmt.Appendf(nil, "PASS %s\r\n", token(p.rng, 8, base32Alphabet)))
			p.sleep(p.between(200*ms, 2*sec))
			k.say(server, []byte("530 Login incorrect.\r\n"))
		}
		k.close(client)
	})
}

// bruteHTTP posts a login form again and again.
func bruteHTTP(a *play) {
	a.guess(a.attacker(), &a.target().node, 80, int(a.between(1, 8)), a.guessing(), 150*ms, func(k *conn) {
		for range k.p.between(1, 12) {
			k.http("POST", "/login", "www.office.example", int(k.p.between(30, 60)), int(k.p.between(300, 2500)))
			k.p.sleep(k.p.expo(120 * ms))
		}
		k.close(client)
	})
}

// bruteRDP asks for a remote desktop ([MS-RDPBCGR], section 2.2.1.1) and has its credentials refused inside TLS.
func bruteRDP(a *play) {
	h := a.w.one(fileServer)
	a.guess(a.attacker(), &h.node, 3389, int(a.between(1, 4)), a.guessing(), 500*ms, func(k *conn) {
		rdpTLS(k, h.name)
		k.ask(nil, 120, 2*ms, nil, 250, tls)
		k.ask(nil, 560, k.p.between(20*ms, 900*ms), nil, 60, tls)
		k.close(server)
	})
}

// rdpTLS is the negotiation of a remote desktop and the TLS handshake after it.
func rdpTLS(k *conn, name string) {
	k.say(client, []byte{3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0})
	k.say(server, []byte{3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 2, 0, 0, 0})
	k.handshake(name, appSystem)
}

// bruteKerberos asks for tickets of many names with wrong passwords, over UDP (RFC 4120, sections 5.4.1 and 5.9.1).
func bruteKerberos(a *play) {
	from, to := &a.desk().node, &a.w.one(fileServer).node
	a.names(one(from), one(to))
	if !a.resolve(from, to, false) {
		return
	}
	pause := a.between(40*ms, 600*ms)
	one, few := word(a.rng, 3), a.chance(0.5) // one name with many passwords, or many with few
	for end := a.guessing(); a.at < end; {
		user := one
		if few {
			user = word(a.rng, 3)
		}
		sport := from.ephemeral(a.proc)
		a.datagram(from, to, false, sport, 88, a.asRequest(user))
		a.sleep(to.rtt + a.expo(3*ms))
		a.datagram(to, from, false, 88, sport, a.krbError(24)) // pre-authentication failed
		a.sleep(a.expo(pause))
	}
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
