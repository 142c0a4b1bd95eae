package traffic

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
		sport, seq := uint16(a.between(1024, 65_535)), a.rng.Uint32()
		a.bare(from, to, false, sport, port, seq, 0, flagSYN)
		if a.chance(0.3) { // the victim keeps up with some
			a.sleep(50)
			a.bare(to, from, false, port, sport, a.rng.Uint32(), seq+1, flagSYN|flagACK)
		}
		a.sleep(a.expo(sec / rate))
	}
}
