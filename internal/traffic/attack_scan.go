package traffic

import "encoding/binary"

// scanVertical tries a thousand ports or more of one host, as fast as scanners do.
func scanVertical(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(from))
	if !a.resolve(from, to, false) {
		return
	}
	ports := int(a.between(1000, 10_000))
	gap := a.between(100, 20*ms)
	sport := from.ephemeral(a.proc)
	for _, port := range a.rng.Perm(65_535)[:ports] {
		a.probe(from, to, sport, uint16(port+1))
		a.sleep(a.about(gap, 0.3))
	}
}

// probe is a SYN and what comes back: a SYN-ACK, which the scanner's system resets, or a reset.
func (p *proc) probe(from, to *node, sport, port uint16) {
	seq, answer := p.rng.Uint32(), p.rng.Uint32()
	p.bare(from, to, false, sport, port, seq, 0, flagSYN)
	switch {
	case to.off || to.open == nil:
	case to.listens(port):
		p.sleep(to.rtt)
		p.bare(to, from, false, port, sport, answer, seq+1, flagSYN|flagACK)
		p.sleep(from.rtt)
		p.bare(from, to, false, sport, port, seq+1, 0, flagRST)
	default:
		p.sleep(to.rtt)
		p.bare(to, from, false, port, sport, 0, seq+1, flagRST|flagACK)
	}
}

// popularPorts are a hundred that are open most often, roughly the most frequent first.
func popularPorts() []uint16 {
	return []uint16{
		80, 23, 443, 21, 22, 25, 3389, 110, 445, 139, 143, 53, 135, 3306, 8080, 1723, 111, 995, 993, 5900, 1025, 587, 8888, 199, 1720, 465, 548, 113,
		81, 6001, 10000, 514, 5060, 179, 1026, 2000, 8443, 8000, 32768, 554, 26, 1433, 49152, 2001, 515, 8008, 49154, 1027, 5666, 646, 5000, 5631, 631,
		49153, 8081, 2049, 88, 79, 5800, 106, 2121, 1110, 49155, 6000, 513, 990, 5357, 427, 49156, 543, 544, 5101, 144, 7, 389, 8009, 3128, 444, 9999,
		5009, 7070, 5190, 3000, 5432, 1900, 3986, 13, 1029, 9, 5051, 6646, 49157, 1028, 873, 1755, 2717, 4899, 9100, 119, 37,
	}
}

// scanTop100 tries the hundred most popular ports once, and those that do not answer twice: what a scanner does when it is told to be
// fast. It asks for the host first.
func scanTop100(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(from))
	if !a.resolve(from, to, false) {
		return
	}
	if from.outside {
		a.ping(from, to, false, 0x2a2a, 0, 0)
		a.probe(from, to, from.ephemeral(a.proc), 443)
		a.sleep(a.between(100*ms, 300*ms))
	}
	filtered := a.chance(0.3) // a firewall drops what is not served
	ports := popularPorts()
	a.rng.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	gap := a.between(500, 25*ms)
	sport := from.ephemeral(a.proc)
	for try := range 2 {
		for _, port := range ports {
			switch {
			case !filtered || to.listens(port):
				if try == 0 {
					a.probe(from, to, sport, port)
				}
			default:
				a.bare(from, to, false, sport+uint16(try), port, a.rng.Uint32(), 0, flagSYN)
			}
			a.sleep(a.about(gap, 0.4))
		}
		if !filtered {
			return
		}
		a.sleep(a.between(200*ms, sec))
	}
}

