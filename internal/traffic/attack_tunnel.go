package traffic

// tunnelTXT carries a conversation in the names of questions and the texts of answers, as tunnels over DNS do: what goes up is in up to
// three labels, what comes down in a TXT record.
func tunnelTXT(a *play) {
	h := a.desk()
	a.names(one(&h.node), one(h.resolver))
	z := zone(a.rng)
	for end := a.at + a.lasts(2*minute, 9*minute); a.at < end; {
		busy := a.chance(0.3)
		n, down, gap := 24, 20, a.expo(900*ms)
		if busy {
			n, down, gap = int(a.between(90, 170)), int(a.between(60, 220)), a.expo(60*ms)
		}
		q := &question{uint16(a.rng.Uint32()), labels(token(a.rng, n, hexAlphabet)) + "." + z, typeTXT}
		a.exchange(h, q, rcodeOK, []record{{"", typeTXT, 0, txt([]byte(token(a.rng, down, base32Alphabet)))}}, nil, 30*ms+a.expo(10*ms))
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
