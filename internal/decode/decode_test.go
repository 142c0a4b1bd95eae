package decode

import (
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"netlyra/internal/models"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	v4A  = net.IP{10, 0, 0, 1}
	v4B  = net.IP{10, 0, 0, 2}
	v6A  = net.ParseIP("2001:db8::1")
	v6B  = net.ParseIP("2001:db8::2")
)

func eth(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: t}
}

func ip4(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: v4A, DstIP: v4B}
}

func ip6(p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: v6A, DstIP: v6B}
}

// build serialises layers with lengths and checksums set.
func build(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	var under gopacket.NetworkLayer
	for _, l := range ls {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			under = n
		}
		if s, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok && under != nil {
			if err := s.SetNetworkLayerForChecksum(under); err != nil {
				t.Fatal(err)
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func tcp(src, dst int) *layers.TCP {
	return &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), Seq: 7, SYN: true, ACK: true, Window: 100}
}

func udp(src, dst int) *layers.UDP {
	return &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
}

func addr(ip net.IP) models.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return models.AddrFromNetip(a)
}

func decodeFrame(link models.LinkType, b []byte) (models.Packet, *Decoder, Verdict) {
	var d Decoder
	var p models.Packet
	v := d.Frame(&models.Frame{TS: 1, Data: b, WireLen: uint32(len(b)), Link: link}, &p)
	return p, &d, v
}

