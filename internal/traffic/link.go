package traffic

import (
	"encoding/binary"

	"netlyra/internal/models"
)

// ARP (RFC 826) and neighbour discovery (RFC 4861).
const (
	arpRequest = 1
	arpReply   = 2

	neighbourKnown = 4 * minute // until it is asked for again
)

func broadcast() models.MAC { return models.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// arp sends one ARP packet.
func (p *proc) arp(from, to models.MAC, op uint16, senderMAC models.MAC, sender [4]byte, targetMAC models.MAC, target [4]byte) {
	frame, b := p.ether(from, to, 0x0806, 28)
	binary.BigEndian.PutUint64(b, 0x0001_0800_0604_0000|uint64(op)) // Ethernet, IPv4, their lengths
	copy(b[8:], senderMAC[:])
	copy(b[14:], sender[:])
	copy(b[18:], targetMAC[:])
	copy(b[24:], target[:])
	p.send(frame)
}

// whoHas asks for an address.
func (p *proc) whoHas(n *node, target [4]byte) {
	p.arp(n.mac, broadcast(), arpRequest, n.mac, n.v4, models.MAC{}, target)
}

// isAt answers a question of to's.
func (p *proc) isAt(n, to *node) { p.arp(n.mac, to.mac, arpReply, n.mac, n.v4, to.mac, to.v4) }

// announce is a gratuitous ARP (RFC 5227, section 3).
func (p *proc) announce(n *node) {
	p.arp(n.mac, broadcast(), arpRequest, n.mac, n.v4, models.MAC{}, n.v4)
}

// resolve has a learn the hardware address that leads to b, unless it knows it, and says whether it does. What is outside the office
// is reached through the gateway, and whoever comes from there needs nothing: the gateway knows.
func (p *proc) resolve(a, b *node, six bool) bool {
	gw := p.s.world.gateway
	if a.outside {
		a = gw
	}
	if b.outside {
		b = gw
	}
	if a == b || a.neigh[b] > p.at {
		return true
	}
	for range 3 {
		if six {
			p.solicit(a, b)
		} else {
			p.whoHas(a, b.v4)
		}
		if !b.off {
			p.sleep(p.between(60, 400))
			if six {
				p.advertise(b, a)
			} else {
				p.isAt(b, a)
			}
			a.know(b, p.at+p.about(neighbourKnown, 0.5))
			b.know(a, p.at+p.about(neighbourKnown, 0.5))
			p.sleep(p.between(20, 80))
			return true
		}
		p.sleep(sec)
	}
	return false
}

func (n *node) know(o *node, until int64) {
	if n.neigh == nil {
		n.neigh = map[*node]int64{}
	}
	n.neigh[o] = until
}

// icmp6 begins a message between link-scope addresses, with the hop limit of 255 that neighbour discovery demands.
func (p *proc) icmp6(srcMAC, dstMAC models.MAC, src, dst [16]byte, kind, code byte, n int) segment {
	frame, ip, seg := p.header6(srcMAC, dstMAC, src, dst, protoICMPv6, 255, 8+n)
	binary.BigEndian.PutUint64(seg, uint64(kind)<<56|uint64(code)<<48)
	return segment{frame, ip, seg, seg[8:], protoICMPv6}
}

// solicit asks for b's hardware address (RFC 4861, section 4.3).
func (p *proc) solicit(a, b *node) { p.solicitFor(a, b.v6) }

func (p *proc) solicitFor(a *node, target [16]byte) {
	group := [16]byte{0xff, 2, 11: 1, 12: 0xff, 13: target[13], 14: target[14], 15: target[15]}
	g := p.icmp6(a.mac, models.MAC{0x33, 0x33, 0xff, target[13], target[14], target[15]}, linkLocal(a.mac), group, 135, 0, 24)
	copy(g.payload, target[:])
	g.payload[16], g.payload[17] = 1, 1 // option: source link-layer address
	copy(g.payload[18:], a.mac[:])
	p.flush(g)
}

// advertise answers (RFC 4861, section 4.4).
func (p *proc) advertise(a, to *node) {
	g := p.icmp6(a.mac, to.mac, a.v6, linkLocal(to.mac), 136, 0, 24)
	g.seg[4] = 0x60 // solicited, override
	copy(g.payload, a.v6[:])
	g.payload[16], g.payload[17] = 2, 1 // option: target link-layer address
	copy(g.payload[18:], a.mac[:])
	p.flush(g)
}

// routerAdvertisement is the gateway's word on the prefix (RFC 4861, section 4.2).
func (p *proc) routerAdvertisement(gw *node) {
	g := p.icmp6(gw.mac, models.MAC{0x33, 0x33, 0, 0, 0, 1}, linkLocal(gw.mac), [16]byte{0xff, 2, 15: 1}, 134, 0, 48)
	g.seg[4] = 64
	binary.BigEndian.PutUint16(g.seg[6:], 1800)
	clear(g.payload)
	o := g.payload[8:] // reachable and retransmission time unspecified
	o[0], o[1], o[2], o[3] = 3, 4, 64, 0xc0
	binary.BigEndian.PutUint32(o[4:], 86400)
	binary.BigEndian.PutUint32(o[8:], 14400)
	copy(o[16:], gw.v6[:8])
	o[32], o[33] = 1, 1
	copy(o[34:], gw.mac[:])
	p.flush(g)
}

// The ICMP types that are sent, of both versions.
const (
	echoReply    = 0
	echoRequest  = 8
	echoRequest6 = 128
	echoReply6   = 129
)

// echo sends an echo request or reply of either version with n bytes of a kind.
func (p *proc) echo(src, dst *node, six, reply bool, id, seq uint16, head []byte, n int, what kind) {
	proto, t := byte(protoICMP), byte(echoRequest)
	switch {
	case six && reply:
		proto, t = protoICMPv6, echoReply6
	case six:
		proto, t = protoICMPv6, echoRequest6
	case reply:
		t = echoReply
	}
	frame, ip, seg := p.header(src, dst, six, proto, 8+len(head)+n)
	binary.BigEndian.PutUint32(seg, uint32(t)<<24)
	binary.BigEndian.PutUint16(seg[4:], id)
	binary.BigEndian.PutUint16(seg[6:], seq)
	copy(seg[8:], head)
	p.s.bodies.fill(p.rng, seg[8+len(head):], what)
	p.sealICMP(frame, ip, seg, proto)
}

func (p *proc) sealICMP(frame, ip, seg []byte, proto byte) {
	c := fold(sum(seg))
	if proto == protoICMPv6 {
		c = checksum(ip, seg, proto)
	}
	binary.BigEndian.PutUint16(seg[2:], c)
	p.send(frame)
}

// ping is a request and its answer; the answer carries the same bytes. It says whether there was one.
func (p *proc) ping(src, dst *node, six bool, id, seq uint16, n int) bool {
	if !p.resolve(src, dst, six) {
		return false
	}
	p.echo(src, dst, six, false, id, seq, p.pattern(n), 0, zeros)
	if dst.off {
		return false
	}
	p.sleep(dst.rtt + p.between(10, 90))
	p.echo(dst, src, six, true, id, seq, p.pattern(n), 0, zeros)
	return true
}

// pattern is what ping programs send; it is valid until the next sleep.
func (p *proc) pattern(n int) []byte {
	b := p.s.scratch[:0]
	for i := range n {
		b = append(b, 'a'+byte(i%23))
	}
	return b
}
