package traffic

import "fmt"

// surf is a person at a browser: a few pages, then something else.
func (w *world) surf(p *proc, h *host) {
	for p.at < h.until {
		p.rest(h, 5*minute)
		for range p.between(1, 14) {
			if p.at >= h.until {
				return
			}
			w.page(p, h)
			p.sleep(2*sec + int64(p.lognormal(18e6, 1)))
		}
		if p.chance(0.03) {
			w.watch(p, h)
		}
	}
}

// page loads one page: its own site, and what it includes from others, at the same time.
func (w *world) page(p *proc, h *host) {
	main := pick(p, h.tastes)
	if p.chance(0.2) {
		main = w.sites[zipf(p.rng, len(w.sites))]
	}
	if p.chance(0.01) {
		w.fail(p, h)
	}
	w.visit(p, h, main, int(p.between(2, 8)))
	for range p.between(0, 6) {
		other := pick(p, w.ads)
		if p.chance(0.5) {
			other = w.sites[zipf(p.rng, len(w.sites))]
		}
		p.spawn(func(p *proc) {
			p.sleep(p.expo(150 * ms))
			w.visit(p, h, other, int(p.between(1, 4)))
		})
	}
}

// fail is a mistyped name.
func (w *world) fail(p *proc, h *host) {
	z := zone(p.rng)
	p.fail(h, "www."+z, z)
}

// visit fetches objects of one site; the connection stays open for a while, as browsers keep them.
func (w *world) visit(p *proc, h *host, s *site, objects int) {
	if s.quic && p.chance(0.8) {
		p.lookup(h, s)
		p.spawn(func(p *proc) { p.quic(h, s, objects) })
		return
	}
	k := p.secure(h, s)
	if k == nil {
		return
	}
	w.objects(k, objects)
	p.spawn(func(p *proc) { // it idles beside what goes on
		k.p = p
		k.pause(p.between(5*sec, 100*sec))
		if p.chance(0.07) {
			k.reset(client)
			return
		}
		k.close(side(p.rng.IntN(2)))
	})
}

func (w *world) objects(k *conn, n int) {
	p := k.p
	for range n {
		size := p.size(7000, 1.4, 200, 4<<20)
		if p.chance(0.004) {
			size = p.size(4e6, 1, 1<<20, 40<<20) // a download
		}
		k.ask(nil, p.size(500, 0.4, 120, 4000), p.expo(25*ms), nil, size, tls)
		p.sleep(p.expo(60 * ms))
	}
}

// watch is a video: segments of some seconds each, fetched ahead.
func (w *world) watch(p *proc, h *host) {
	k := p.secure(h, pick(p, h.tastes))
	if k == nil {
		return
	}
	rate := p.between(100, 500) // bytes a millisecond
	for range p.between(10, 80) {
		next := p.at + 5*sec
		k.ask(nil, 700, 10*ms, nil, int(5000*rate), tls)
		k.pause(next - p.at)
	}
	k.close(client)
}

// mailbox is an IMAP connection that waits for mail (RFC 2177), and now and then a message that is sent.
func (w *world) mailbox(p *proc, h *host) {
	p.lookup(h, w.mail)
	at := w.mail.node(p)
	k := p.dial(&h.node, at, 993)
	if k == nil {
		return
	}
	k.handshake(w.mail.name, appSystem)
	for p.at < h.until {
		k.pause(min(int64(float64(p.expo(6*minute))/busy(p.at)), 25*minute)) // then it is renewed
		k.ask(nil, 60, 2*ms, nil, p.size(9000, 1.7, 100, 8<<20), tls)
		if p.chance(0.2) {
			p.spawn(func(p *proc) { w.sendMail(p, h, at) })
		}
	}
	k.close(client)
}

func (w *world) sendMail(p *proc, h *host, at *node) {
	k := p.dial(&h.node, at, 465)
	if k == nil {
		return
	}
	k.handshake("smtp."+w.mail.zone, appSystem)
	k.ask(nil, 90, 20*ms, nil, 120, tls)
	k.ask(nil, p.size(12_000, 1.5, 800, 6<<20), 60*ms, nil, 80, tls)
	k.close(client)
}

// push is a connection on which a service tells its news; both sides make sure that the other is there.
func (w *world) push(p *proc, h *host, s *site) {
	k := p.secure(h, s)
	if k == nil {
		return
	}
	period := pick(p, []int64{30 * sec, 55 * sec, 4 * minute})
	for p.at < h.until {
		k.pause(p.about(period, 0.02))
		if p.chance(0.15 * busy(p.at)) {
			k.send(server, nil, p.size(700, 1, 80, 60_000), tls)
			p.sleep(k.turn(client))
		}
		if period > minute {
			k.keepAlive()
		} else {
			k.ask(nil, 35, 0, nil, 35, tls)
		}
	}
	k.close(client)
}

