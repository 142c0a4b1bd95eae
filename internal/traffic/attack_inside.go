package traffic

import "netlyra/internal/models"

// spoofARP tells a victim that the gateway is here, and the gateway that the victim is: now and then, or all the time.
func spoofARP(a *play) {
	from, victim := a.desk(), a.desk()
	for victim == from {
		victim = a.desk()
	}
	gw := a.w.gateway
	a.names([]*node{&from.node, &victim.node, gw})
	rounds, gap := int(a.between(3, 6)), a.between(2*sec, 10*sec)
	if a.chance(0.6) {
		rounds, gap = int(a.between(60, 200)), a.between(sec, 2*sec)
	}
	for range rounds {
		a.arp(from.mac, victim.mac, arpReply, from.mac, gw.v4, victim.mac, victim.v4)
		a.sleep(a.between(50, 500))
		a.arp(from.mac, gw.mac, arpReply, from.mac, victim.v4, gw.mac, gw.v4)
		a.sleep(a.about(gap, 0.05))
	}
}

// rogueDHCP has a host of the office answer those who come, with itself as their gateway.
func rogueDHCP(a *play) {
	h := a.desk()
	a.names(one(&h.node))
	for range a.between(4, 9) {
		guest := a.w.visitor(a)
		a.w.lease(a.proc, guest, &h.node)
		a.sleep(a.between(10*sec, 90*sec))
	}
}

// visitor is a phone that comes for a while.
func (w *world) visitor(a *play) *host {
	g := w.newHost(a.rng, phone, a.chance(0.5))
	w.equip(a.rng, g)
	return g
}

// implant is a small computer that somebody has plugged in: an address that it took for itself, a look around, a line to outside.
func implant(a *play) {
	h := a.w.newHost(a.rng, sensor, false)
	h.mac = models.MAC{0xb8, 0x27, 0xeb, byte(a.rng.Uint32()), byte(a.rng.Uint32()), byte(a.rng.Uint32())}
	a.w.equip(a.rng, h)
	a.names(one(&h.node))
	a.announce(&h.node)
	a.sleep(2 * sec)
	s := a.hideout(22, "relay")
	a.lookup(h, s)
	k := a.dial(&h.node, s.nodes[0], 22)
	if k == nil {
		return
	}
	k.ssh()
	for _, r := range []role{fileServer, nas, webServer, printer} {
		for _, port := range []uint16{445, 22, 80} {
			k.typing(a.between(5*sec, 40*sec))
			if c := a.dial(&h.node, &a.w.one(r).node, port); c != nil {
				a.sleep(a.between(100*ms, 2*sec))
				c.close(client)
			}
		}
	}
	for end := a.at + a.between(2*minute, 10*minute); a.at < end; {
		k.pause(a.about(30*sec, 0.02))
		k.ask(nil, 60, 0, nil, 60, random)
	}
	k.close(client)
}

// newService is a host that has only ever asked and now answers: on a port that nobody served, to whoever comes.
func newService(a *play) {
	h := a.desk()
	port := pick(a.proc, []uint16{4444, 8000, 2222, 9001, 31337, 5555})
	h.open = append(h.open, port)
	a.names(one(&h.node))
	for range a.between(6, 40) {
		var from *node
		if from = a.stranger(); a.chance(0.6) {
			from = &a.desk().node
		}
		if from != &h.node {
			if k := a.dial(from, &h.node, port); k != nil {
				k.ask(nil, int(a.between(60, 900)), 2*ms, nil, a.size(5000, 1.5, 60, 2<<20), random)
				k.pause(a.expo(3 * sec))
				k.close(client)
			}
		}
		a.sleep(a.expo(20 * sec))
	}
}

// slowRamp begins so gently that what learns takes it for usual, and grows over hours: requests of many machines to a server, or an upload.
func slowRamp(a *play) {
	const length = 3 * hour
	start := a.at
	growth := func(least, most float64) float64 { // at the present time
		x := float64(a.at-start) / float64(length)
		return least + (most-least)*x*x*x
	}
	if a.chance(0.5) {
		to := &a.w.one(webServer).node
		a.names(one(to))
		for a.at < start+length {
			from := a.stranger()
			a.spawn(func(p *proc) {
				if k := p.dialFrom(from, to, from.ephemeral(p), 80, false); k != nil {
					k.http("GET", "/", "www.office.example", 0, 3000)
					k.close(client)
				}
			})
			a.sleep(a.expo(int64(float64(sec) / growth(0.02, 150))))
		}
		return
	}
	h, s := a.desk(), a.hideout(443, "sync")
	a.names(one(&h.node), s.nodes)
	h.until = max(h.until, start+length)
	for a.at < start+length {
		if k := a.secure(h, s); k != nil {
			k.rate[client] = 3000
			k.ask(nil, int(growth(5000, 12e6)), 30*ms, nil, 200, tls)
			k.close(client)
		}
		a.sleep(a.about(30*sec, 0.3))
	}
}
