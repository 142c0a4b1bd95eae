package traffic

import "encoding/binary"

// floodSYN opens connections to a service as fast as it can and completes none.
func floodSYN(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(to))
	if !a.resolve(from, to, false) {
		return
	}
	port := pick(a.proc, to.open)
	rate := a.between(200, 8000)
	for end := a.at + a.lasts(10*sec, 90*sec); a.at < end; {
		a.halfOpen(from, to, false, port)
		a.sleep(a.expo(sec / rate))
	}
}

// halfOpen is a SYN that nothing follows; the victim answers as many as it can.
func (a *play) halfOpen(from, to *node, six bool, port uint16) {
	sport, seq := uint16(a.between(1024, 65_535)), a.rng.Uint32()
	a.bare(from, to, six, sport, port, seq, 0, flagSYN)
	if a.chance(0.3) {
		a.sleep(50)
		a.bare(to, from, six, port, sport, a.rng.Uint32(), seq+1, flagSYN|flagACK)
	}
}

// floodSpoofed does the same with the addresses of others, up to tens of thousands of them.
func floodSpoofed(a *play) {
	to := &a.target().node
	a.names(one(to))
	if !a.resolve(a.w.gateway, to, false) {
		return
	}
	port := pick(a.proc, to.open)
	rate := a.between(400, 10_000)
	sources := int(a.between(2000, 60_000))
	first := a.rng.Uint64()
	for end := a.at + a.lasts(10*sec, 60*sec); a.at < end; {
		from := a.spoofed(first, sources)
		a.halfOpen(&from, to, false, port)
		a.sleep(a.expo(sec / rate))
	}
}

// spoofed is one of a number of addresses outside that belong to somebody else.
func (a *play) spoofed(first uint64, of int) node {
	x := (first + uint64(a.rng.IntN(of))) * 0x9e3779b97f4a7c15
	n := node{mac: a.w.gateway.mac, outside: true, six: true, ttl: byte(40 + x%80), ipid: uint16(x >> 8)}
	binary.BigEndian.PutUint32(n.v4[:], uint32(x>>32))
	n.v4[0] = 1 + n.v4[0]%9 // not a reserved network
	n.v6 = [16]byte{0x20, 1, 0x0d, 0xb8, 0xfe}
	binary.BigEndian.PutUint64(n.v6[8:], x)
	return n
}

// floodUDP sends datagrams to random ports, or to one.
func floodUDP(a *play) {
	to := &a.target().node
	a.names(one(to))
	var from []*node
	for range pick(a.proc, []int{1, 1, 3, 20}) {
		n := a.attacker()
		from = append(from, n)
		if !a.resolve(n, to, false) {
			return
		}
	}
	rate, n := a.between(500, 8000), int(a.between(20, 1400))
	var fixed, own uint16 // ports, where they stay the same
	if a.chance(0.4) {
		fixed = uint16(a.between(1, 30_000))
		if a.chance(0.3) {
			own = uint16(a.between(1024, 65_535))
		}
	}
	limit := errorLimit{}
	for end := a.at + a.lasts(10*sec, 60*sec); a.at < end; {
		src, port, sport := pick(a.proc, from), fixed, own
		if port == 0 {
			port = uint16(a.between(1, 65_535))
		}
		if sport == 0 {
			sport = uint16(a.between(1024, 65_535))
		}
		a.noise(src, to, false, sport, port, nil, n, random)
		limit.refuse(a, src, to, sport, port, n)
		a.sleep(a.expo(sec / rate))
	}
}

// errorLimit is a system's limit on the errors that it sends: one a second.
type errorLimit struct{ next int64 }

// refuse tells src that nobody listens on a port of to's, if the limit allows it.
func (l *errorLimit) refuse(a *play, src, to *node, sport, port uint16, length int) {
	if a.at >= l.next {
		l.next = a.at + sec
		a.refuse(src, to, false, sport, port, length)
	}
}

// floodHTTP asks a web server more than it can answer, over connections that are real, from several machines.
func floodHTTP(a *play) {
	to := &a.w.one(webServer).node
	a.names(one(to))
	end := a.at + a.lasts(30*sec, 2*minute)
	port := pick(a.proc, []uint16{80, 8080})
	path := "/search?q="
	for range a.between(3, 40) {
		from := a.stranger()
		pause := a.between(10*ms, 200*ms)
		a.spawn(func(p *proc) {
			for p.at < end {
				k := p.dialFrom(from, to, from.ephemeral(p), port, false)
				if k == nil {
					return
				}
				for range p.between(1, 4) {
					k.http("GET", path+token(p.rng, 8, base32Alphabet), "www.office.example", 0, int(p.between(200, 9000)))
					p.sleep(p.expo(pause))
				}
				k.close(client)
			}
		})
	}
	a.until(end)
}

// floodICMP pings without waiting for answers.
func floodICMP(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(to))
	if !a.resolve(from, to, false) {
		return
	}
	rate, n := a.between(500, 6000), pick(a.proc, []int{0, 56, 1400})
	id := uint16(a.rng.Uint32())
	end := a.at + a.lasts(10*sec, 60*sec)
	for seq := uint16(0); a.at < end; seq++ {
		a.echo(from, to, false, false, id, seq, nil, n, zeros)
		if a.chance(0.8) {
			a.sleep(30)
			a.echo(to, from, false, true, id, seq, nil, n, zeros)
		}
		a.sleep(a.expo(sec / rate))
	}
}

