package traffic

import (
	"encoding/binary"
	"fmt"

	"netlyra/internal/models"
)

// backupUpload is a large upload to a service that the office pays for, by the machine that does it and has uploaded little by little before.
func backupUpload(a *play) {
	h := a.w.one(nas)
	a.names(one(&h.node))
	a.w.backUp(a.proc, h, a.w.backup, int(a.between(40<<20, 250<<20)))
}

// videoCall is sound and picture in both directions, with a server outside or with a peer.
func videoCall(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	a.w.report(a.proc, h, pick(a.proc, a.w.polls))
	a.w.call(a.proc, h, a.at+a.between(5*minute, 14*minute))
}

func (w *world) call(p *proc, h *host, end int64) {
	peer := pick(p, w.people)
	six := p.prefers6(&h.node, peer)
	if !p.resolve(&h.node, peer, six) {
		return
	}
	mine, theirs := h.ephemeral(p), uint16(p.between(3478, 3497))
	for _, up := range []bool{true, false} {
		from, to, sport, dport := &h.node, peer, mine, theirs
		if !up {
			from, to, sport, dport = peer, &h.node, theirs, mine
		}
		p.spawn(func(p *proc) { p.stream(from, to, six, sport, dport, 111, 20*ms, 1, 90, 160, end) })
		p.spawn(func(p *proc) { p.stream(from, to, six, sport, dport, 96, 33*ms, 3, 500, 1150, end) })
	}
	for p.at < end { // is the way still open? (RFC 8489, section 5)
		for _, answer := range []bool{false, true} {
			p.stun(&h.node, peer, six, mine, theirs, answer)
			p.sleep(peer.rtt)
		}
		p.sleep(p.about(2500*ms, 0.1))
	}
}

// stream sends frames of sound or picture at a period: each of up to a number of packets.
func (p *proc) stream(from, to *node, six bool, sport, dport uint16, kind byte, period int64, most int, least, largest int64, end int64) {
	var seq uint16
	stamp, source := p.rng.Uint32(), p.rng.Uint32()
	for p.at < end {
		for range p.between(1, int64(most)) {
			p.noise(from, to, six, sport, dport, rtp(kind, seq, stamp, source), int(p.between(least, largest)), random)
			seq++
			p.sleep(300)
		}
		stamp += uint32(period * 9 / 100)
		p.sleep(p.about(period, 0.08))
	}
}

func (p *proc) stun(c, s *node, six bool, cport, sport uint16, answer bool) {
	head := []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	if !answer {
		p.datagram(c, s, six, cport, sport, head)
		return
	}
	head[0] = 1
	p.datagram(s, c, six, sport, cport, head)
}

// softwareUpdate is one maker's new version, fetched by every machine within minutes.
func softwareUpdate(a *play) {
	n := int(a.between(8<<20, 40<<20))
	first := true
	for _, h := range a.w.of(workstation) {
		if h.off {
			continue
		}
		wait := a.between(0, 8*minute)
		if first {
			wait, first = 0, false
		}
		a.spawn(func(p *proc) {
			p.sleep(wait)
			a.w.download(p, h, a.w.update, n)
		})
	}
	a.sleep(12 * minute)
}

// doh moves the lookups of a browser into one long TLS connection.
func doh(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	a.w.lookUpPrivately(a.proc, h, a.hideout(443, "dns"), a.at+14*minute)
}

func (w *world) lookUpPrivately(p *proc, h *host, s *site, end int64) {
	k := p.secure(h, s)
	if k == nil {
		return
	}
	for p.at < end {
		for range p.between(2, 20) {
			k.ask(nil, int(p.between(90, 160)), p.expo(4*ms), nil, int(p.between(150, 500)), tls)
		}
		k.pause(p.expo(9 * sec))
	}
	k.close(client)
}

// cdnBurst is a page that is made of pieces from everywhere: dozens of names and connections within seconds.
func cdnBurst(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	for range a.between(3, 8) {
		for range a.between(25, 60) {
			s := pick(a.proc, a.w.ads)
			if a.chance(0.6) {
				z := zone(a.rng)
				s = &site{name: token(a.rng, int(a.between(8, 40)), base32Alphabet) + "." + z, zone: z, ttl: 20, nodes: one(a.stranger(80, 443))}
			}
			a.spawn(func(p *proc) {
				p.sleep(p.expo(400 * ms))
				a.w.visit(p, h, s, int(p.between(1, 5)))
			})
		}
		a.sleep(a.between(20*sec, 2*minute))
	}
}

