package traffic

// quic fetches objects over QUIC (RFC 9000): packets with a short header, which nobody but the ends can read.
func (p *proc) quic(h *host, s *site, objects int) {
	at := s.node(p)
	six := p.prefers6(&h.node, at)
	if !p.resolve(&h.node, at, six) {
		return
	}
	q := quicConn{p, &h.node, at, six, h.ephemeral(p), p.random(nil, 8)}
	q.send(false, 1192)
	p.sleep(at.rtt)
	q.send(true, 1192)
	q.send(true, 900)
	p.sleep(h.rtt)
	q.send(false, 80)
	for range objects {
		q.send(false, int(p.between(60, 500)))
		p.sleep(at.rtt + p.expo(20*ms))
		q.bulk(true, p.size(9000, 1.4, 200, 4<<20))
		p.sleep(p.expo(80 * ms))
	}
}

type quicConn struct {
	p    *proc
	c, s *node
	six  bool
	port uint16
	id   []byte // the server's connection ID
}

// send is one packet of n bytes.
func (q *quicConn) send(down bool, n int) {
	if down {
		q.p.noise(q.s, q.c, q.six, 443, q.port, []byte{0x40 | byte(q.p.rng.IntN(32))}, n, cipher)
		return
	}
	head := append([]byte{0x40 | byte(q.p.rng.IntN(32))}, q.id...)
	q.p.noise(q.c, q.s, q.six, q.port, 443, head, n, cipher)
}

// bulk sends bytes one way, acknowledged after every eighth packet.
func (q *quicConn) bulk(down bool, bytes int) {
	from := q.c
	if down {
		from = q.s
	}
	for n := 1; bytes > 0; n++ {
		m := min(bytes, 1230)
		q.send(down, m)
		bytes -= m
		q.p.sleep(int64(m)*ms/from.rate + 1)
		if n%8 == 0 {
			q.send(!down, 28)
		}
	}
}