// scanHorizontal tries one port of very many hosts: of the office, where most addresses belong to nobody and are only asked for, or of the
// networks outside, where most are silent.
func scanHorizontal(a *play) {
	port := pick(a.proc, []uint16{22, 23, 80, 445, 1433, 3389, 5900, 8080})
	gap := a.between(ms, 60*ms)
	h := a.desk()
	from := &h.node
	a.names(one(from))
	if a.chance(0.5) {
		a.sweepOffice(from, gap, func(to *node) { a.probe(from, to, from.ephemeral(a.proc), port) })
		return
	}
	if !a.resolve(from, a.w.gateway, false) {
		return
	}
	prefix := publicAddress(a.rng)
	for i := range a.between(400, 4000) {
		to := &node{mac: a.w.gateway.mac, v4: [4]byte{prefix[0], prefix[1], prefix[2] + byte(i>>8), byte(i)}, outside: true, ttl: 52, rtt: a.between(10*ms, 120*ms)}
		if a.chance(0.15) {
			to.open = []uint16{pick(a.proc, []uint16{80, 443, port})}
		}
		a.spawn(func(p *proc) { p.probe(from, to, from.ephemeral(p), port) })
		a.sleep(a.about(gap, 0.5))
	}
}

// sweepOffice goes over the office's network in order. Hosts that are not there are asked for on the link and get nothing more.
func (a *play) sweepOffice(from *node, gap int64, each func(*node)) {
	for i := byte(1); i < 255; i++ {
		to := a.w.at(i)
		switch {
		case to == from:
		case to == nil || to.off:
			target := from.v4
			target[3] = i
			a.whoHas(from, target)
		case a.resolve(from, to, false):
			each(to)
		}
		a.sleep(a.about(gap, 0.5))
	}
}

// at is whoever has an address of the office; nil is nobody.
func (w *world) at(last byte) *node {
	if last == w.gateway.v4[3] {
		return w.gateway
	}
	for _, h := range w.inside {
		if h.v4[3] == last {
			return &h.node
		}
	}
	return nil
}

// scanUDP tries ports of one host over UDP: what is closed says so, as often as its system lets it, what is open mostly says nothing to a
// payload that it does not understand.
func scanUDP(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(from))
	if !a.resolve(from, to, false) {
		return
	}
	gap := a.between(2*ms, 200*ms)
	sport := from.ephemeral(a.proc)
	tokens, last := 6.0, a.at // of the system's limit on errors
	for _, port := range a.rng.Perm(5000)[:a.between(150, 1500)] {
		n := pick(a.proc, []int{0, 0, 8, 40})
		a.noise(from, to, false, sport, uint16(port+1), nil, n, structs)
		tokens, last = min(6, tokens+float64(a.at-last)/float64(sec)), a.at
		if tokens >= 1 && a.chance(0.97) {
			tokens--
			a.sleep(to.rtt)
			a.refuse(from, to, false, sport, uint16(port+1), n)
		}
		a.sleep(a.about(gap, 0.3))
	}
}

// sweepICMP pings every address of the office, or of a network elsewhere.
func sweepICMP(a *play) {
	from, gap := &a.desk().node, a.between(500, 40*ms)
	a.names(one(from))
	id := uint16(a.rng.Uint32())
	if a.chance(0.5) {
		a.sweepOffice(from, gap, func(to *node) { a.ping(from, to, false, id, 1, 0) })
		return
	}
	if !a.resolve(from, a.w.gateway, false) {
		return
	}
	for i := range a.between(254, 2000) {
		to := &node{mac: a.w.gateway.mac, v4: [4]byte{10, 200, byte(i >> 8), byte(i)}, ttl: 62, rtt: a.between(2*ms, 9*ms), outside: true, off: !a.chance(0.1)}
		a.spawn(func(p *proc) { p.ping(from, to, false, id, uint16(i), 0) })
		a.sleep(a.about(gap, 0.3))
	}
}

// sweepARP asks for every address of the office on the link.
func sweepARP(a *play) {
	from, gap := &a.desk().node, a.between(300, 30*ms)
	a.names(one(from))
	for range a.between(1, 3) {
		for i := byte(1); i < 255; i++ {
			target := from.v4
			target[3] = i
			if to := a.w.at(i); to != from {
				a.whoHas(from, target)
				if to != nil && !to.off {
					a.spawn(func(p *proc) {
						p.sleep(to.rtt)
						p.isAt(to, from)
					})
				}
			}
			a.sleep(a.about(gap, 0.3))
		}
		a.sleep(a.between(sec, 10*sec))
	}
}