// report is a program that tells its maker something.
func (w *world) report(p *proc, h *host, s *site) {
	k := p.secure(h, s)
	if k == nil {
		return
	}
	k.ask(nil, p.size(2500, 0.9, 300, 60_000), p.expo(40*ms), nil, p.size(400, 0.5, 120, 4000), tls)
	k.pause(p.between(100*ms, 8*sec))
	k.close(client)
}

// poll asks a service for news, on a new connection each time.
func (w *world) poll(p *proc, h *host, s *site) {
	k := p.secure(h, s)
	if k == nil {
		return
	}
	k.ask(nil, 420, p.expo(15*ms), nil, p.size(600, 0.6, 200, 20_000), tls)
	k.close(client)
}

// syncFiles keeps files in step with a service.
func (w *world) syncFiles(p *proc, h *host) {
	k := p.secure(h, w.sync)
	if k == nil {
		return
	}
	if p.chance(0.4) {
		k.ask(nil, p.size(60_000, 1.6, 2000, 12<<20), 80*ms, nil, 500, tls)
	} else {
		k.ask(nil, 900, 80*ms, nil, p.size(40_000, 1.6, 300, 12<<20), tls)
	}
	k.pause(p.between(sec, 30*sec))
	k.close(client)
}

// share works with files on the server, over SMB 3 with encryption ([MS-SMB2], section 2.2.41).
func (w *world) share(p *proc, h *host) {
	to := &w.one(pick(p, []role{fileServer, fileServer, nas})).node
	k := p.dial(&h.node, to, 445)
	if k == nil {
		return
	}
	for range p.between(2, 12) {
		if to.off {
			k.smb(client, 300) // into the void
			return
		}
		up, down := int(p.between(80, 400)), p.size(20_000, 1.6, 100, 6<<20)
		if p.chance(0.25) {
			up, down = down, up
		}
		k.smb(client, up)
		p.sleep(k.turn(server) + p.expo(2*ms))
		k.smb(server, down)
		k.pause(p.expo(3 * sec))
	}
	k.close(client)
}

// smb sends one encrypted message.
func (k *conn) smb(from side, n int) {
	const most = 1 << 20
	for n > 0 {
		m := min(n, most)
		b := append(k.p.s.scratch[:0], 0, byte((m+52)>>16), byte((m+52)>>8), byte(m+52), 0xfd, 'S', 'M', 'B')
		b = k.p.random(b, 16+16)
		b = append(b, byte(m), byte(m>>8), byte(m>>16), byte(m>>24), 0, 0, 1, 0)
		b = append(b, 0x11, 0, 0, 0, 0, 4, 0, 0) // the session
		k.send(from, b, m, random)
		n -= m
	}
}

// print is a job: printer language over port 9100.
func (w *world) print(p *proc, h *host) {
	k := p.dial(&h.node, &w.one(printer).node, 9100)
	if k == nil {
		return
	}
	k.send(client, []byte("\x1b%-12345X@PJL JOB NAME=\"document\"\r\n@PJL ENTER LANGUAGE=PCLXL\r\n"), p.size(250_000, 1.2, 8000, 9<<20), structs)
	k.pause(p.between(sec, 9*sec))
	k.close(client)
}

// intranet is a page of the web server in the house, without TLS.
func (w *world) intranet(p *proc, h *host) {
	k := p.dial(&h.node, &w.one(webServer).node, 80)
	if k == nil {
		return
	}
	for range p.between(1, 6) {
		k.http("GET", "/wiki/"+word(p.rng, 3), "intranet", 0, p.size(9000, 1, 300, 1<<20))
		k.pause(p.expo(900 * ms))
	}
	k.close(client)
}

// http is a request and its answer in plain HTTP/1.1.
func (k *conn) http(method, path, hostname string, up, down int) {
	p := k.p
	req := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n", method, path, hostname)
	if up > 0 {
		req += fmt.Sprintf("Content-Type: text/plain\r\nContent-Length: %d\r\n", up)
	}
	resp := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: httpd\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", down)
	k.ask([]byte(req+"\r\n"), up, p.expo(3*ms), []byte(resp), down, text)
}

// shell is somebody working over SSH.
func (w *world) shell(p *proc, h *host) {
	k := p.dial(&h.node, &w.one(pick(p, []role{webServer, nas, fileServer})).node, 22)
	if k == nil {
		return
	}
	k.ssh()
	k.ask(nil, 148, 30*ms, nil, 52, random)
	k.typing(p.between(30*sec, 10*minute))
	k.close(client)
}

