package traffic

import (
	"encoding/binary"
	"fmt"

	"netlyra/internal/models"
)

// device is what machines without a user do, day and night.
func (w *world) device(p *proc, h *host) {
	switch h.role {
	case camera:
		p.spawn(func(p *proc) { w.film(p, h) })
	case sensor:
		p.spawn(func(p *proc) { w.measure(p, h) })
	case nas:
		p.spawn(func(p *proc) { w.nightly(p, h) })
		p.spawn(func(p *proc) { // what has changed since
			w.again(p, h, 6*minute, func(p *proc) { w.backUp(p, h, w.backup, p.size(400_000, 1.2, 20_000, 6<<20)) })
		})
	case webServer:
		p.spawn(func(p *proc) { w.visitors(p, h) })
	default:
	}
	w.always(p, h)
}

// router is what the gateway says of itself.
func (w *world) router(p *proc) {
	for {
		p.routerAdvertisement(w.gateway)
		p.sleep(p.between(200*sec, 600*sec))
	}
}

// film is a camera that sends its picture to the recorder: more where something moves.
func (w *world) film(p *proc, h *host) {
	recorder := &w.one(nas).node
	p.resolve(&h.node, recorder, false)
	var seq uint16
	stamp, port := p.rng.Uint32(), h.ephemeral(p)&^1
	for motion := 0; ; motion-- {
		if p.chance(0.002) {
			motion = 200
		}
		for range 1 + min(max(motion, 0), 3) {
			p.noise(&h.node, recorder, false, port, 5004, rtp(96, seq, stamp, 0x1234), int(p.between(700, 1300)), random)
			seq++
			p.sleep(200)
		}
		stamp += 9000
		p.sleep(p.about(100*ms, 0.05))
	}
}

// rtp is a header of the transport protocol of sound and picture (RFC 3550, section 5.1).
func rtp(kind byte, seq uint16, stamp, source uint32) []byte {
	b := []byte{0x80, kind, byte(seq >> 8), byte(seq), 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], stamp)
	binary.BigEndian.PutUint32(b[8:], source)
	return b
}

// measure is a sensor that reports to its maker's broker once a minute, over a connection that it keeps.
func (w *world) measure(p *proc, h *host) {
	s := pick(p, w.polls)
	for {
		k := p.secure(h, s)
		if k == nil {
			p.sleep(30 * sec)
			continue
		}
		for range p.between(100, 1000) {
			k.ask(nil, int(p.between(60, 140)), 2*ms, nil, 31, tls)
			k.pause(p.about(minute, 0.01))
		}
		k.close(server)
		p.sleep(p.between(sec, 5*sec))
	}
}

// nightly is the storage's copy of its day to another place.
func (w *world) nightly(p *proc, h *host) {
	for {
		p.until(p.at - p.at%day + day + 2*hour + p.between(0, 20*minute))
		w.backUp(p, h, w.backup, int(p.between(30<<20, 150<<20)))
	}
}

// backUp uploads in parts, each acknowledged by the service.
func (w *world) backUp(p *proc, h *host, to *site, bytes int) {
	k := p.secure(h, to)
	if k == nil {
		return
	}
	for bytes > 0 {
		n := min(bytes, 8<<20)
		k.ask(nil, n, 120*ms, nil, 400, tls)
		bytes -= n
		p.sleep(p.between(50*ms, 900*ms))
	}
	k.close(client)
}

// visitors are strangers who read the office's public web pages, and those who look for something else.
func (w *world) visitors(p *proc, h *host) {
	for {
		p.sleep(int64(float64(p.expo(50*sec)) / (0.3 + busy(p.at))))
		from := w.outsider(p.rng)
		p.spawn(func(p *proc) {
			k := p.dial(from, &h.node, pick(p, []uint16{80, 443, 443}))
			if k == nil {
				return
			}
			switch {
			case p.chance(0.1): // somebody who only looks whether there is a server
				k.reset(client)
				return
			case k.ports[server] == 80:
				k.http("GET", "/"+word(p.rng, 2), "www.office.example", 0, p.size(14_000, 1, 400, 1<<20))
			default:
				k.handshake("www.office.example", appBrowser)
				w.objects(k, int(p.between(1, 6)))
			}
			k.pause(p.between(sec, 15*sec))
			k.close(side(p.rng.IntN(2)))
		})
	}
}

// monitoring is the web server looking after the office: every host is pinged, connected to and asked once in 10 s.
func (w *world) monitoring(p *proc, end int64) {
	from := w.one(webServer)
	for seq := uint16(1); p.at < end; seq++ {
		round := p.at
		for _, h := range w.inside {
			if h == from {
				continue
			}
			p.spawn(func(p *proc) { w.probe(p, from, h, seq) })
			p.sleep(p.between(10*ms, 200*ms))
		}
		p.until(round + 10*sec)
	}
}

