package traffic

// days lets a host come and go with its user: at work on weekdays, in again from another place at some, never at night. Who is in when the
// stream begins is on already.
func (w *world) days(p *proc, h *host, work func(*proc, *host)) {
	for !h.gone {
		today := p.at - p.at%day
		from := today + 8*hour + 30*minute + int64(p.rng.NormFloat64()*float64(25*minute))
		to := today + 17*hour + 30*minute + int64(p.rng.NormFloat64()*float64(50*minute))
		if weekend(today) && !p.chance(0.08) || p.chance(0.05) {
			p.until(today + day)
			continue
		}
		if p.at >= to {
			p.until(today + day)
			continue
		}
		h.off, h.until = true, to
		if p.at < from {
			p.until(from)
			if p.s.options.Changing && p.chance(0.15) {
				w.move(p, h)
			}
			h.off = false
			w.boot(p, h)
		}
		h.off = false
		work(p, h)
		p.until(to)
		h.off = true
		p.until(today + day)
	}
}

// weekend says whether a day is Saturday or Sunday: 1 January 1970 was a Thursday.
func weekend(at int64) bool {
	d := at / day % 7
	return d == 2 || d == 3
}

// busy is how much is being done at a time of day, 0 to 1.
func busy(at int64) float64 {
	switch h := at % day / hour; {
	case h < 7 || h >= 20:
		return 0.05
	case h == 7 || h >= 18:
		return 0.3
	case h == 12:
		return 0.5
	}
	return 1
}

// again repeats something while the host is on: mean is the time between, when all are at work.
func (w *world) again(p *proc, h *host, mean int64, do func(*proc)) {
	for p.at < h.until {
		p.rest(h, mean)
		if p.at < h.until {
			do(p)
		}
	}
}

// rest is a random pause, shorter the more is going on, which ends when the host goes off.
func (p *proc) rest(h *host, mean int64) {
	const step = 10 * minute // in which what goes on does not change much
	for left := float64(p.expo(mean)); left > 0 && p.at < h.until; {
		d := min(left/busy(p.at), float64(step))
		left -= d * busy(p.at)
		p.sleep(int64(d) + 1)
	}
}

// every repeats something at a period, with a share of jitter.
func (w *world) every(p *proc, h *host, period int64, jitter float64, do func(*proc)) {
	p.sleep(p.between(0, period))
	for p.at < h.until {
		next := p.at + p.about(period, jitter)
		do(p)
		p.until(next)
	}
}

// workDay is what runs on a workstation.
func (w *world) workDay(p *proc, h *host) {
	do := func(run func(*proc)) { p.spawn(run) }
	do(func(p *proc) { w.surf(p, h) })
	do(func(p *proc) { w.mailbox(p, h) })
	do(func(p *proc) { w.push(p, h, w.chat) })
	do(func(p *proc) { w.again(p, h, 12*minute, func(p *proc) { w.share(p, h) }) })
	do(func(p *proc) { w.again(p, h, 90*minute, func(p *proc) { w.print(p, h) }) })
	do(func(p *proc) { w.again(p, h, 8*minute, func(p *proc) { w.report(p, h, pick(p, w.polls)) }) })
	do(func(p *proc) { w.again(p, h, 6*minute, func(p *proc) { w.reputation(p, h) }) })
	do(func(p *proc) { w.again(p, h, 15*minute, func(p *proc) { w.syncFiles(p, h) }) })
	do(func(p *proc) { w.again(p, h, 20*minute, func(p *proc) { w.miss(p, h) }) })
	do(func(p *proc) { w.again(p, h, 40*minute, func(p *proc) { w.intranet(p, h) }) })
	if !h.linux {
		do(func(p *proc) { w.again(p, h, hour, func(p *proc) { w.logon(p, h) }) })
	}
	if h.linux {
		do(func(p *proc) { w.again(p, h, hour, func(p *proc) { w.shell(p, h) }) })
	}
	do(func(p *proc) {
		w.again(p, h, 6*hour, func(p *proc) { w.call(p, h, min(h.until, p.at+p.between(3*minute, 30*minute))) })
	})
	if p.chance(0.2) {
		do(func(p *proc) { w.lookUpPrivately(p, h, w.private, h.until) })
	}
	if p.chance(0.5) {
		s, period := pick(p, w.polls), pick(p, []int64{30 * sec, minute, 5 * minute})
		do(func(p *proc) { w.every(p, h, period, 0.1, func(p *proc) { w.poll(p, h, s) }) })
	}
	w.always(p, h)
}

// phoneDay is what runs on a phone.
func (w *world) phoneDay(p *proc, h *host) {
	do := func(run func(*proc)) { p.spawn(run) }
	do(func(p *proc) { w.push(p, h, w.chat) })
	do(func(p *proc) { w.again(p, h, 10*minute, func(p *proc) { w.report(p, h, pick(p, w.polls)) }) })
	do(func(p *proc) {
		w.again(p, h, 15*minute, func(p *proc) {
			for range p.between(1, 8) {
				w.page(p, h)
				p.sleep(int64(p.lognormal(12e6, 0.9)))
			}
		})
	})
	w.always(p, h)
}

// always is what every machine does.
func (w *world) always(p *proc, h *host) {
	do := func(run func(*proc)) { p.spawn(run) }
	do(func(p *proc) { w.every(p, h, 17*minute, 0.1, func(p *proc) { w.clock(p, h) }) })
	do(func(p *proc) { w.every(p, h, 4*hour, 0.02, func(p *proc) { w.renew(p, h) }) })
	do(func(p *proc) { w.again(p, h, 9*minute, func(p *proc) { w.discover(p, h) }) })
}
