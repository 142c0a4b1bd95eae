package traffic

// beaconRegular asks a control server for orders at a fixed period, and gets none.
func beaconRegular(a *play) {
	h, c2 := a.desk(), a.stranger(443)
	a.names(one(&h.node), one(c2))
	s := &site{name: "cdn." + zone(a.rng), ttl: 300, nodes: one(c2), app: appScript}
	s.zone = s.name[4:]
	period := pick(a.proc, []int64{2 * sec, 10 * sec, minute})
	end := a.at + min(40*minute, 200*period)
	for a.at < end {
		next := a.at + period
		k := a.secure(h, s)
		if k == nil {
			return
		}
		k.ask(nil, 300, 5*ms, nil, 180, tls)
		k.close(client)
		a.until(next)
	}
}

// exfilHTTPS uploads what was gathered to a server that nobody has talked to before.
func exfilHTTPS(a *play) {
	h, to := a.desk(), a.stranger(443)
	a.names(one(&h.node), one(to))
	z := zone(a.rng)
	s := &site{name: "files." + z, zone: z, ttl: 300, nodes: one(to), app: appScript}
	k := a.secure(h, s)
	if k == nil {
		return
	}
	total := a.size(60e6, 0.6, 20<<20, 300<<20)
	k.rate[client] = a.between(800, 4000)
	end := a.at + 11*minute
	for total > 0 && a.at < end {
		n := min(total, 1<<20)
		k.ask(nil, n, 30*ms, nil, 200, tls)
		total -= n
		a.sleep(a.expo(300 * ms))
	}
	k.close(client)
}
