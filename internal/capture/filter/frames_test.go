package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"netlyra/internal/models"
)

// The addresses of the test's frames; the expressions are about them.
const (
	srcMAC = "02:00:00:00:00:01"
	dstMAC = "02:00:00:00:00:02"
	ip4A   = "10.1.2.3"
	ip4B   = "192.168.1.77"
	ip6A   = "2001:db8::1"
	ip6B   = "2001:db8:1::2"
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func ipv4(p layers.IPProtocol, a, b string) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: p, SrcIP: net.ParseIP(a), DstIP: net.ParseIP(b)}
}

func ipv6(p layers.IPProtocol, a, b string) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: net.ParseIP(a), DstIP: net.ParseIP(b)}
}

// raw is one layer's bytes as they are.
func raw(b ...byte) gopacket.Payload { return b }

// tcp is a TCP header without a checksum that anybody would look at.
func tcp(src, dst uint16, flags byte) gopacket.Payload {
	b := make([]byte, 20, 28)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[13] = 5<<4, flags
	return append(b, "GET / HT"...)
}

func udp(src, dst uint16) gopacket.Payload {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	return append(b, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
}

func sctp(src, dst uint16) gopacket.Payload {
	return append(udp(src, dst)[:4:4], 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 20)
}

// networkPackets are packets from their network header on, with their EtherType.
func networkPackets(t testing.TB) []packet {
	var all []packet
	add := func(etherType uint16, ls ...gopacket.SerializableLayer) {
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
			t.Fatal(err)
		}
		all = append(all, packet{etherType, append([]byte(nil), buf.Bytes()...)})
	}
	for _, pair := range [][2]string{{ip4A, ip4B}, {ip4B, ip4A}, {"10.255.0.1", "10.1.2.4"}, {"172.16.5.5", "224.0.0.251"}, {"0.0.0.0", "255.255.255.255"}} {
		a, b := pair[0], pair[1]
		add(etherIPv4, ipv4(layers.IPProtocolTCP, a, b), tcp(40000, 80, 0x02))
		add(etherIPv4, ipv4(layers.IPProtocolTCP, a, b), tcp(443, 40001, 0x12))
		add(etherIPv4, ipv4(layers.IPProtocolUDP, a, b), udp(53, 5353))
		add(etherIPv4, ipv4(layers.IPProtocolUDP, a, b), udp(40000, 85))
		add(etherIPv4, ipv4(layers.IPProtocolICMPv4, a, b), raw(8, 0, 0, 0, 0, 1, 0, 1))
	}
	a, b := ip4A, ip4B
	add(etherIPv4, ipv4(layers.IPProtocolTCP, a, b), tcp(80, 80, 0x10))
	add(etherIPv4, ipv4(layers.IPProtocolTCP, a, b), tcp(22, 40000, 0x11))
	add(etherIPv4, ipv4(layers.IPProtocolTCP, a, a), tcp(40000, 22, 0x18))
	add(etherIPv4, ipv4(layers.IPProtocolSCTP, a, b), sctp(80, 5000))
	add(etherIPv4, ipv4(layers.IPProtocolICMPv4, a, b), raw(3, 1, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 20))
	add(etherIPv4, ipv4(layers.IPProtocolIGMP, a, "224.0.0.22"), raw(0x22, 0, 0, 0, 0, 0, 0, 1))
	add(etherIPv4, ipv4(layers.IPProtocolESP, a, b), raw(0, 0, 0, 1, 0, 0, 0, 2))
	add(etherIPv4, ipv4(layers.IPProtocolAH, a, b), raw(6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1))
	add(etherIPv4, ipv4(103, a, b), raw(0x20, 0, 0, 0))
	add(etherIPv4, ipv4(layers.IPProtocolGRE, a, b), raw(0, 0, 8, 0, 0x45, 0))
	options := ipv4(layers.IPProtocolTCP, a, b)
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	add(etherIPv4, options, tcp(40000, 80, 0x02))
	for _, offset := range []uint16{0, 1, 100, 0x1fff} {
		for _, flags := range []layers.IPv4Flag{0, layers.IPv4MoreFragments, layers.IPv4DontFragment} {
			fragment := ipv4(layers.IPProtocolUDP, a, b)
			fragment.FragOffset, fragment.Flags = offset, flags
			add(etherIPv4, fragment, udp(53, 80))
			fragment = ipv4(layers.IPProtocolTCP, a, b)
			fragment.FragOffset, fragment.Flags = offset, flags
			add(etherIPv4, fragment, tcp(80, 53, 0x02))
		}
	}
	for _, pair := range [][2]string{{ip6A, ip6B}, {ip6B, ip6A}, {"fe80::1", "ff02::1"}, {"::", "::1"}, {"2001:db8:ffff::1", "2002::1"}} {
		a, b := pair[0], pair[1]
		add(etherIPv6, ipv6(layers.IPProtocolTCP, a, b), tcp(40000, 80, 0x02))
		add(etherIPv6, ipv6(layers.IPProtocolTCP, a, b), tcp(443, 40000, 0x12))
		add(etherIPv6, ipv6(layers.IPProtocolUDP, a, b), udp(53, 5353))
		add(etherIPv6, ipv6(layers.IPProtocolICMPv6, a, b), raw(128, 0, 0, 0, 0, 1, 0, 1))
	}
	a, b = ip6A, ip6B
	add(etherIPv6, ipv6(layers.IPProtocolSCTP, a, b), sctp(80, 5000))
	add(etherIPv6, ipv6(layers.IPProtocolICMPv6, a, b), raw(135, 0, 0, 0, 0, 0, 0, 0))
	for _, next := range []byte{protoTCP, protoUDP, protoICMPv6, protoSCTP, protoESP, 44} {
		add(etherIPv6, ipv6(layers.IPProtocolIPv6Fragment, a, b), raw(next, 0, 0, 1, 0, 0, 0, 9), tcp(80, 443, 0x02))
		add(etherIPv6, ipv6(layers.IPProtocolIPv6Fragment, a, b), raw(next, 0, 5, 1, 0, 0, 0, 9), udp(80, 443))
		add(etherIPv6, ipv6(layers.IPProtocolIPv6HopByHop, a, b), raw(next, 0, 1, 4, 0, 0, 0, 0), tcp(80, 443, 0x02))
		add(etherIPv6, ipv6(layers.IPProtocolIPv6Routing, a, b), raw(next, 0, 0, 0, 0, 0, 0, 0), udp(53, 443))
	}
	for _, op := range []byte{1, 2} {
		arp := []byte{0, 1, 8, 0, 6, 4, 0, op, 2, 0, 0, 0, 0, 1, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 192, 168, 1, 77}
		all = append(all, packet{etherARP, arp}, packet{etherRARP, arp})
	}
	return append(all, packet{0x88cc, []byte{2, 7, 4, 2, 0, 0, 0, 0, 1}}, packet{0x8847, append([]byte{0, 1, 0x01, 64}, all[0].data...)},
		packet{0x8864, append([]byte{0x11, 0, 0, 1, 0, 42, 0, 0x21}, all[0].data...)}, packet{0x0026, []byte{0x42, 0x42, 3, 0, 0, 0, 0, 0, 5, 6}},
		packet{0x0800, nil}, packet{0x9100, []byte{0, 5, 8, 0}}, packet{0x0000, make([]byte, 60)})
}