func TestFrameReadsEveryLayering(t *testing.T) {
	data := gopacket.Payload("hello world")
	inner := []gopacket.SerializableLayer{eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(40000, 443), data}
	withOuter := func(ls ...gopacket.SerializableLayer) []byte { return build(t, append(ls, inner...)...) }
	gre := func(p layers.EthernetType) *layers.GRE { return &layers.GRE{Protocol: p} }
	outer4 := func(p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 9, Protocol: p, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	}
	raw4 := build(t, ip4(layers.IPProtocolTCP), tcp(40000, 443), data)

	type want struct {
		src, dst net.IP
		vlan     [2]uint16
		nesting  uint8
	}
	v4 := want{src: v4A, dst: v4B}
	for _, tc := range []struct {
		name  string
		link  models.LinkType
		frame []byte
		want  want
	}{
		{"ethernet", models.LinkEthernet, build(t, inner...), v4},
		{"ipv6", models.LinkEthernet, build(t, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolTCP), tcp(40000, 443), data), want{src: v6A, dst: v6B}},
		{"802.1Q", models.LinkEthernet, build(t, eth(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}, ip4(layers.IPProtocolTCP), tcp(40000, 443), data), want{v4A, v4B, [2]uint16{5, 0}, 0}},
		{"QinQ", models.LinkEthernet, build(t, eth(layers.EthernetTypeQinQ), &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 6, Type: layers.EthernetTypeIPv4}, ip4(layers.IPProtocolTCP), tcp(40000, 443), data), want{v4A, v4B, [2]uint16{5, 6}, 0}},
		{"MPLS", models.LinkEthernet, build(t, eth(layers.EthernetTypeMPLSUnicast), &layers.MPLS{Label: 3}, &layers.MPLS{Label: 4, StackBottom: true}, ip4(layers.IPProtocolTCP), tcp(40000, 443), data), v4},
		{"MPLS pseudowire", models.LinkEthernet, withOuter(eth(layers.EthernetTypeMPLSUnicast), &layers.MPLS{Label: 4, StackBottom: true}, gopacket.Payload{0, 0, 0, 0}), want{v4A, v4B, [2]uint16{}, 1}},
		{"PPPoE", models.LinkEthernet, build(t, eth(layers.EthernetTypePPPoESession), &layers.PPPoE{Version: 1, Type: 1}, &layers.PPP{PPPType: layers.PPPTypeIPv4}, ip4(layers.IPProtocolTCP), tcp(40000, 443), data), v4},
		{"LLC SNAP", models.LinkEthernet, build(t, &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: 0, Length: 0}, &layers.LLC{DSAP: 0xaa, SSAP: 0xaa, Control: 3}, &layers.SNAP{OrganizationalCode: []byte{0, 0, 0}, Type: layers.EthernetTypeIPv4}, ip4(layers.IPProtocolTCP), tcp(40000, 443), data), v4},
		{"IPIP", models.LinkEthernet, build(t, eth(layers.EthernetTypeIPv4), outer4(layers.IPProtocolIPv4), ip4(layers.IPProtocolTCP), tcp(40000, 443), data), want{v4A, v4B, [2]uint16{}, 1}},
		{"6in4", models.LinkEthernet, build(t, eth(layers.EthernetTypeIPv4), outer4(layers.IPProtocolIPv6), ip6(layers.IPProtocolTCP), tcp(40000, 443), data), want{v6A, v6B, [2]uint16{}, 1}},
		{"GRE", models.LinkEthernet, build(t, eth(layers.EthernetTypeIPv4), outer4(layers.IPProtocolGRE), gre(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(40000, 443), data), want{v4A, v4B, [2]uint16{}, 1}},
		{"GRE bridging", models.LinkEthernet, withOuter(eth(layers.EthernetTypeIPv4), outer4(layers.IPProtocolGRE), gre(layers.EthernetTypeTransparentEthernetBridging)), want{v4A, v4B, [2]uint16{}, 1}},
		{"VXLAN", models.LinkEthernet, withOuter(eth(layers.EthernetTypeIPv4), outer4(layers.IPProtocolUDP), udp(1, portVXLAN), &layers.VXLAN{ValidIDFlag: true, VNI: 7}), want{v4A, v4B, [2]uint16{}, 1}},
		{"Geneve", models.LinkEthernet, withOuter(eth(layers.EthernetTypeIPv4), outer4(layers.IPProtocolUDP), udp(1, portGeneve), &layers.Geneve{Protocol: layers.EthernetTypeTransparentEthernetBridging, VNI: 7}), want{v4A, v4B, [2]uint16{}, 1}},
		{"hop-by-hop", models.LinkEthernet, build(t, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv6HopByHop), hopByHop(layers.IPProtocolTCP), tcp(40000, 443), data), want{src: v6A, dst: v6B}},
		{"raw", models.LinkRaw, raw4, v4},
		{"null little endian", models.LinkNull, append([]byte{2, 0, 0, 0}, raw4...), v4},
		{"null big endian", models.LinkNull, append([]byte{0, 0, 0, 2}, raw4...), v4},
		{"cooked v1", models.LinkSLL, append([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0}, raw4...), v4},
		{"cooked v2", models.LinkSLL2, append([]byte{8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, raw4...), v4},
		{"802.11", models.LinkRadiotap, append([]byte{
			0, 0, 9, 0, 2, 0, 0, 0, 0x10, // radiotap with flags: FCS at the end
			0x88, 1, 0, 0, 9, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, // QoS data to the DS
			0xaa, 0xaa, 3, 0, 0, 0, 8, 0,
		}, append(raw4, 1, 2, 3, 4)...), v4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _, v := decodeFrame(tc.link, tc.frame)
			if v != OK {
				t.Fatalf("verdict %v, want ok", v)
			}
			got := want{p.Src.Netip().AsSlice(), p.Dst.Netip().AsSlice(), [2]uint16{p.VLAN, p.InnerVLAN}, p.Nesting}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if p.Proto != models.ProtoTCP || p.SrcPort != 40000 || p.DstPort != 443 || p.Flags != models.SYN|models.ACK || p.Seq != 7 {
				t.Errorf("transport: %+v", p)
			}
			if string(p.Payload) != "hello world" || p.PayloadLen != 11 {
				t.Errorf("payload %q of %d bytes", p.Payload, p.PayloadLen)
			}
		})
	}
}

func hopByHop(next layers.IPProtocol) gopacket.SerializableLayer {
	return gopacket.Payload{byte(next), 0, 1, 4, 0, 0, 0, 0}
}

func TestMACsFollowTheDirectionOf80211(t *testing.T) {
	frame := append([]byte{0, 0, 8, 0, 0, 0, 0, 0, 0x08, 1, 0, 0, 9, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0},
		build(t, ip4(layers.IPProtocolTCP), tcp(1, 2))...)
	p, _, _ := decodeFrame(models.LinkRadiotap, frame)
	if p.SrcMAC.String() != macA.String() || p.DstMAC.String() != macB.String() {
		t.Errorf("%v -> %v, want %v -> %v", p.SrcMAC, p.DstMAC, macA, macB)
	}
}

