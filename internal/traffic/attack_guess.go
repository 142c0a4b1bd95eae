package traffic

import "fmt"

// guess runs a few clients side by side that each open connections to a port until the end, and do with each what try does.
func (a *play) guess(from, to *node, port uint16, clients int, end, pause int64, try func(*conn)) {
	a.names(one(from), one(to))
	for range clients {
		a.spawn(func(p *proc) {
			p.sleep(p.expo(sec))
			for p.at < end {
				k := p.dial(from, to, port)
				if k == nil {
					return
				}
				try(k)
				p.sleep(p.expo(pause))
			}
		})
	}
	a.until(end)
}

// guessing is how long guessing goes on.
func (a *play) guessing() int64 { return a.at + a.lasts(minute, 5*minute) }

// bruteSSH tries passwords, a few connections at a time.
func bruteSSH(a *play) {
	a.guess(a.attacker(), &a.target().node, 22, int(a.between(1, 6)), a.guessing(), 300*ms, func(k *conn) {
		k.ssh()
		for range k.p.between(1, 3) {
			k.ask(nil, 148, k.p.between(300*ms, 2*sec), nil, 52, random) // a password, and no
		}
		k.close(client)
	})
}

// bruteFTP tries passwords in plain text (RFC 959).
func bruteFTP(a *play) {
	a.guess(a.attacker(), &a.w.one(webServer).node, 21, int(a.between(1, 8)), a.guessing(), 200*ms, func(k *conn) {
		p := k.p
		k.say(server, []byte("220 FTP server ready\r\n"))
		for range p.between(1, 5) {
			k.say(client, fmt.Appendf(nil, "USER %s\r\n", word(p.rng, 2)))
			k.say(server, []byte("331 Please specify the password.\r\n"))
			k.say(client, fmt.Appendf(nil, "PASS %s\r\n", token(p.rng, 8, base32Alphabet)))
			p.sleep(p.between(200*ms, 2*sec))
			k.say(server, []byte("530 Login incorrect.\r\n"))
		}
		k.close(client)
	})
}

// bruteHTTP posts a login form again and again.
func bruteHTTP(a *play) {
	a.guess(a.attacker(), &a.target().node, 80, int(a.between(1, 8)), a.guessing(), 150*ms, func(k *conn) {
		for range k.p.between(1, 12) {
			k.http("POST", "/login", "www.office.example", int(k.p.between(30, 60)), int(k.p.between(300, 2500)))
			k.p.sleep(k.p.expo(120 * ms))
		}
		k.close(client)
	})
}

// bruteRDP asks for a remote desktop ([MS-RDPBCGR], section 2.2.1.1) and has its credentials refused inside TLS.
func bruteRDP(a *play) {
	h := a.w.one(fileServer)
	a.guess(a.attacker(), &h.node, 3389, int(a.between(1, 4)), a.guessing(), 500*ms, func(k *conn) {
		rdpTLS(k, h.name)
		k.ask(nil, 120, 2*ms, nil, 250, tls)
		k.ask(nil, 560, k.p.between(20*ms, 900*ms), nil, 60, tls)
		k.close(server)
	})
}

// rdpTLS is the negotiation of a remote desktop and the TLS handshake after it.
func rdpTLS(k *conn, name string) {
	k.say(client, []byte{3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0})
	k.say(server, []byte{3, 0, 0, 19, 14, 0xd0, 0, 0, 0x12, 0x34, 0, 2, 0, 8, 0, 2, 0, 0, 0})
	k.handshake(name, appSystem)
}

// bruteDatabase tries passwords of a PostgreSQL server (its protocol 3.0): a greeting with a name, a demand for the password's hash, an error.
func bruteDatabase(a *play) {
	to := &a.w.one(webServer).node
	if !to.listens(5432) {
		to.open = append(to.open, 5432)
	}
	a.guess(a.attacker(), to, 5432, int(a.between(1, 8)), a.guessing(), 120*ms, func(k *conn) {
		p := k.p
		greeting := "\x00\x03\x00\x00user\x00" + word(p.rng, 2) + "\x00database\x00postgres\x00\x00"
		k.say(client, append([]byte{0, 0, 0, byte(4 + len(greeting))}, greeting...))
		k.say(server, p.random([]byte{'R', 0, 0, 0, 12, 0, 0, 0, 5}, 4))
		k.say(client, []byte("p\x00\x00\x00\x28md5"+token(p.rng, 32, hexAlphabet)+"\x00"))
		p.sleep(p.expo(4 * ms))
		refusal := "SFATAL\x00C28P01\x00Mpassword authentication failed\x00\x00"
		k.send(server, append([]byte{'E', 0, 0, 0, byte(4 + len(refusal))}, refusal...), 0, random)
		k.close(server)
	})
}

// bruteKerberos asks for tickets of many names with wrong passwords, over UDP (RFC 4120, sections 5.4.1 and 5.9.1).
func bruteKerberos(a *play) {
	from, to := &a.desk().node, &a.w.one(fileServer).node
	a.names(one(from), one(to))
	if !a.resolve(from, to, false) {
		return
	}
	pause := a.between(40*ms, 600*ms)
	known, spray := word(a.rng, 3), a.chance(0.5) // one name with many passwords, or many with one
	for end := a.guessing(); a.at < end; {
		user := known
		if spray {
			user = word(a.rng, 3)
		}
		sport := from.ephemeral(a.proc)
		a.datagram(from, to, false, sport, 88, a.asRequest(user))
		a.sleep(to.rtt + a.expo(3*ms))
		a.datagram(to, from, false, 88, sport, a.krbError(24)) // pre-authentication failed
		a.sleep(a.expo(pause))
	}
}