func (w *world) probe(p *proc, from, h *host, seq uint16) {
	if !p.ping(&from.node, &h.node, false, 0x4d4e, seq, 56) || len(h.open) == 0 {
		return
	}
	port := h.open[0]
	k := p.dialFrom(&from.node, &h.node, from.ephemeral(p), port, false)
	if k == nil {
		return
	}
	switch port {
	case 80:
		k.http("GET", "/health", h.name, 0, 40)
	case 22:
		k.say(server, []byte("SSH-2.0-OpenSSH_8.9\r\n"))
	}
	k.close(client)
}

// clock asks for the time (RFC 5905, section 7.3).
func (w *world) clock(p *proc, h *host) {
	s := pick(p, w.clocks)
	if !p.resolve(&h.node, s, false) {
		return
	}
	sport := h.ephemeral(p)
	p.datagram(&h.node, s, false, sport, 123, p.ntp(0x23, 0))
	p.sleep(s.rtt)
	p.datagram(s, &h.node, false, 123, sport, p.ntp(0x24, 2))
}

// ntp is a time message: the first byte is leap, version and mode.
func (p *proc) ntp(first, stratum byte) []byte {
	b := append(p.s.scratch[:0], first, stratum, 6, 0xec, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 0, 1)
	const epochs = 2_208_988_800 // seconds from 1900 to 1970
	for range 4 {
		b = binary.BigEndian.AppendUint32(b, uint32(p.at/sec+epochs))
		b = binary.BigEndian.AppendUint32(b, uint32(p.rng.Uint64()))
	}
	return b
}

// The DHCP messages (RFC 2132, section 9.6).
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpAck      = 5
)

// dhcp is a message (RFC 2131, section 2).
func (p *proc) dhcp(op, kind byte, h *host, xid uint32, yours, server [4]byte) []byte {
	b := append(p.s.scratch[:0], op, 1, 6, 0)
	b = binary.BigEndian.AppendUint32(b, xid)
	b = append(b, make([]byte, 236-8)...)
	if op == 1 && kind == dhcpRequest && yours == h.v4 {
		copy(b[12:], h.v4[:])
	}
	if op == 2 {
		copy(b[16:], yours[:])
	}
	copy(b[28:], h.mac[:])
	b = append(b, 0x63, 0x82, 0x53, 0x63, 53, 1, kind)
	if op == 1 {
		b = append(b, 12, byte(len(h.name)))
		b = append(b, h.name...)
		b = append(b, 55, 6, 1, 3, 6, 15, 42, 51)
	} else {
		b = append(b, 54, 4, server[0], server[1], server[2], server[3], 51, 4, 0, 0, 0x70, 0x80, 1, 4, 255, 255, 255, 0)
		b = append(b, 3, 4, server[0], server[1], server[2], server[3], 6, 4, server[0], server[1], server[2], server[3])
	}
	b = append(b, 255)
	for len(b) < 300 {
		b = append(b, 0)
	}
	return b
}

// lease is how a host gets its address when it comes: asked for by broadcast, probed, announced.
func (w *world) lease(p *proc, h *host, from *node) {
	nobody := node{mac: h.mac, ttl: 128} // no address yet
	all := node{mac: broadcast(), v4: [4]byte{255, 255, 255, 255}}
	xid := p.rng.Uint32()
	p.datagram(&nobody, &all, false, 68, 67, p.dhcp(1, dhcpDiscover, h, xid, [4]byte{}, [4]byte{}))
	p.sleep(p.between(2*ms, 40*ms))
	p.datagram(from, &all, false, 67, 68, p.dhcp(2, dhcpOffer, h, xid, h.v4, from.v4))
	p.sleep(p.between(ms, 5*ms))
	p.datagram(&nobody, &all, false, 68, 67, p.dhcp(1, dhcpRequest, h, xid, [4]byte{}, from.v4))
	p.sleep(p.between(2*ms, 20*ms))
	p.datagram(from, &all, false, 67, 68, p.dhcp(2, dhcpAck, h, xid, h.v4, from.v4))
	for range 3 { // RFC 5227, section 2.1.1
		p.arp(h.mac, broadcast(), arpRequest, h.mac, [4]byte{}, models.MAC{}, h.v4)
		p.sleep(p.between(sec, 2*sec))
	}
	p.announce(&h.node)
	if h.six {
		p.solicitFor(&h.node, h.v6)
	}
}

// renew asks for the lease to go on.
func (w *world) renew(p *proc, h *host) {
	if !p.resolve(&h.node, w.gateway, false) {
		return
	}
	xid := p.rng.Uint32()
	p.datagram(&h.node, w.gateway, false, 68, 67, p.dhcp(1, dhcpRequest, h, xid, h.v4, w.gateway.v4))
	p.sleep(p.between(ms, 9*ms))
	p.datagram(w.gateway, &h.node, false, 67, 68, p.dhcp(2, dhcpAck, h, xid, h.v4, w.gateway.v4))
}