func TestStrippedTagIsTheOuterOne(t *testing.T) {
	b := build(t, eth(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 6, Type: layers.EthernetTypeIPv4}, ip4(layers.IPProtocolTCP), tcp(1, 2))
	var d Decoder
	var p models.Packet
	if v := d.Frame(&models.Frame{Data: b, Link: models.LinkEthernet, TPID: 0x8100, TCI: 0xe005}, &p); v != OK {
		t.Fatal(v)
	}
	if p.VLAN != 5 || p.InnerVLAN != 6 {
		t.Errorf("VLAN %d, inner %d, want 5, 6", p.VLAN, p.InnerVLAN)
	}
}

func TestMalformed(t *testing.T) {
	good := build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(1, 2))
	edit := func(at int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = v
		return b
	}
	nested := build(t, ip4(layers.IPProtocolTCP), tcp(1, 2))
	for range MaxNesting + 1 {
		nested = build(t, ip4(layers.IPProtocolIPv4), gopacket.Payload(nested))
	}
	ext := []byte{}
	for range maxExtHeaders {
		ext = append(ext, protoDestOpts, 0, 1, 4, 0, 0, 0, 0)
	}
	for _, tc := range []struct {
		name string
		link models.LinkType
		b    []byte
		want Verdict
	}{
		{"empty", models.LinkEthernet, nil, LinkTruncated},
		{"runt", models.LinkEthernet, good[:13], LinkTruncated},
		{"no ip", models.LinkEthernet, good[:14], IPTruncated},
		{"half ip", models.LinkEthernet, good[:30], IPTruncated},
		{"version", models.LinkEthernet, edit(14, 0x95), IPVersion},
		{"header length", models.LinkEthernet, edit(14, 0x44), IPHeader},
		{"total length", models.LinkEthernet, edit(17, 19), IPLength},
		{"tcp cut", models.LinkEthernet, good[:46], TransportCut},
		{"tcp offset", models.LinkEthernet, edit(46, 0x40), TransportBad},
		{"tcp offset beyond the packet", models.LinkEthernet, edit(46, 0xf0), TransportBad},
		{"nesting", models.LinkRaw, nested, NestingTooBig},
		{"extension headers", models.LinkRaw, build(t, ip6(protoDestOpts), gopacket.Payload(ext)), ExtHeaders},
		{"arp", models.LinkEthernet, build(t, eth(layers.EthernetTypeARP), gopacket.Payload{0, 1, 8, 0, 6, 4, 0, 1})[:22], ARPTruncated},
		{"lldp", models.LinkEthernet, build(t, eth(layers.EthernetTypeLinkLayerDiscovery), gopacket.Payload{0}), NonIP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, _, v := decodeFrame(tc.link, tc.b); v != tc.want {
				t.Errorf("verdict %v, want %v", v, tc.want)
			}
		})
	}
}

func TestTunnelThatIsNoneCountsAsItsOutside(t *testing.T) {
	b := build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), udp(9, portVXLAN), gopacket.Payload("not VXLAN at all"))
	p, _, v := decodeFrame(models.LinkEthernet, b)
	if v != OK || p.DstPort != portVXLAN || p.Nesting != 0 || string(p.Payload) != "not VXLAN at all" {
		t.Errorf("%v %+v", v, p)
	}
}

func TestFragments(t *testing.T) {
	whole := ip4(layers.IPProtocolUDP)
	whole.Flags = layers.IPv4MoreFragments
	first := build(t, eth(layers.EthernetTypeIPv4), whole, udp(5, 53), gopacket.Payload(make([]byte, 24)))
	later := ip4(layers.IPProtocolUDP)
	later.FragOffset = 4
	tail := build(t, eth(layers.EthernetTypeIPv4), later, gopacket.Payload("tail"))
	frag6 := func(field uint16, data gopacket.Payload) []byte {
		return build(t, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolIPv6Fragment), gopacket.Payload{17, 0, byte(field >> 8), byte(field), 0, 0, 0, 1}, data)
	}
	for _, tc := range []struct {
		name string
		b    []byte
		frag models.Frag
		port uint16
	}{
		{"v4 first", first, models.FragFirst, 53},
		{"v4 later", tail, models.FragLater, 0},
		{"v6 first", frag6(1, gopacket.Payload{0, 5, 0, 53, 0, 32, 0, 0, 1}), models.FragFirst, 53},
		{"v6 later", frag6(8, gopacket.Payload{0, 5, 0, 53, 0, 32, 0, 0, 1}), models.FragLater, 0},
		{"v6 atomic", frag6(0, gopacket.Payload{0, 5, 0, 53, 0, 9, 0, 0, 1}), models.FragNone, 53},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _, v := decodeFrame(models.LinkEthernet, tc.b)
			if v != OK || p.Frag != tc.frag || p.DstPort != tc.port || p.Proto != models.ProtoUDP {
				t.Errorf("%v frag %d port %d proto %v", v, p.Frag, p.DstPort, p.Proto)
			}
		})
	}
}