// floodIPv6 is one of several floods over IPv6: half-open connections from addresses of a whole network, echo requests, datagrams, or
// advertisements of routers that are not there.
func floodIPv6(a *play) {
	var to *node
	for to == nil || !to.six {
		to = &a.target().node
	}
	rate, first := a.between(400, 6000), a.rng.Uint64()
	end := a.at + a.lasts(10*sec, 60*sec)
	variant := a.rng.IntN(4)
	if variant == 3 {
		a.floodRouters(end)
		return
	}
	a.names(one(to))
	if !a.resolve(a.w.gateway, to, true) {
		return
	}
	port := pick(a.proc, to.open)
	for seq := uint16(0); a.at < end; seq++ {
		from := a.spoofed(first, 5000)
		switch variant {
		case 0:
			a.halfOpen(&from, to, true, port)
		case 1:
			a.echo(&from, to, true, false, seq, seq, nil, 1000, zeros)
		default:
			a.noise(&from, to, true, uint16(a.between(1024, 65_535)), uint16(a.between(1, 65_535)), nil, 400, random)
		}
		a.sleep(a.expo(sec / rate))
	}
}

// floodRouters has a host of the office pose as thousands of routers, one after the other.
func (a *play) floodRouters(end int64) {
	h := a.desk()
	var all []*node
	for _, o := range a.w.inside {
		all = append(all, &o.node)
	}
	a.names(append(all, &h.node, a.w.gateway))
	for a.at < end {
		gw := *a.w.gateway
		gw.mac = h.mac
		gw.v6[4], gw.v6[5] = byte(a.rng.Uint32()), byte(a.rng.Uint32())
		a.routerAdvertisement(&gw)
		a.sleep(a.expo(10 * ms))
	}
}

// reflectors are servers outside that answer requests which bear the victim's address.
func (a *play) reflectors(least, most int64) []*node {
	var all []*node
	for range a.between(least, most) {
		all = append(all, a.stranger())
	}
	return all
}

// amplifyDNS brings large answers to questions that the victim has not asked, in fragments.
func amplifyDNS(a *play) {
	to := &a.target().node
	a.names(one(to))
	from := a.reflectors(20, 400)
	if !a.resolve(a.w.gateway, to, false) {
		return
	}
	q := &question{0, zone(a.rng), typeANY}
	var answers []record
	for range a.between(8, 16) {
		answers = append(answers, record{"", typeTXT, 3600, txt(a.random(nil, 240))})
	}
	rate, sport := a.between(100, 1500), uint16(a.between(1024, 65_535))
	for end := a.at + a.lasts(15*sec, 60*sec); a.at < end; {
		q.id = uint16(a.rng.Uint32())
		src := pick(a.proc, from)
		a.datagram(src, to, false, 53, sport, q.response(a.s.scratch[:0], rcodeOK, answers, nil))
		a.sleep(a.expo(sec / rate))
	}
}

// amplifyNTP brings lists of a time server's clients: a private message, implementation 3, request code 42, six entries of 72 bytes.
func amplifyNTP(a *play) {
	to := &a.target().node
	a.names(one(to))
	from := a.reflectors(10, 200)
	if !a.resolve(a.w.gateway, to, false) {
		return
	}
	rate, sport := a.between(200, 3000), uint16(a.between(1024, 65_535))
	limit := errorLimit{}
	for end := a.at + a.lasts(15*sec, 60*sec); a.at < end; {
		src := pick(a.proc, from)
		for i := range byte(10) {
			head := []byte{0xd7, 0x80 | i, 3, 42, 0, 6, 0, 72}
			a.noise(src, to, false, 123, sport, head, 6*72, structs)
			limit.refuse(a, src, to, 123, sport, 8+6*72)
			a.sleep(a.expo(sec / rate))
		}
	}
}

// reflectSSDP brings the answers of devices all over the internet to a search for services.
func reflectSSDP(a *play) {
	to := &a.target().node
	a.names(one(to))
	from := a.reflectors(50, 600)
	if !a.resolve(a.w.gateway, to, false) {
		return
	}
	rate, sport := a.between(200, 3000), uint16(a.between(1024, 65_535))
	limit := errorLimit{}
	for end := a.at + a.lasts(15*sec, 60*sec); a.at < end; {
		src := pick(a.proc, from)
		limit.refuse(a, src, to, 1900, sport, 300)
		for range a.between(2, 6) {
			a.datagram(src, to, false, 1900, sport, []byte("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:basic:1\r\n"+
				"USN: uuid:"+token(a.rng, 32, hexAlphabet)+"\r\nEXT:\r\nSERVER: Linux UPnP/1.0\r\nLOCATION: http://192.168.0.1:49152/desc.xml\r\n\r\n"))
			a.sleep(a.expo(sec / rate))
		}
	}
}