// portKnocking is how an administrator opens a way in: a few closed ports in an agreed order, then a shell.
func portKnocking(a *play) {
	from, to := a.stranger(), &a.w.one(webServer).node
	if a.chance(0.5) {
		from = &a.desk().node
	}
	a.names(one(from))
	knocks := []uint16{uint16(a.between(2000, 60_000)), uint16(a.between(2000, 60_000)), uint16(a.between(2000, 60_000))}
	for range a.between(1, 3) {
		if !a.resolve(from, to, false) {
			return
		}
		for _, port := range knocks {
			a.probe(from, to, from.ephemeral(a.proc), port)
			a.sleep(a.between(100*ms, 900*ms))
		}
		if k := a.dialFrom(from, to, from.ephemeral(a.proc), 22, false); k != nil {
			k.ssh()
			k.ask(nil, 148, 40*ms, nil, 52, random)
			k.typing(a.between(minute, 4*minute))
			k.close(client)
		}
	}
}

func monitoringProbes(a *play) {
	a.names(one(&a.w.one(webServer).node))
	a.w.monitoring(a.proc, a.at+14*minute)
}

// newLaptop is a machine's first day: it gets an address, finds the office's services, and fetches everything that is new.
func newLaptop(a *play) {
	h := a.w.newHost(a.rng, workstation, true)
	a.w.equip(a.rng, h)
	a.names(one(&h.node))
	h.until = a.at + 20*minute
	a.w.lease(a.proc, h, a.w.gateway)
	for range a.between(10, 25) {
		a.w.report(a.proc, h, pick(a.proc, a.w.polls))
		a.sleep(a.expo(3 * sec))
	}
	for range a.between(2, 6) {
		n := a.size(12e6, 1, 500_000, 120<<20)
		a.spawn(func(p *proc) { a.w.download(p, h, a.w.update, n) })
		a.sleep(a.expo(20 * sec))
	}
	for _, r := range []role{fileServer, nas, printer, webServer} { // is it there, and what does it offer?
		to := &a.w.one(r).node
		a.ping(&h.node, to, false, 1, 1, 32)
		for _, port := range []uint16{445, 80, 443, 631} {
			if k := a.dial(&h.node, to, port); k != nil {
				k.pause(100 * ms)
				k.close(client)
			}
		}
		a.w.discover(a.proc, h)
	}
	a.w.inside = append(a.w.inside, h)
	a.w.workDay(a.proc, h)
	a.until(h.until)
	h.off = true
}

func peerToPeer(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	a.w.sharing(a.proc, h, a.at+12*minute)
}

// game is small packets in both directions, dozens a second, with a server that nobody else talks to.
func game(a *play) {
	h, to := a.desk(), a.stranger()
	a.names(one(&h.node))
	if !a.resolve(&h.node, to, false) {
		return
	}
	mine, theirs := h.ephemeral(a.proc), uint16(a.between(27015, 27050))
	end := a.at + a.between(6*minute, 14*minute)
	a.spawn(func(p *proc) {
		for p.at < end {
			p.noise(to, &h.node, false, theirs, mine, nil, int(p.between(80, 420)), random)
			p.sleep(p.about(31*ms, 0.1))
		}
	})
	for a.at < end {
		a.noise(&h.node, to, false, mine, theirs, nil, int(a.between(40, 90)), random)
		a.sleep(a.about(16*ms, 0.1))
	}
}

// vpn is a tunnel over UDP to another office, through which all that a machine does goes (WireGuard's messages 1, 2 and 4).
func vpn(a *play) {
	h, to := a.desk(), a.stranger()
	a.names(one(&h.node))
	if !a.resolve(&h.node, to, false) {
		return
	}
	mine := h.ephemeral(a.proc)
	id := []byte{byte(a.rng.Uint32()), byte(a.rng.Uint32()), 7, 9}
	up := func(head []byte, n int) { a.noise(&h.node, to, false, mine, 51820, append(head, id...), n, random) }
	down := func(head []byte, n int) { a.noise(to, &h.node, false, 51820, mine, append(head, id...), n, random) }
	up([]byte{1, 0, 0, 0}, 140)
	a.sleep(to.rtt)
	down([]byte{2, 0, 0, 0}, 84)
	counter := uint64(0)
	data := func(send func([]byte, int), n int) {
		id = binary.LittleEndian.AppendUint64(id[:4], counter)
		counter++
		send([]byte{4, 0, 0, 0}, n&^15)
		id = id[:4]
	}
	for end := a.at + a.between(6*minute, 14*minute); a.at < end; {
		for range a.between(1, 400) {
			data(down, 1376)
			if a.chance(0.4) {
				data(up, int(a.between(32, 700)))
			}
			a.sleep(a.expo(2 * ms))
		}
		a.sleep(a.expo(6 * sec))
	}
}