func TestDNS(t *testing.T) {
	msg := &layers.DNS{
		ID: 1, QR: true, ResponseCode: layers.DNSResponseCodeNXDomain,
		Questions: []layers.DNSQuestion{{Name: []byte("WWW.Example.com"), Type: layers.DNSTypeAAAA, Class: layers.DNSClassIN}},
	}
	raw := build(t, msg)
	for _, tc := range []struct {
		name string
		b    []byte
	}{
		{"udp", build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), udp(53, 4000), msg)},
		{"tcp", build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(53, 4000), gopacket.Payload(append([]byte{0, byte(len(raw))}, raw...)))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, d, _ := decodeFrame(models.LinkEthernet, tc.b)
			if got := string(p.DNSQuestion.In(d.Arena)); got != "www.example.com" || p.DNSQType != 28 || !p.DNSAnswer || p.DNSRcode != 3 {
				t.Errorf("question %q type %d answer %v code %d", got, p.DNSQType, p.DNSAnswer, p.DNSRcode)
			}
		})
	}
}

func TestARP(t *testing.T) {
	b := build(t, eth(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: 2, SourceHwAddress: macA, SourceProtAddress: v4A, DstHwAddress: macB, DstProtAddress: v4B,
	})
	p, _, v := decodeFrame(models.LinkEthernet, b)
	if v != OK || p.Proto != models.ProtoARP || p.ARPOp != 2 || p.Src != addr(v4A) || p.Dst != addr(v4B) || p.ARPSenderMAC.String() != macA.String() {
		t.Errorf("%v %+v", v, p)
	}
}

func shannon(b []byte) float64 {
	var counts [256]float64
	for _, v := range b {
		counts[v]++
	}
	var h float64
	for _, c := range counts {
		if c > 0 {
			h -= c / float64(len(b)) * math.Log2(c/float64(len(b)))
		}
	}
	return h
}

func TestEntropyIsExactTo1e4Bit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var d Decoder
	for _, n := range []int{0, 1, 2, 3, 16, 95, 96, 97, 112, 255, 1400, 1460, 9000, 16383, 16384, 40000, 65535} {
		for _, alphabet := range []int{1, 2, 7, 100, 256} {
			b := make([]byte, n)
			for i := range b {
				b[i] = byte(rng.IntN(alphabet))
			}
			want := shannon(b)
			if got := float64(d.Entropy(b)) / 1e4; math.Abs(got-want) > 0.5001e-4 {
				t.Errorf("%d bytes of %d values: %.6f, want %.6f", n, alphabet, got, want)
			}
		}
	}
	if d.hist != (histogram{}) {
		t.Error("the histogram is not left clean")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	frames := [][]byte{
		build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(1, 2), gopacket.Payload(make([]byte, 1000))),
		build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), udp(53, 4), &layers.DNS{Questions: []layers.DNSQuestion{{Name: []byte("a.b"), Type: 1, Class: 1}}}),
		build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), udp(1, portVXLAN), &layers.VXLAN{ValidIDFlag: true}, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolTCP), tcp(1, 2)),
	}
	d := Decoder{Arena: make([]byte, 0, 1024)}
	var p models.Packet
	if n := testing.AllocsPerRun(100, func() {
		d.Reset()
		for _, b := range frames {
			d.Frame(&models.Frame{Data: b, Link: models.LinkEthernet}, &p)
			p.Entropy = d.Entropy(p.Payload)
		}
	}); n != 0 {
		t.Errorf("%v allocations for three packets, want 0", n)
	}
}

