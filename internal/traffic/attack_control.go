package traffic

// hideout is a server outside that a control program or a thief has set up, with a name of its own.
func (a *play) hideout(port uint16, label string) *site {
	z := zone(a.rng)
	return &site{name: label + "." + z, zone: z, ttl: 300, nodes: one(a.stranger(port)), app: a.rng.IntN(appCount)}
}

// beacon asks a control server for orders at a period with some jitter, and now and then gets some.
func (a *play) beacon(period int64, jitter float64, end int64) {
	h, s := a.desk(), a.hideout(443, "cdn")
	a.names(one(&h.node), s.nodes)
	up, down := int(a.between(150, 600)), int(a.between(90, 400))
	plain := a.chance(0.3)
	if plain {
		s.nodes[0].open = []uint16{80}
	}
	h.until = max(h.until, end)
	for a.at < end {
		next := a.at + a.about(period, jitter)
		a.callHome(h, s, plain, up, down)
		a.until(next)
	}
}

// callHome is one call.
func (a *play) callHome(h *host, s *site, plain bool, up, down int) {
	var k *conn
	if plain {
		a.lookup(h, s)
		k = a.dial(&h.node, s.nodes[0], 80)
	} else {
		k = a.secure(h, s)
	}
	if k == nil {
		return
	}
	if a.chance(0.02) {
		down *= 20 // an order
	}
	if plain {
		k.http("GET", "/news/"+token(a.rng, 6, hexAlphabet), s.name, 0, down)
	} else {
		k.ask(nil, up, 5*ms, nil, down, tls)
	}
	k.close(client)
}

func beaconRegular(a *play) {
	period := pick(a.proc, []int64{2 * sec, 10 * sec, minute})
	a.beacon(period, 0.01, a.at+min(40*minute, 300*period))
}

func beaconJittered(a *play) {
	period := a.between(10*sec, 3*minute)
	a.beacon(period, 0.2+0.3*a.rng.Float64(), a.at+90*minute)
}

func beaconSlow(a *play) {
	a.beacon(a.between(8*minute, 25*minute), 0.05*a.rng.Float64(), a.at+6*hour)
}

// rat is somebody at the keyboard of a host of the office, from outside: a long connection to a peer and port that nobody has used before,
// on which more goes out than comes in.
func rat(a *play) {
	port := pick(a.proc, []uint16{4444, 1337, 5552, 6606, 8808, 7707, 3460, 1604, 443})
	h, s := a.desk(), a.hideout(port, "host")
	a.names(one(&h.node), s.nodes)
	a.lookup(h, s)
	k := a.dial(&h.node, s.nodes[0], port)
	if k == nil {
		return
	}
	k.rate[client] = a.between(600, 4000)
	k.send(client, nil, int(a.between(200, 1200)), random) // who it is
	for end := a.at + a.between(12*minute, 38*minute); a.at < end; {
		switch a.rng.IntN(5) {
		case 0: // what is on the screen
			for range a.between(3, 40) {
				k.ask(nil, a.size(45_000, 0.5, 4000, 400_000), 2*ms, nil, 24, random)
				k.pause(a.between(300*ms, 2*sec))
			}
		case 1: // keys and commands
			for range a.between(3, 20) {
				k.send(server, nil, int(a.between(20, 200)), random)
				a.sleep(k.turn(client) + a.expo(60*ms))
				k.send(client, nil, a.size(700, 1.2, 40, 60_000), random)
				k.pause(a.expo(4 * sec))
			}
		case 2: // a file
			k.ask(nil, a.size(900_000, 1, 20_000, 12<<20), 20*ms, nil, 30, random)
		default:
			for range a.between(2, 12) {
				k.pause(a.about(15*sec, 0.1))
				k.ask(nil, 22, 0, nil, 22, random)
			}
		}
	}
	k.close(client)
}

// worm has a host try all others, break into one, which does the same after a while.
func worm(a *play) {
	first, second := a.desk(), a.desk()
	for second == first {
		second = a.desk()
	}
	a.names([]*node{&first.node, &second.node})
	port := uint16(445)
	if !second.listens(port) {
		second.open = append(second.open, port)
	}
	end := a.at + 4*minute
	gap := a.between(4*ms, 80*ms)
	a.spawn(func(p *proc) { (&play{p, a.w}).spread(&first.node, port, gap, end) })
	a.sleep(a.between(5*sec, 30*sec))
	k := a.dial(&first.node, &second.node, port)
	if k == nil {
		return
	}
	k.smb(client, int(a.between(4000, 60_000)))
	k.send(client, nil, int(a.between(200_000, 4<<20)), random)
	k.close(client)
	a.sleep(a.between(5*sec, 40*sec))
	(&play{a.proc, a.w}).spread(&second.node, port, gap, end)
}

// spread tries the office, then addresses anywhere.
func (a *play) spread(from *node, port uint16, gap, end int64) {
	a.sweepOffice(from, gap, func(to *node) { a.probe(from, to, from.ephemeral(a.proc), port) })
	for a.at < end && a.resolve(from, a.w.gateway, false) {
		to := node{mac: a.w.gateway.mac, v4: publicAddress(a.rng), outside: true}
		a.bare(from, &to, false, from.ephemeral(a.proc), port, a.rng.Uint32(), 0, flagSYN)
		a.sleep(a.about(gap, 0.5))
	}
}