// printerDiscovery is a machine that asks everybody for printers: multicast of three kinds, then the port of every host.
func printerDiscovery(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	for range 6 {
		a.w.discover(a.proc, h)
	}
	for _, o := range a.w.inside {
		if o != h {
			if k := a.dial(&h.node, &o.node, 9100); k != nil {
				k.close(client)
			}
			a.sleep(a.between(50*ms, 500*ms))
		}
	}
}

// serverCrash is a server that stops answering for minutes: its clients try again and again.
func serverCrash(a *play) {
	down := &a.w.one(fileServer).node
	a.names(one(down))
	down.off = true
	back := a.at + a.between(minute, 6*minute)
	for _, h := range a.w.of(workstation) {
		if h.off {
			continue
		}
		a.spawn(func(p *proc) {
			for p.at < back {
				p.dial(&h.node, down, 445)
				p.sleep(p.between(sec, 8*sec))
			}
			p.sleep(p.expo(2 * sec))
			if k := p.dial(&h.node, down, 445); k != nil {
				k.smb(client, 300)
				k.smb(server, 900)
				k.close(client)
			}
		})
	}
	a.until(back)
	down.off = false
}

// leaseChange is a machine that goes and comes back with another address.
func leaseChange(a *play) {
	h := a.w.visitor(a)
	a.names(one(&h.node))
	for round := range 2 {
		if round == 1 {
			a.sleep(3 * minute) // until its connections have ended
			a.w.move(a.proc, h)
			a.act.hosts[0] = append(a.act.hosts[0], h.addr4())
		}
		a.w.lease(a.proc, h, a.w.gateway)
		for range a.between(3, 7) {
			a.w.page(a.proc, h)
			a.w.share(a.proc, h)
			a.sleep(a.expo(15 * sec))
		}
	}
}

// move gives a host another address.
func (w *world) move(p *proc, h *host) {
	h.v4[3] = w.address(p.rng)
	w.forget(&h.node)
}

// forget has everybody ask for a node's hardware address again.
func (w *world) forget(n *node) {
	delete(w.gateway.neigh, n)
	clear(n.neigh)
	for _, h := range w.inside {
		delete(h.neigh, n)
	}
}

// failover is a pair of routers of which the other takes over: it announces the address that both share with its own hardware address
// (RFC 9568, section 6.4.2), after a silence of the first.
func failover(a *play) {
	shared := [4]byte{a.w.prefix4[0], a.w.prefix4[1], a.w.prefix4[2], 254}
	routers := []*node{{mac: models.MAC{2, 0, 0, 0, 1, 1}, v4: shared, ttl: 255}, {mac: models.MAC{2, 0, 0, 0, 1, 2}, v4: shared, ttl: 255}}
	routers[0].v4[3], routers[1].v4[3] = 252, 253
	a.act.hosts = [][]string{{fmt.Sprintf("%d.%d.%d.254", shared[0], shared[1], shared[2]), routers[0].addr4(), routers[1].addr4()}}
	for turn := range 3 {
		r := routers[turn%2]
		for range 5 {
			a.arp(r.mac, broadcast(), arpRequest, r.mac, shared, models.MAC{}, shared)
			a.sleep(2 * ms)
		}
		for range a.between(60, 150) {
			a.vrrp(r, shared)
			a.sleep(sec)
		}
		a.sleep(3 * sec)
	}
}

// vrrp is an advertisement (RFC 9568, section 5.1): version 3, one address, one second.
func (p *proc) vrrp(r *node, shared [4]byte) {
	frame, ip, seg := p.header(r, group(224, 0, 0, 18), false, protoVRRP, 12)
	copy(seg, []byte{0x31, 51, 200, 1, 0, 100, 0, 0})
	copy(seg[8:], shared[:])
	binary.BigEndian.PutUint16(seg[6:], checksum(ip, seg, protoVRRP))
	p.send(frame)
}

// antivirusDNS is a full check of a disk: a lookup for each file, with its hash in the name.
func antivirusDNS(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	for end := a.at + a.between(3*minute, 10*minute); a.at < end; {
		a.w.reputation(a.proc, h)
		a.sleep(a.expo(400 * ms))
	}
}

