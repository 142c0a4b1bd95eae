package traffic

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"netlyra/internal/models"
)

// node is an end of conversations: a host of the office, or somebody outside, whose frames come from the gateway.
type node struct {
	mac     models.MAC
	v4      [4]byte
	v6      [16]byte // global
	six     bool     // has a global IPv6 address
	outside bool
	ttl     byte  // as it is seen here
	rtt     int64 // from the point of capture to it and back
	rate    int64 // bytes a millisecond that it sends at most
	ipid    uint16
	ports   uint16 // the last ephemeral port
	off     bool   // answers nobody
	open    []uint16
	neigh   map[*node]int64 // until when a neighbour's hardware address is known
}

// The protocols, and sizes of headers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoVRRP   = 112

	etherBytes = 14
	v4Bytes    = 20
	v6Bytes    = 40
	tcpBytes   = 20
	udpBytes   = 8
	minFrame   = 60
	mtu        = 1500
)

func (n *node) addr4() string { return netip.AddrFrom4(n.v4).String() }

// addrs are all texts under which an alert may name the node.
func (n *node) addrs() []string {
	a := []string{n.addr4()}
	if n.six {
		a = append(a, netip.AddrFrom16(n.v6).String())
	}
	if !n.outside {
		a = append(a, netip.AddrFrom16(linkLocal(n.mac)).String())
	}
	return a
}

// linkLocal is the address that a hardware address gives (RFC 4291, appendix A).
func linkLocal(m models.MAC) [16]byte {
	return [16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}
}

// ephemeral is the next port for a connection of the node's own.
func (n *node) ephemeral(p *proc) uint16 {
	const first, count = 49152, 16384
	n.ports = first + (n.ports-first+1+uint16(p.rng.IntN(3)))%count
	return n.ports
}

// listens says whether a port of the node is open.
func (n *node) listens(port uint16) bool {
	return slices.Contains(n.open, port)
}

// ether begins a frame for n bytes above Ethernet and returns them. The padding is there and zero.
func (p *proc) ether(src, dst models.MAC, kind uint16, n int) (frame, rest []byte) {
	f := p.s.alloc(max(etherBytes+n, minFrame))
	if len(f) > etherBytes+n {
		clear(f[etherBytes+n:])
	}
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], kind)
	return f, f[etherBytes : etherBytes+n]
}

// header begins a frame with Ethernet and IP headers for n bytes of transport between two nodes.
func (p *proc) header(src, dst *node, six bool, proto byte, n int) (frame, ip, seg []byte) {
	if six {
		return p.header6(src.mac, dst.mac, src.v6, dst.v6, proto, src.ttl, n)
	}
	src.ipid++
	return p.header4(src.mac, dst.mac, src.v4, dst.v4, proto, src.ttl, src.ipid, n)
}

func (p *proc) header4(srcMAC, dstMAC models.MAC, src, dst [4]byte, proto, ttl byte, id uint16, n int) (frame, ip, seg []byte) {
	frame, ip = p.ether(srcMAC, dstMAC, 0x0800, v4Bytes+n)
	binary.BigEndian.PutUint32(ip, 0x45000000|uint32(v4Bytes+n))
	binary.BigEndian.PutUint32(ip[4:], uint32(id)<<16|0x4000) // do not fragment
	ip[8], ip[9], ip[10], ip[11] = ttl, proto, 0, 0
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], fold(sum(ip[:v4Bytes])))
	return frame, ip, ip[v4Bytes:]
}

func (p *proc) header6(srcMAC, dstMAC models.MAC, src, dst [16]byte, proto, ttl byte, n int) (frame, ip, seg []byte) {
	frame, ip = p.ether(srcMAC, dstMAC, 0x86dd, v6Bytes+n)
	binary.BigEndian.PutUint32(ip, 0x60000000)
	binary.BigEndian.PutUint16(ip[4:], uint16(n))
	ip[6], ip[7] = proto, ttl
	copy(ip[8:], src[:])
	copy(ip[24:], dst[:])
	return frame, ip, ip[v6Bytes:]
}

// checksum is that of a transport segment with its pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1).
func checksum(ip, seg []byte, proto byte) uint16 {
	addresses := ip[12:20]
	if ip[0]>>4 == 6 {
		addresses = ip[8:40]
	}
	return fold(sum(addresses) + sum(seg) + uint64(proto) + uint64(len(seg)))
}

// sum is the sum of 16-bit words (RFC 1071), folded only so far that it cannot overflow when a few are added. It adds 64 bits at a time: the
// sum of 16-bit words modulo 2^16-1 is that of wider words.
func sum(b []byte) uint64 {
	var s, carry uint64
	for ; len(b) >= 8; b = b[8:] {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), carry)
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(last[:]), carry)
	}
	s, carry = bits.Add64(s, 0, carry)
	s += carry
	return s>>32 + s&0xffffffff
}

func fold(s uint64) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// The TCP flags.
const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagPSH = 8
	flagACK = 16
)