// group is a multicast destination, of IPv4 (RFC 1112, section 6.4).
func group(a, b, c, d byte) *node {
	return &node{mac: models.MAC{1, 0, 0x5e, b & 0x7f, c, d}, v4: [4]byte{a, b, c, d}}
}

// discover is a host that looks for others or shows itself.
func (w *world) discover(p *proc, h *host) {
	switch p.rng.IntN(3) {
	case 0: // multicast DNS (RFC 6762)
		q := question{0, pick(p, []string{"_ipp._tcp.local", "_airplay._tcp.local", "_smb._tcp.local", "_googlecast._tcp.local"}), typePTR}
		b := append(p.s.scratch[:0], 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
		p.datagram(&h.node, group(224, 0, 0, 251), false, 5353, 5353, q.append(b))
		if pr := w.one(printer); q.name == "_ipp._tcp.local" && !pr.off {
			p.sleep(p.between(20*ms, 120*ms))
			b := append(p.s.scratch[:0], 0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0)
			r := record{q.name, typePTR, 4500, appendName(nil, pr.name+"._ipp._tcp.local")}
			p.datagram(&pr.node, group(224, 0, 0, 251), false, 5353, 5353, r.append(b))
		}
	case 1: // simple service discovery
		sport := h.ephemeral(p)
		for range 3 {
			p.datagram(&h.node, group(239, 255, 255, 250), false, sport, 1900,
				[]byte("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: upnp:rootdevice\r\n\r\n"))
			p.sleep(sec)
		}
		n := w.one(nas)
		p.datagram(&n.node, &h.node, false, 1900, sport, []byte(fmt.Sprintf(
			"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nLOCATION: http://%s:5000/desc.xml\r\nST: upnp:rootdevice\r\n\r\n", n.addr4())))
	default: // link-local name resolution (RFC 4795)
		q := question{uint16(p.rng.Uint32()), pick(p, w.inside).name, typeA}
		sport := h.ephemeral(p)
		for range 2 {
			b := binary.BigEndian.AppendUint16(p.s.scratch[:0], q.id)
			b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
			p.datagram(&h.node, group(224, 0, 0, 252), false, sport, 5355, q.append(b))
			p.sleep(410 * ms)
		}
	}
}

// boot is a machine that comes up: address, names, time, mail, news from its makers.
func (w *world) boot(p *proc, h *host) {
	w.lease(p, h, w.gateway)
	w.clock(p, h)
	for range p.between(4, 12) {
		w.report(p, h, pick(p, w.polls))
		p.sleep(p.expo(2 * sec))
	}
	if h.role == workstation && !h.linux {
		w.logon(p, h)
	}
	w.reputation(p, h)
	if p.chance(0.3) {
		w.download(p, h, w.update, p.size(5e6, 1, 200_000, 60<<20))
	}
}

// download fetches one large object.
func (w *world) download(p *proc, h *host, s *site, bytes int) {
	k := p.secure(h, s)
	if k == nil {
		return
	}
	k.ask(nil, 400, 20*ms, nil, bytes, tls)
	k.close(client)
}

// sharing is a client of a file-sharing network: many peers, most of them silent, unencrypted greetings (BEP 3), a table of hosts over
// UDP (BEP 5).
func (w *world) sharing(p *proc, h *host, end int64) {
	for p.at < end {
		peer := w.outsider(p.rng)
		peer.open = nil
		if p.chance(0.4) {
			peer.open = []uint16{6881}
		}
		switch p.rng.IntN(3) {
		case 0:
			p.spawn(func(p *proc) { w.seed(p, h, peer) })
		default:
			if !p.resolve(&h.node, peer, false) {
				return
			}
			id := string(p.random(nil, 20))
			p.datagram(&h.node, peer, false, 6881, 6881, []byte("d1:ad2:id20:"+id+"9:info_hash20:"+id+"e1:q9:get_peers1:t2:aa1:y1:qe"))
			if peer.open != nil {
				p.sleep(peer.rtt)
				p.datagram(peer, &h.node, false, 6881, 6881, []byte("d1:rd2:id20:"+id+"5:token4:abcd5:nodes0:e1:t2:aa1:y1:re"))
			}
		}
		p.sleep(p.expo(800 * ms))
	}
}

func (w *world) seed(p *proc, h *host, peer *node) {
	k := p.dialFrom(&h.node, peer, h.ephemeral(p), 6881, false)
	if k == nil {
		return
	}
	hello := append([]byte("\x13BitTorrent protocol"), make([]byte, 8)...)
	k.say(client, p.random(append([]byte(nil), hello...), 40))
	k.say(server, p.random(append([]byte(nil), hello...), 40))
	for range p.between(1, 30) {
		piece := []byte{0, 0, 0x40, 9, 7, 0, 0, 0, 1, 0, 0, 0, 0}
		up := p.chance(0.3)
		from, to := server, client
		if up {
			from, to = client, server
		}
		k.say(to, []byte{0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x40, 0})
		k.send(from, piece, 16384, random)
		k.pause(p.expo(2 * sec))
	}
	k.close(client)
}