// polling is a program that somebody has just installed: it asks its service for news at a period with jitter, on a new connection each
// time, and its server answers.
func polling(a *play) {
	h, s := a.desk(), pick(a.proc, a.w.polls)
	a.names(one(&h.node))
	period := pick(a.proc, []int64{20 * sec, 30 * sec, minute})
	for end := a.at + 28*minute; a.at < end; {
		next := a.at + a.about(period, 0.1)
		a.w.poll(a.proc, h, s)
		a.until(next)
	}
}

// powerReturns is when everything comes up at once.
func powerReturns(a *play) {
	for _, h := range a.w.inside {
		clear(h.neigh)
		a.spawn(func(p *proc) {
			p.sleep(p.between(0, 40*sec))
			h.off = false
			h.until = max(h.until, p.at+minute)
			a.w.boot(p, h)
		})
	}
	a.sleep(9 * minute)
}

// resolverOutage is a resolver that does not answer for minutes: every program asks again.
func resolverOutage(a *play) {
	a.names(one(a.w.resolver))
	a.w.deaf = true
	end := a.at + a.between(minute, 4*minute)
	for _, h := range a.w.of(workstation) {
		if h.off {
			continue
		}
		a.spawn(func(p *proc) {
			for p.at < end {
				p.lookup(h, pick(p, h.tastes))
				p.sleep(p.expo(2 * sec))
			}
		})
	}
	a.until(end)
	a.w.deaf = false
}

// crawler is a search engine that reads the office's web pages.
func crawler(a *play) {
	from, to := a.stranger(), &a.w.one(webServer).node
	a.names(one(from))
	for end := a.at + 8*minute; a.at < end; {
		k := a.dialFrom(from, to, from.ephemeral(a.proc), 80, false)
		if k == nil {
			return
		}
		for range a.between(5, 60) {
			k.http("GET", "/"+word(a.rng, 3)+".html", "www.office.example", 0, a.size(12_000, 1, 300, 1<<20))
			k.pause(a.between(100*ms, sec))
		}
		k.close(client)
		a.sleep(a.expo(10 * sec))
	}
}

// speedTest fills the line in one direction after the other, over several connections.
func speedTest(a *play) {
	h, s := a.desk(), a.hideout(443, "speed")
	a.names(one(&h.node))
	s.nodes[0].rate = 12_000
	for range 4 {
		a.spawn(func(p *proc) {
			k := p.secure(h, s)
			if k == nil {
				return
			}
			k.rate = [2]int64{4000, 6000}
			k.ask(nil, 400, 2*ms, nil, 30<<20, tls)
			k.ask(nil, 15<<20, 2*ms, nil, 300, tls)
			k.close(client)
		})
	}
	a.sleep(40 * sec)
}

// remoteDesktop is somebody who works on a server's screen.
func remoteDesktop(a *play) {
	h, to := a.desk(), a.w.one(fileServer)
	a.names(one(&h.node))
	k := a.dial(&h.node, &to.node, 3389)
	if k == nil {
		return
	}
	rdpTLS(k, to.name)
	for end := a.at + a.between(5*minute, 12*minute); a.at < end; {
		for range a.between(5, 80) {
			k.send(client, nil, int(a.between(40, 90)), tls)
			a.sleep(a.expo(50 * ms))
			k.send(server, nil, a.size(1500, 1.3, 80, 200_000), tls)
			a.sleep(a.expo(60 * ms))
		}
		k.pause(a.expo(8 * sec))
	}
	k.close(client)
}

// streamUDP is a camera of better quality, or a television channel: one way, without an answer, all the time.
func streamUDP(a *play) {
	to := &a.w.one(nas).node
	from := &a.w.one(camera).node
	if a.chance(0.5) {
		from, to = a.stranger(), &a.desk().node
	}
	a.names(one(from))
	if !a.resolve(from, to, false) {
		return
	}
	port := uint16(2 * a.between(2000, 8000))
	a.stream(from, to, false, port, port, 33, 20*ms, int(a.between(6, 20)), 1316, 1316, a.at+a.between(3*minute, 9*minute))
}

// copyFiles moves a great deal from a workstation to the storage in the house.
func copyFiles(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	k := a.dial(&h.node, &a.w.one(nas).node, 445)
	if k == nil {
		return
	}
	for range a.between(40, 300) {
		k.smb(client, a.size(500_000, 1, 2000, 6<<20))
		k.smb(server, 84)
		a.sleep(a.expo(5 * ms))
	}
	k.close(client)
}
