package traffic

// scanVertical tries a thousand ports or more of one host, as fast as scanners do.
func scanVertical(a *play) {
	from, to := a.attacker(), &a.target().node
	a.names(one(from))
	if !a.resolve(from, to, false) {
		return
	}
	ports := int(a.between(1000, 10_000))
	gap := a.between(100, 20*ms)
	order := a.rng.Perm(65_535)[:ports]
	sport := from.ephemeral(a.proc)
	for _, port := range order {
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