// FuzzFrame holds what must be true of any input: no panic, texts and payload inside what they point into, lengths sane.
// Where gopacket, decoding the same Ethernet frame, finds one IP layer and a transport layer without an error, so must we, with the same fields.
func FuzzFrame(f *testing.F) {
	for _, b := range [][]byte{
		build(f, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(1, 2), gopacket.Payload("x")),
		build(f, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolUDP), udp(53, 2), gopacket.Payload("xyz")),
		build(f, eth(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}, ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: 0x0800}),
		build(f, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), udp(1, portVXLAN), &layers.VXLAN{ValidIDFlag: true}, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolTCP), tcp(1, 2)),
		build(f, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}, ip4(layers.IPProtocolTCP), tcp(3, 4)),
		build(f, eth(layers.EthernetTypeMPLSUnicast), &layers.MPLS{StackBottom: true}, ip4(layers.IPProtocolTCP), tcp(3, 4)),
	} {
		f.Add(uint16(models.LinkEthernet), b)
	}
	f.Add(uint16(models.LinkRadiotap), []byte{0, 0, 8, 0, 0, 0, 0, 0, 8, 0})
	f.Fuzz(func(t *testing.T, link uint16, b []byte) {
		p, d, v := decodeFrame(models.LinkType(link), b)
		if int(v) >= NumVerdicts {
			t.Fatalf("verdict %d", v)
		}
		if len(p.Payload) > len(b) || p.Nesting > MaxNesting {
			t.Fatalf("payload of %d bytes from %d, nesting %d", len(p.Payload), len(b), p.Nesting)
		}
		if v == OK && p.PayloadLen > 1<<17+uint32(len(b)) {
			t.Fatalf("payload length %d", p.PayloadLen)
		}
		if p.DNSQuestion.Len > 0 && p.DNSQuestion.In(d.Arena) == nil {
			t.Fatal("question outside the arena")
		}
		if d.Entropy(p.Payload) > 80_000 {
			t.Fatal("entropy above 8 bit")
		}
		if models.LinkType(link) == models.LinkEthernet {
			compareWithGopacket(t, b, p, v)
		}
	})
}

func compareWithGopacket(t *testing.T, b []byte, p models.Packet, v Verdict) {
	t.Helper()
	var (
		e    layers.Ethernet
		i4   layers.IPv4
		i6   layers.IPv6
		tc   layers.TCP
		ud   layers.UDP
		seen []gopacket.LayerType
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &e, &i4, &i6, &tc, &ud)
	parser.IgnoreUnsupported = true
	if err := parser.DecodeLayers(b, &seen); err != nil || parser.Truncated || len(seen) != 3 || v == TransportBad {
		return
	}
	var src, dst uint16
	switch seen[2] {
	case layers.LayerTypeTCP:
		src, dst = uint16(tc.SrcPort), uint16(tc.DstPort)
	case layers.LayerTypeUDP:
		src, dst = uint16(ud.SrcPort), uint16(ud.DstPort)
	default:
		return
	}
	want := models.Packet{PacketMeta: models.PacketMeta{SrcPort: src, DstPort: dst}}
	switch seen[1] {
	case layers.LayerTypeIPv4:
		want.Src, want.Dst = addr(i4.SrcIP), addr(i4.DstIP)
	case layers.LayerTypeIPv6:
		want.Src, want.Dst = addr(i6.SrcIP), addr(i6.DstIP)
	default:
		return
	}
	if p.Nesting > 0 || p.Frag == models.FragLater {
		return // gopacket stopped before the tunnel
	}
	if v != OK {
		t.Fatalf("verdict %v where gopacket reads %v", v, seen)
	}
	got := models.Packet{PacketMeta: models.PacketMeta{Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("(-gopacket +ours)\n%s", diff)
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, tc := range []struct {
		name  string
		frame []byte
	}{
		{"v4-tcp", build(b, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(1, 2))},
		{"vxlan", build(b, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolUDP), udp(1, portVXLAN), &layers.VXLAN{ValidIDFlag: true}, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolTCP), tcp(1, 2))},
	} {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(tc.frame)))
			var d Decoder
			var p models.Packet
			f := models.Frame{Data: tc.frame, Link: models.LinkEthernet}
			for b.Loop() {
				d.Frame(&f, &p)
			}
		})
	}
}

func BenchmarkEntropy(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{16, 64, 128, 512, 1400} {
		payloads := make([][]byte, 64)
		for i := range payloads {
			payloads[i] = make([]byte, n)
			for j := range payloads[i] {
				payloads[i][j] = byte(rng.Uint32())
			}
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			var d Decoder
			i := 0
			for b.Loop() {
				d.Entropy(payloads[i&63])
				i++
			}
		})
	}
}
