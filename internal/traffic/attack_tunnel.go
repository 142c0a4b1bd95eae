package traffic

// tunnel carries a conversation over DNS: what goes up is in the labels of questions, what comes down in the answers. When nothing is to be
// said it asks at a steady pace, when there is, as fast as answers come.
type tunnel struct {
	qtype      uint16
	alphabet   string
	up, down   int   // bytes of name and of answer, when there is something to say
	idle, busy int64 // mean time between questions
	share      float64
	answer     func(a *play, n int, zone string) []byte
}

func (t *tunnel) run(a *play, d int64) {
	h := a.desk()
	a.names(one(&h.node), one(h.resolver))
	z := zone(a.rng)
	for end := a.at + d; a.at < end; {
		n, down, gap := 14, 12, a.expo(t.idle)
		if a.chance(t.share) {
			n, down, gap = t.up/2+a.rng.IntN(t.up), t.down/2+a.rng.IntN(t.down), a.expo(t.busy)
		}
		q := &question{uint16(a.rng.Uint32()), labels(token(a.rng, n, t.alphabet)) + "." + z, t.qtype}
		a.exchange(h, q, rcodeOK, []record{{"", t.qtype, 0, t.answer(a, down, z)}}, nil, 30*ms+a.expo(10*ms))
		a.sleep(gap)
	}
}

func tunnelTXT(a *play) {
	t := tunnel{qtype: typeTXT, alphabet: hexAlphabet, up: 110, down: 150, idle: 900 * ms, busy: 60 * ms, share: 0.3}
	t.answer = func(a *play, n int, _ string) []byte { return txt([]byte(token(a.rng, n, base32Alphabet))) }
	t.run(a, a.lasts(2*minute, 9*minute))
}

func tunnelCNAME(a *play) {
	t := tunnel{qtype: typeCNAME, alphabet: base32Alphabet, up: 100, down: 100, idle: 1200 * ms, busy: 80 * ms, share: 0.3}
	t.answer = func(a *play, n int, z string) []byte {
		return appendName(nil, labels(token(a.rng, n, base32Alphabet))+"."+z)
	}
	t.run(a, a.lasts(2*minute, 9*minute))
}

func tunnelNULL(a *play) {
	t := tunnel{qtype: typeNULL, alphabet: base32Alphabet, up: 120, down: 700, idle: 3 * sec, busy: 25 * ms, share: 0.6}
	t.answer = func(a *play, n int, _ string) []byte { return a.random(nil, n) }
	t.run(a, a.lasts(2*minute, 9*minute))
}

// tunnelA is a slow one: an address of four bytes is all that comes down, a question in several seconds all that goes up.
func tunnelA(a *play) {
	t := tunnel{qtype: typeA, alphabet: hexAlphabet, up: 40, down: 4, idle: a.between(4*sec, 15*sec), busy: sec, share: 0.1}
	t.answer = func(a *play, _ int, _ string) []byte { return a.random(nil, 4) }
	t.run(a, a.between(15*minute, 28*minute))
}

// tunnelICMP carries a conversation in echo requests and replies, whose bytes differ, as those of a ping do not.
func tunnelICMP(a *play) {
	h, to := a.desk(), a.stranger()
	a.names(one(&h.node), one(to))
	if !a.resolve(&h.node, to, false) {
		return
	}
	id := uint16(a.rng.Uint32())
	end := a.at + a.lasts(2*minute, 9*minute)
	for seq := uint16(0); a.at < end; seq++ {
		up, down, gap := 20, 20, a.expo(sec)
		if a.chance(0.5) {
			up, down, gap = int(a.between(200, 1200)), int(a.between(100, 1300)), a.expo(40*ms)
		}
		a.echo(&h.node, to, false, false, id, seq, nil, up, random)
		a.sleep(to.rtt)
		a.echo(to, &h.node, false, true, id, seq, nil, down, random)
		a.sleep(gap)
	}
}

// labels cuts a string into labels of a domain name.
func labels(s string) string {
	const most = 60
	var b []byte
	for len(s) > most {
		b = append(append(b, s[:most]...), '.')
		s = s[most:]
	}
	return string(append(b, s...))
}
