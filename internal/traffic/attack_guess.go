package traffic

// bruteSSH tries passwords, a few connections at a time.
func bruteSSH(a *play) {
	from, to := a.attacker(), &a.w.one(pick(a.proc, []role{webServer, nas, fileServer})).node
	a.names(one(from), one(to))
	end := a.at + a.lasts(60*sec, 5*minute)
	for range a.between(1, 6) {
		a.spawn(func(p *proc) {
			for p.at < end {
				k := p.dial(from, to, 22)
				if k == nil {
					return
				}
				k.ssh()
				for range p.between(1, 3) {
					k.ask(nil, 148, p.between(300*ms, 2*sec), nil, 52, cipher) // a password, and no
				}
				k.close(client)
				p.sleep(p.expo(300 * ms))
			}
		})
	}
}