// typing is a person at a remote prompt for a time.
func (k *conn) typing(d int64) {
	p := k.p
	for end := p.at + d; p.at < end; {
		for range p.between(3, 30) {
			k.ask(nil, 36, 500, nil, 36, random)
			p.sleep(p.expo(170 * ms))
		}
		k.send(server, nil, p.size(600, 1.2, 60, 40_000), random)
		k.pause(p.expo(9 * sec))
	}
}

// ssh is the beginning of a connection: versions, algorithms, keys (RFC 4253, sections 4.2, 7, 8).
func (k *conn) ssh() {
	p := k.p
	k.say(client, []byte("SSH-2.0-OpenSSH_9.2\r\n"))
	k.say(server, []byte("SSH-2.0-OpenSSH_8.9\r\n"))
	k.send(client, p.kexInit(), 0, random)
	p.sleep(k.turn(server))
	k.send(server, p.kexInit(), 0, random)
	p.sleep(k.turn(client))
	k.send(client, p.sshPacket(30, 32), 0, random)
	p.sleep(k.turn(server) + p.expo(2*ms))
	k.send(server, p.kexReply(), 0, random)
	p.sleep(k.turn(client))
	k.send(client, p.sshPacket(21, 0), 0, random)
	k.ask(nil, 44, 200, nil, 44, random)
	k.ask(nil, 68, 300, nil, 52, random)
}

// kexInit offers algorithms.
func (p *proc) kexInit() []byte {
	b := p.random([]byte{20}, 16)
	for _, list := range []string{
		"curve25519-sha256", "ssh-ed25519,rsa-sha2-512,rsa-sha2-256", "chacha20-poly1305@openssh.com", "chacha20-poly1305@openssh.com",
		"hmac-sha2-256", "hmac-sha2-256", "none", "none", "", "",
	} {
		b = append(b, 0, 0, 0, byte(len(list)))
		b = append(b, list...)
	}
	return frameSSH(append(b, 0, 0, 0, 0, 0))
}

// sshPacket is a message with one string of n random bytes, or none.
func (p *proc) sshPacket(code byte, n int) []byte {
	b := []byte{code}
	if n > 0 {
		b = p.random(append(b, 0, 0, byte(n>>8), byte(n)), n)
	}
	return frameSSH(b)
}

// kexReply is the server's key, its half of the exchange and its signature, and the change to them.
func (p *proc) kexReply() []byte {
	b := append([]byte{31}, 0, 0, 0, 51, 0, 0, 0, 11)
	b = append(append(b, "ssh-ed25519"...), 0, 0, 0, 32)
	b = append(p.random(b, 32), 0, 0, 0, 32)
	b = append(p.random(b, 32), 0, 0, 0, 83, 0, 0, 0, 11)
	b = append(append(b, "ssh-ed25519"...), 0, 0, 0, 64)
	return append(frameSSH(p.random(b, 64)), p.sshPacket(21, 0)...)
}

// frameSSH puts a message into a packet (RFC 4253, section 6).
func frameSSH(message []byte) []byte {
	padding := 8 - (5+len(message))%8
	if padding < 4 {
		padding += 8
	}
	n := 1 + len(message) + padding
	b := append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), byte(padding)}, message...)
	return append(b, make([]byte, padding)...)
}

// reputation asks an antivirus product's service about files: their hashes are in the names.
func (w *world) reputation(p *proc, h *host) {
	for range p.between(1, 6) {
		name := token(p.rng, 32, hexAlphabet) + "." + token(p.rng, 8, hexAlphabet) + "." + w.virus
		if p.chance(0.3) {
			p.fail(h, name, w.virus)
		} else {
			p.ask(h, name, typeA, rcodeOK, []record{{"", typeA, 3600, []byte{127, 0, 0, byte(p.between(2, 8))}}}, nil)
		}
		p.sleep(p.expo(2 * sec))
	}
}

// miss is what goes wrong in an ordinary office: names that do not exist, reverse lookups, hosts that are off.
func (w *world) miss(p *proc, h *host) {
	switch p.rng.IntN(4) {
	case 0:
		for range p.between(1, 3) {
			p.fail(h, token(p.rng, int(p.between(7, 15)), base32Alphabet)+".lan", "lan")
		}
	case 1:
		p.reverse(h, pick(p, w.people), "")
	case 2:
		p.dial(&h.node, &pick(p, w.inside).node, pick(p, []uint16{445, 80, 3389}))
	default:
		p.dial(&h.node, pick(p, w.people), 443+uint16(p.rng.IntN(2))*4000)
	}
}