// scanSlow is a scan with so much time between its probes that no short window has many of them.
func scanSlow(a *play) {
	from := a.attacker()
	a.names(one(from))
	gap := a.between(5*sec, 30*sec)
	to, vertical := &a.target().node, a.chance(0.5)
	ports := popularPorts()
	for i, end := 0, a.at+a.between(45*minute, 75*minute); a.at < end; i++ {
		port := ports[i%len(ports)]
		if !vertical {
			to, port = &a.w.inside[i%len(a.w.inside)].node, ports[i/len(a.w.inside)]
		}
		if to != from && a.resolve(from, to, false) {
			a.probe(from, to, from.ephemeral(a.proc), port)
		}
		a.sleep(a.about(gap, 0.3))
	}
}

// scanStealth sends segments that belong to no connection: a FIN, all flags, none, or an acknowledgement. A closed port resets; an open one is
// silent, but for the acknowledgement, which is reset there too (RFC 9293, section 3.10.7).
func scanStealth(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(from))
	if !a.resolve(from, to, false) {
		return
	}
	const flagURG = 32
	flags := pick(a.proc, []byte{flagFIN, flagFIN | flagPSH | flagURG, 0, flagACK})
	gap, sport := a.between(300, 15*ms), from.ephemeral(a.proc)
	for _, port := range a.rng.Perm(10_000)[:a.between(200, 2000)] {
		port, seq := uint16(port+1), a.rng.Uint32()
		ack := uint32(0)
		if flags == flagACK {
			ack = a.rng.Uint32()
		}
		a.bare(from, to, false, sport, port, seq, ack, flags)
		a.sleep(to.rtt)
		switch {
		case flags == flagACK:
			a.bare(to, from, false, port, sport, ack, 0, flagRST)
		case !to.listens(port):
			a.bare(to, from, false, port, sport, 0, seq+uint32(flags&flagFIN), flagRST|flagACK)
		}
		a.sleep(a.about(gap, 0.3))
	}
}

const (
	unreachable   = 3
	unreachable6  = 1
	portIsClosed  = 3
	portIsClosed6 = 4
)

// refuse is a port unreachable error about a datagram that src had sent to dst (RFC 792; RFC 4443, section 3.1).
func (p *proc) refuse(src, dst *node, six bool, sport, dport uint16, length int) {
	proto, size := byte(protoICMP), v4Bytes+udpBytes
	if six {
		proto, size = protoICMPv6, v6Bytes+udpBytes
	}
	frame, ip, seg := p.header(dst, src, six, proto, 8+size)
	kind := uint32(unreachable)<<24 | portIsClosed<<16
	if six {
		kind = uint32(unreachable6)<<24 | portIsClosed6<<16
	}
	binary.BigEndian.PutUint32(seg, kind)
	binary.BigEndian.PutUint32(seg[4:], 0)
	p.quote(seg[8:], src, dst, six, sport, dport, length)
	p.sealICMP(frame, ip, seg, proto)
}

// quote writes the headers that an error is about.
func (p *proc) quote(b []byte, src, dst *node, six bool, sport, dport uint16, length int) {
	clear(b)
	at := v4Bytes
	if six {
		at = v6Bytes
		b[0], b[6], b[7] = 0x60, protoUDP, src.ttl
		binary.BigEndian.PutUint16(b[4:], uint16(udpBytes+length))
		copy(b[8:], src.v6[:])
		copy(b[24:], dst.v6[:])
	} else {
		binary.BigEndian.PutUint32(b, 0x45000000|uint32(v4Bytes+udpBytes+length))
		binary.BigEndian.PutUint32(b[4:], uint32(src.ipid)<<16|0x4000)
		b[8], b[9] = src.ttl, protoUDP
		copy(b[12:], src.v4[:])
		copy(b[16:], dst.v4[:])
		binary.BigEndian.PutUint16(b[10:], fold(sum(b[:v4Bytes])))
	}
	binary.BigEndian.PutUint16(b[at:], sport)
	binary.BigEndian.PutUint16(b[at+2:], dport)
	binary.BigEndian.PutUint16(b[at+4:], uint16(udpBytes+length))
}