type packet struct {
	etherType uint16
	data      []byte
}

// tagged puts a VLAN tag before a packet.
func (p packet) tagged(tpid, tci uint16) packet {
	b := binary.BigEndian.AppendUint16(nil, tci)
	b = binary.BigEndian.AppendUint16(b, p.etherType)
	return packet{tpid, append(b, p.data...)}
}

// framesOf makes frames of a link type: whole, cut at every byte up to the end of the transport header, and altered at
// random.
func framesOf(t testing.TB, link models.LinkType) []models.Frame {
	packets := networkPackets(t)
	if link == models.LinkEthernet {
		for i, p := range packets {
			packets = append(packets, p.tagged(0x8100, uint16(5+i%3)|uint16(i%8)<<13), p.tagged(0x8100, 100).tagged(0x88a8, 5))
			if i%4 == 0 {
				packets = append(packets, p.tagged(0x9100, 4095), p.tagged(0x8100, 7).tagged(0x8100, 5).tagged(0x8100, 6))
			}
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var frames []models.Frame
	add := func(b []byte, wire int) {
		frames = append(frames, models.Frame{Data: b, WireLen: uint32(wire), Link: link})
	}
	for i, p := range packets {
		whole, ok := header(link, p, i)
		if !ok {
			continue
		}
		whole = append(whole, p.data...)
		add(whole, len(whole)+i%3*700)
		for n := range min(len(whole), 110) {
			if n%3 == i%3 {
				add(whole[:n], len(whole))
			}
		}
		for range 12 {
			if len(whole) == 0 {
				break
			}
			other := append([]byte(nil), whole...)
			for range 1 + rnd.IntN(3) {
				if at := rnd.IntN(min(len(other), 80)); rnd.IntN(2) == 0 {
					other[at] = byte(rnd.Uint32())
				} else {
					other[at] ^= 1 << rnd.IntN(8)
				}
			}
			cut := len(other)
			if rnd.IntN(4) == 0 {
				cut = rnd.IntN(cut + 1)
			}
			add(other[:cut], len(other))
		}
	}
	for range 300 {
		b := make([]byte, rnd.IntN(90))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		add(b, len(b))
	}
	return frames
}

// header is a link type's header of a packet. Not every link type can carry every packet.
func header(link models.LinkType, p packet, i int) ([]byte, bool) {
	withType := func(b []byte) []byte { return binary.BigEndian.AppendUint16(b, p.etherType) }
	ip := p.etherType == etherIPv4 || p.etherType == etherIPv6
	switch link {
	case models.LinkEthernet:
		dst := []string{dstMAC, "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb", "33:33:00:00:00:01", srcMAC}[i%5]
		return withType(append([]byte(mac(dst)), mac(srcMAC)...)), true
	case models.LinkSLL:
		return withType([]byte{0, byte(i % 5), 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}), true
	case models.LinkSLL2:
		return append(withType(nil), 0, 0, 0, 0, 0, 3, 0, 1, byte(i%5), 6, 2, 0, 0, 0, 0, 1, 0, 0), true
	case models.LinkNull:
		return []byte{map[bool]byte{true: 2, false: 10}[p.etherType == etherIPv4], 0, 0, 0}, ip
	case models.LinkLoop:
		return []byte{0, 0, 0, map[bool]byte{true: 2, false: 10}[p.etherType == etherIPv4]}, ip
	default:
		return nil, ip
	}
}
