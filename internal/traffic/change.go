package traffic

// changes is what becomes different in an office as the days pass: a few times on a working day somebody new comes, a machine leaves for
// good, a program is installed that many use, or a server gets another service.
func (w *world) changes(p *proc) {
	for {
		p.sleep(p.expo(100 * minute))
		if busy(p.at) < 0.5 || weekend(p.at) {
			continue
		}
		switch p.rng.IntN(4) {
		case 0:
			w.join(p)
		case 1:
			w.leave(p)
		case 2:
			w.install(p)
		default:
			w.serve(p)
		}
	}
}

// join is a new machine, with or without a user at a desk.
func (w *world) join(p *proc) {
	if len(w.inside) >= maxHosts {
		return
	}
	h := w.newHost(p.rng, pick(p, []role{workstation, workstation, phone}), p.chance(0.5))
	w.equip(p.rng, h)
	w.inside = append(w.inside, h)
	h.until = p.at + 4*hour
	p.spawn(func(p *proc) {
		w.boot(p, h)
		run := w.workDay
		if h.role == phone {
			run = w.phoneDay
		}
		run(p, h)
		p.until(h.until)
		h.off = true
		p.until(p.at - p.at%day + day)
		w.days(p, h, run)
	})
}

// leave is a phone that does not come back: it is off from now on, and its programs end.
func (w *world) leave(p *proc) {
	if all := w.of(phone); len(all) > 4 {
		h := pick(p, all)
		h.until, h.gone = p.at, true
		p.sleep(10 * minute)
		h.off = true
	}
}

// install is a program that half of the office uses from now on; it talks to a service that nobody has talked to.
func (w *world) install(p *proc) {
	z := zone(p.rng)
	s := &site{name: "api." + z, zone: z, ttl: 300, nodes: []*node{w.outsider(p.rng), w.outsider(p.rng)}, app: p.rng.IntN(appCount)}
	w.polls = append(w.polls, s)
	period := pick(p, []int64{minute, 5 * minute, 15 * minute})
	for _, h := range w.of(workstation) {
		if p.chance(0.5) && p.at < h.until {
			p.spawn(func(p *proc) {
				p.sleep(p.between(0, hour))
				w.every(p, h, period, 0.1, func(p *proc) { w.report(p, h, s) })
			})
		}
	}
}

// serve is a new service on the office's web server, which its people go to.
func (w *world) serve(p *proc) {
	to := w.one(webServer)
	port := uint16(p.between(8001, 9800))
	to.open = append(to.open, port)
	for _, h := range w.of(workstation) {
		if p.chance(0.6) && p.at < h.until {
			p.spawn(func(p *proc) {
				w.again(p, h, 20*minute, func(p *proc) {
					if k := p.dial(&h.node, &to.node, port); k != nil {
						k.http("GET", "/app", "intranet", 0, p.size(9000, 1, 300, 1<<20))
						k.close(client)
					}
				})
			})
		}
	}
}
