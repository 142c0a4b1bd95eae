package traffic

import "encoding/binary"

// side is an end of a connection.
type side int

const (
	client side = iota
	server
)

// conn is a TCP connection seen from a point near the office's hosts.
type conn struct {
	p     *proc
	ends  [2]*node
	ports [2]uint16
	seq   [2]uint32 // the next byte that each side sends
	six   bool
	owes  [2]bool  // has data that it has not acknowledged
	quick int      // segments that may be under way
	rate  [2]int64 // bytes a millisecond that each side sends at most
}

const (
	initialWindow = 10  // segments (RFC 6928)
	mostWindow    = 256 // then the rate is what limits
)

// prefers6 says whether two nodes talk over IPv6: most do that can.
func (p *proc) prefers6(a, b *node) bool { return a.six && b.six && p.chance(0.7) }

// dial opens a connection. It is nil where it does not come about: the neighbour does not answer, the host is silent or
// refuses; the attempts are sent all the same.
func (p *proc) dial(c, s *node, port uint16) *conn {
	return p.dialFrom(c, s, c.ephemeral(p), port, p.prefers6(c, s))
}

func (p *proc) dialFrom(c, s *node, sport, port uint16, six bool) *conn {
	if !p.resolve(c, s, six) {
		return nil
	}
	k := &conn{
		p: p, ends: [2]*node{c, s}, ports: [2]uint16{sport, port}, six: six,
		seq: [2]uint32{p.rng.Uint32(), p.rng.Uint32()}, quick: initialWindow, rate: [2]int64{c.rate, s.rate},
	}
	silent := s.off || s.open == nil && s.outside
	for _, wait := range []int64{sec, 2 * sec, 4 * sec} {
		k.bare(client, flagSYN)
		k.seq[client]++
		if !silent {
			break
		}
		k.seq[client]--
		p.sleep(wait)
	}
	if silent {
		return nil
	}
	p.sleep(k.turn(server))
	if !s.listens(port) {
		k.seq[server] = 0
		k.bare(server, flagRST|flagACK)
		return nil
	}
	k.bare(server, flagSYN|flagACK)
	k.seq[server]++
	p.sleep(k.turn(client))
	k.bare(client, flagACK)
	return k
}

// turn is how long a side takes to answer, as seen here.
func (k *conn) turn(s side) int64 {
	n := k.ends[s]
	return n.rtt + int64(k.p.rng.ExpFloat64()*float64(n.rtt)/20) + 20
}

func (k *conn) bare(from side, flags byte) {
	to := 1 - from
	ack := k.seq[to]
	if flags&flagACK == 0 {
		ack = 0
	}
	k.p.bare(k.ends[from], k.ends[to], k.six, k.ports[from], k.ports[to], k.seq[from], ack, flags)
	k.owes[from] = false
}

// segmentBytes is the most payload of one segment.
func (k *conn) segmentBytes() int {
	if k.six {
		return mtu - v6Bytes - tcpBytes
	}
	return mtu - v4Bytes - tcpBytes
}

// send lets a side send head and then n bytes of a kind, as fast as slow start and its rate allow; the other side acknowledges every second
// segment. It returns when the last segment is out.
func (k *conn) send(from side, head []byte, n int, what kind) {
	p, to := k.p, 1-from
	left, window, sent, unacked := len(head)+n, k.quick, 0, 0
	round := p.at
	for left > 0 {
		m := k.segment(from, &head, &n, what, left)
		left -= m
		if unacked++; unacked == 2 {
			p.sleep(30)
			k.bare(to, flagACK)
			unacked = 0
		}
		if left == 0 {
			break
		}
		p.sleep(int64(m)*ms/k.rate[from] + 1)
		if sent++; sent == window {
			p.until(round + k.ends[client].rtt + k.ends[server].rtt)
			round, sent, window = p.at, 0, min(2*window, mostWindow)
		}
	}
	k.quick = window
	k.owes[to] = unacked > 0
}

// segment sends the next segment of what is left, and returns its payload's length.
func (k *conn) segment(from side, head *[]byte, n *int, what kind, left int) int {
	p, to := k.p, 1-from
	room := k.segmentBytes()
	first := min(len(*head), room)
	rest := min(*n, room-first)
	if what == tls && rest < 32 && first > 0 { // no room for a record: the next segment has it
		if rest < *n {
			rest = 0
		}
	}
	flags := byte(flagACK)
	if first+rest == left || rest == 0 {
		flags |= flagPSH
	}
	g := p.tcp(k.ends[from], k.ends[to], k.six, k.ports[from], k.ports[to], k.seq[from], k.seq[to], flags, first+rest)
	copy(g.payload, (*head)[:first])
	body := g.payload[first:]
	if what == tls && len(body) > 5 {
		body[0], body[1], body[2] = 23, 3, 3
		binary.BigEndian.PutUint16(body[3:], uint16(len(body)-5))
		body = body[5:]
	}
	p.s.bodies.fill(p.rng, body, what)
	p.flush(g)
	*head, *n = (*head)[first:], *n-rest
	k.seq[from] += uint32(first + rest)
	k.owes[from] = false
	return first + rest
}

// say is a message of one side and the time until the other has it.
func (k *conn) say(from side, head []byte) {
	k.send(from, head, 0, random)
	k.p.sleep(k.turn(1 - from))
}

// ask is a request and its answer, of kinds; the server takes think.
func (k *conn) ask(request []byte, up int, think int64, response []byte, down int, what kind) {
	k.send(client, request, up, what)
	k.p.sleep(k.turn(server) + think)
	if think > 40*ms {
		k.settle()
	}
	k.send(server, response, down, what)
	k.p.sleep(k.turn(client))
}

// settle sends the acknowledgements that are due.
func (k *conn) settle() {
	for s := range k.owes {
		if k.owes[s] {
			k.bare(side(s), flagACK)
		}
	}
}

// pause keeps the connection open without traffic.
func (k *conn) pause(d int64) {
	k.p.sleep(min(d, 40*ms))
	k.settle()
	k.p.sleep(d - 40*ms)
}

// keepAlive is a probe and its answer (RFC 9293, section 3.8.4): a byte that the other side has already.
func (k *conn) keepAlive() {
	p := k.p
	p.bare(k.ends[client], k.ends[server], k.six, k.ports[client], k.ports[server], k.seq[client]-1, k.seq[server], flagACK)
	p.sleep(k.turn(server))
	k.bare(server, flagACK)
}

// close ends the connection from one side.
func (k *conn) close(from side) {
	k.settle()
	to := 1 - from
	k.bare(from, flagFIN|flagACK)
	k.seq[from]++
	k.p.sleep(k.turn(to))
	k.bare(to, flagFIN|flagACK)
	k.seq[to]++
	k.p.sleep(k.turn(from))
	k.bare(from, flagACK)
}

// reset ends it at once.
func (k *conn) reset(from side) { k.bare(from, flagRST|flagACK) }