// tcp builds one segment's frame without a payload's content, and returns the payload and what seals the checksum.
func (p *proc) tcp(src, dst *node, six bool, sport, dport uint16, seq, ack uint32, flags byte, n int) segment {
	options := 0
	if flags&flagSYN != 0 {
		options = 12
	}
	frame, ip, seg := p.header(src, dst, six, protoTCP, tcpBytes+options+n)
	binary.BigEndian.PutUint16(seg, sport)
	binary.BigEndian.PutUint16(seg[2:], dport)
	binary.BigEndian.PutUint32(seg[4:], seq)
	binary.BigEndian.PutUint32(seg[8:], ack)
	seg[12], seg[13] = byte((tcpBytes+options)/4)<<4, flags
	binary.BigEndian.PutUint32(seg[16:], 0)
	window := uint16(1026)
	if flags&flagSYN != 0 {
		window = 64240
		mss := uint16(mtu - v4Bytes - tcpBytes)
		if six {
			mss = mtu - v6Bytes - tcpBytes
		}
		copy(seg[tcpBytes:], []byte{2, 4, byte(mss >> 8), byte(mss), 1, 3, 3, 8, 1, 1, 4, 2}) // size, window scale, selective ACK
	}
	if flags&flagRST != 0 {
		window = 0
	}
	binary.BigEndian.PutUint16(seg[14:], window)
	return segment{frame, ip, seg, seg[tcpBytes+options:], protoTCP}
}

// segment is a frame whose checksum is still missing.
type segment struct {
	frame, ip, seg, payload []byte
	proto                   byte
}

// flush completes a segment and sends it.
func (p *proc) flush(g segment) {
	at, seg := 16, g.seg
	switch g.proto {
	case protoUDP:
		at = 6
	case protoICMPv6:
		at = 2
	}
	c := checksum(g.ip, seg, g.proto)
	if c == 0 && g.proto == protoUDP {
		c = 0xffff // 0 means that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(seg[at:], c)
	p.send(g.frame)
}

// bare sends a segment without payload.
func (p *proc) bare(src, dst *node, six bool, sport, dport uint16, seq, ack uint32, flags byte) {
	p.flush(p.tcp(src, dst, six, sport, dport, seq, ack, flags, 0))
}

// udp begins a datagram with n bytes of payload; it must fit a frame.
func (p *proc) udp(src, dst *node, six bool, sport, dport uint16, n int) segment {
	frame, ip, seg := p.header(src, dst, six, protoUDP, udpBytes+n)
	udpHeader(seg, sport, dport)
	return segment{frame, ip, seg, seg[udpBytes:], protoUDP}
}

func udpHeader(seg []byte, sport, dport uint16) {
	binary.BigEndian.PutUint16(seg, sport)
	binary.BigEndian.PutUint16(seg[2:], dport)
	binary.BigEndian.PutUint16(seg[4:], uint16(len(seg)))
	binary.BigEndian.PutUint16(seg[6:], 0)
}

// datagram sends a payload over UDP, in fragments where it is too long for a frame (RFC 791, section 3.2; only IPv4).
func (p *proc) datagram(src, dst *node, six bool, sport, dport uint16, payload []byte) {
	if !six && len(payload) > mtu-v4Bytes-udpBytes {
		p.fragments(src, dst, sport, dport, payload)
		return
	}
	g := p.udp(src, dst, six, sport, dport, len(payload))
	copy(g.payload, payload)
	p.flush(g)
}

// noise sends a datagram that starts with head and goes on with n bytes of a kind.
func (p *proc) noise(src, dst *node, six bool, sport, dport uint16, head []byte, n int, k kind) {
	g := p.udp(src, dst, six, sport, dport, len(head)+n)
	copy(g.payload, head)
	p.s.bodies.fill(p.rng, g.payload[len(head):], k)
	p.flush(g)
}

func (p *proc) fragments(src, dst *node, sport, dport uint16, payload []byte) {
	const step = 1480 // a multiple of 8
	whole := make([]byte, udpBytes+len(payload))
	udpHeader(whole, sport, dport)
	copy(whole[udpBytes:], payload)
	pseudo := [v4Bytes]byte{0: 0x45}
	copy(pseudo[12:], src.v4[:])
	copy(pseudo[16:], dst.v4[:])
	binary.BigEndian.PutUint16(whole[6:], checksum(pseudo[:], whole, protoUDP))
	src.ipid++
	for at := 0; at < len(whole); at += step {
		n := min(step, len(whole)-at)
		frame, ip, seg := p.header4(src.mac, dst.mac, src.v4, dst.v4, protoUDP, src.ttl, src.ipid, n)
		field := uint16(at / 8)
		if at+n < len(whole) {
			field |= 0x2000 // more follow
		}
		binary.BigEndian.PutUint16(ip[6:], field)
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], fold(sum(ip[:v4Bytes])))
		copy(seg, whole[at:])
		p.send(frame)
	}
}
