package traffic

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// quicConn is a QUIC connection (RFC 9000, RFC 9001): first packets that whoever watches can open, as the keys follow from a connection ID,
// then packets that only the ends can read.
type quicConn struct {
	p    *proc
	c, s *node
	six  bool
	port uint16
	id   []byte // the server's connection ID
}

// quic fetches objects of a site.
func (p *proc) quic(h *host, s *site, objects int) {
	at := s.node(p)
	six := p.prefers6(&h.node, at)
	if !p.resolve(&h.node, at, six) {
		return
	}
	q := quicConn{p, &h.node, at, six, h.ephemeral(p), p.random(nil, 8)}
	q.shake(s.name)
	for range objects {
		q.send(false, int(p.between(60, 500)))
		p.sleep(at.rtt + p.expo(20*ms))
		q.bulk(true, p.size(9000, 1.4, 200, 4<<20))
		p.sleep(p.expo(80 * ms))
	}
}

// shake exchanges the first packets: the client's hello and the server's.
func (q *quicConn) shake(name string) {
	p := q.p
	first := p.random(nil, 8)
	hello := append(p.s.scratch[:0], 1, 0, 0, 0)
	hello = p.helloBody(hello, name, appBrowser, []byte{4, 4, 0x80, 0x10, 0, 0, 8, 2, 0x40, 0x64, 0x0f, 0})
	binary.BigEndian.PutUint16(hello[2:], uint16(len(hello)-4))
	p.datagram(q.c, q.s, q.six, q.port, 443, initial("client in", first, first, nil, nil, hello))
	p.sleep(q.s.rtt)
	answer := p.random([]byte{2, 0, 0, 86, 3, 3}, 32)
	answer = append(answer, 0, 0x13, 1, 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 0x1d, 0, 32)
	answer = p.random(answer, 32)
	acknowledged := []byte{2, 0, 0, 0, 0}
	p.datagram(q.s, q.c, q.six, 443, q.port, initial("server in", first, nil, q.id, acknowledged, answer))
	q.send(true, 1192)
	q.send(true, 900)
	p.sleep(q.c.rtt)
	q.send(false, 80)
}

// initial is a client's or server's first datagram of 1200 bytes: frames, a handshake message in a CRYPTO frame, padding; protected with the
// keys that follow from the client's first connection ID (RFC 9001, sections 5.2 to 5.4).
func initial(side string, first, to, from, frames, message []byte) []byte {
	const size, tag, number = 1200, 16, 4
	b := append([]byte{0xc0 | (number - 1), 0, 0, 0, 1, byte(len(to))}, to...)
	b = append(append(b, byte(len(from))), from...)
	b = append(b, 0) // no token
	rest := size - len(b) - 2
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(rest))
	at := len(b)
	b = append(b, 0, 0, 0, 0) // packet number
	plain := make([]byte, 0, size)
	plain = append(plain, frames...)
	plain = append(plain, 6, 0)
	plain = binary.BigEndian.AppendUint16(plain, 0x4000|uint16(len(message)))
	plain = append(plain, message...)
	plain = plain[:rest-number-tag]

	key, iv, hp := initialKeys(side, first)
	b = key.Seal(b, iv, plain, b)
	var mask [16]byte
	hp.Encrypt(mask[:], b[at+number:])
	b[0] ^= mask[0] & 0x0f
	for i := range number {
		b[at+i] ^= mask[1+i]
	}
	return b
}

// initialKeys derives one side's keys.
func initialKeys(side string, first []byte) (key cipher.AEAD, iv []byte, hp cipher.Block) {
	salt := []byte{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a}
	expand := func(secret []byte, label string, n int) []byte {
		info := append([]byte{0, byte(n), byte(6 + len(label))}, "tls13 "+label...)
		out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
		if err != nil {
			panic(err) // only for lengths that are not asked for here
		}
		return out
	}
	common, err := hkdf.Extract(sha256.New, first, salt)
	if err != nil {
		panic(err)
	}
	secret := expand(common, side, 32)
	block := func(label string) cipher.Block {
		c, err := aes.NewCipher(expand(secret, label, 16))
		if err != nil {
			panic(err)
		}
		return c
	}
	key, err = cipher.NewGCM(block("quic key"))
	if err != nil {
		panic(err)
	}
	return key, expand(secret, "quic iv", 12), block("quic hp")
}

// send is one packet of n bytes.
func (q *quicConn) send(down bool, n int) {
	if down {
		q.p.noise(q.s, q.c, q.six, 443, q.port, []byte{0x40 | byte(q.p.rng.IntN(32))}, n, random)
		return
	}
	head := append([]byte{0x40 | byte(q.p.rng.IntN(32))}, q.id...)
	q.p.noise(q.c, q.s, q.six, q.port, 443, head, n, random)
}

// bulk sends bytes one way, acknowledged after every eighth packet.
func (q *quicConn) bulk(down bool, bytes int) {
	from := q.c
	if down {
		from = q.s
	}
	for n := 1; bytes > 0; n++ {
		m := min(bytes, 1230)
		q.send(down, max(m, 24)) // room for the sample that protects the header
		bytes -= m
		q.p.sleep(int64(m)*ms/from.rate + 1)
		if n%8 == 0 {
			q.send(!down, 28)
		}
	}
}
