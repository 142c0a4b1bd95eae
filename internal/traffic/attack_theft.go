package traffic

import "fmt"

// exfilHTTPS uploads what was gathered to a server that nobody has talked to before.
func exfilHTTPS(a *play) {
	h, s := a.desk(), a.hideout(443, "files")
	a.names(one(&h.node), s.nodes)
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

// exfilDNS writes a file into the names of questions, one piece after the other; the answers mean nothing.
func exfilDNS(a *play) {
	h := a.desk()
	a.names(one(&h.node), one(h.resolver))
	z := zone(a.rng)
	rcode := pick(a.proc, []byte{rcodeOK, rcodeNXDomain})
	per, gap := int(a.between(40, 160)), a.between(20*ms, 700*ms)
	end := a.at + a.lasts(2*minute, 9*minute)
	for i := 0; a.at < end; i++ {
		name := labels(fmt.Sprintf("%04x", i)+token(a.rng, per, base32Alphabet)) + "." + z
		if rcode == rcodeOK {
			a.ask(h, name, typeA, rcode, []record{{"", typeA, 60, []byte{127, 0, 0, 1}}}, nil)
		} else {
			a.fail(h, name, z)
		}
		a.sleep(a.expo(gap))
	}
}

// exfilFTP stores files on a server outside: a control connection in plain text and one for each file (RFC 959, section 3.2).
func exfilFTP(a *play) {
	h, s := a.desk(), a.hideout(21, "ftp")
	a.names(one(&h.node), s.nodes)
	a.lookup(h, s)
	to := s.nodes[0]
	k := a.dialFrom(&h.node, to, h.ephemeral(a.proc), 21, false)
	if k == nil {
		return
	}
	say := func(command, reply string) {
		if command != "" {
			k.say(client, []byte(command+"\r\n"))
		}
		k.say(server, []byte(reply+"\r\n"))
	}
	say("", "220 ready")
	say("USER upload", "331 password?")
	say("PASS "+token(a.rng, 9, base32Alphabet), "230 welcome")
	say("TYPE I", "200 binary")
	end := a.at + 10*minute
	for range a.between(3, 30) {
		if a.at >= end {
			break
		}
		port := uint16(a.between(40_000, 60_000))
		to.open = append(to.open, port)
		say("PASV", fmt.Sprintf("227 Entering Passive Mode (%d,%d,%d,%d,%d,%d)", to.v4[0], to.v4[1], to.v4[2], to.v4[3], port>>8, port&255))
		d := a.dialFrom(&h.node, to, h.ephemeral(a.proc), port, false)
		say("STOR "+word(a.rng, 3)+".zip", "150 go ahead")
		d.rate[client] = a.between(800, 4000)
		d.send(client, nil, a.size(4e6, 1, 200_000, 60<<20), random)
		d.close(client)
		say("", "226 done")
		k.pause(a.expo(4 * sec))
	}
	k.close(client)
}
