package bus

import (
	"strconv"
	"time"
	"unicode/utf8"

	"netlyra/internal/models"
)

// PacketEncoder writes the records of TopicPackets of one sensor as JSON, the form of docs/wire-format.md. It allocates
// nothing but what dst needs to grow, and is not for several goroutines at once.
type PacketEncoder struct {
	sensor    []byte // the member `,"sensor":"…"`; empty without a name
	ts, start stamp
}

// NewPacketEncoder makes an encoder for a sensor's packets; "" leaves the member out.
func NewPacketEncoder(sensor string) *PacketEncoder {
	e := &PacketEncoder{}
	if sensor != "" {
		e.sensor = appendText([]byte(`,"sensor":`), []byte(sensor))
	}
	return e
}

// Append adds p, whose texts are in arena, to dst. A canonical packet is read back as it was; bytes of a text that are
// not UTF-8 become U+FFFD, times outside of the years 0 to 9999 their nearest bound.
func (e *PacketEncoder) Append(dst []byte, p *models.PacketMeta, arena []byte) []byte {
	dst = e.ts.append(append(dst, `{"ts":"`...), p.TS)
	dst = appendAddr(append(dst, `","src_ip":"`...), p.Src)
	dst = appendAddr(append(dst, `","dst_ip":"`...), p.Dst)
	dst = appendUint(append(dst, `","src_port":`...), uint32(p.SrcPort))
	dst = appendUint(append(dst, `,"dst_port":`...), uint32(p.DstPort))
	dst = appendProto(append(dst, `,"proto":"`...), p.Proto)
	dst = appendUint(append(dst, `","payload_len":`...), p.PayloadLen)
	dst = append(append(dst, `,"tcp_flags":"`...), p.Flags.String()...)
	dst = appendEntropy(append(dst, `","entropy":`...), p.Entropy)
	dst = append(dst, e.sensor...)
	dst = e.appendLink(dst, p)
	dst = appendProtocols(dst, p, arena)
	return append(dst, '}')
}

// LineEncoder gives functions, one for each worker, that append a packet's record and a line feed, as a file or a pipe has them.
func LineEncoder(sensor string) func() func(dst []byte, p *models.PacketMeta, arena []byte) []byte {
	return func() func([]byte, *models.PacketMeta, []byte) []byte {
		enc := NewPacketEncoder(sensor)
		return func(dst []byte, p *models.PacketMeta, arena []byte) []byte {
			return append(enc.Append(dst, p, arena), '\n')
		}
	}
}

// AppendWatermark adds the record that closes a slot.
func (e *PacketEncoder) AppendWatermark(dst []byte, w Watermark) []byte {
	dst = e.ts.append(append(dst, `{"ts":"`...), int64(w.TS))
	dst = append(append(dst, '"'), e.sensor...)
	dst = strconv.AppendInt(append(dst, `,"watermark":true,"slot":`...), w.Slot, 10)
	dst = strconv.AppendUint(append(dst, `,"received":`...), w.Received, 10)
	dst = strconv.AppendUint(append(dst, `,"lost":`...), w.Lost, 10)
	dst = strconv.AppendUint(append(dst, `,"epoch":`...), w.Epoch, 10)
	return append(dst, '}')
}

// appendLink adds the optional members about the connection, the frame and its tunnels.
func (e *PacketEncoder) appendLink(dst []byte, p *models.PacketMeta) []byte {
	if p.Dir != models.DirNone {
		dst = append(append(append(dst, `,"dir":"`...), p.Dir.String()...), '"')
	}
	if p.ConnStart != 0 {
		dst = append(e.start.append(append(dst, `,"conn_start":"`...), p.ConnStart), '"')
	}
	if p.ConnNew {
		dst = append(dst, `,"conn_new":true`...)
	}
	if p.ConnEstablished {
		dst = append(dst, `,"conn_established":true`...)
	}
	dst = appendMember(dst, `,"wire_len":`, p.WireLen)
	dst = appendMember(dst, `,"vlan":`, uint32(p.VLAN))
	dst = appendMember(dst, `,"inner_vlan":`, uint32(p.InnerVLAN))
	dst = appendMAC(dst, `,"src_mac":"`, p.SrcMAC)
	dst = appendMAC(dst, `,"dst_mac":"`, p.DstMAC)
	switch p.Frag {
	case models.FragFirst:
		dst = append(dst, `,"frag":"first"`...)
	case models.FragLater:
		dst = append(dst, `,"frag":"later"`...)
	case models.FragNone:
	}
	return appendMember(dst, `,"nesting":`, uint32(p.Nesting))
}

// appendProtocols adds the optional members about ICMP, ARP, DNS and TLS.
func appendProtocols(dst []byte, p *models.PacketMeta, arena []byte) []byte {
	if hasICMP(p) {
		dst = appendUint(append(dst, `,"icmp_type":`...), uint32(p.ICMPType))
		dst = appendUint(append(dst, `,"icmp_code":`...), uint32(p.ICMPCode))
	}
	dst = appendMember(dst, `,"arp_op":`, uint32(p.ARPOp))
	dst = appendMAC(dst, `,"arp_sender_mac":"`, p.ARPSenderMAC)
	dst = appendMAC(dst, `,"arp_target_mac":"`, p.ARPTargetMAC)
	dst = appendTextMember(dst, `,"dns_question":`, p.DNSQuestion, arena)
	dst = appendMember(dst, `,"dns_qtype":`, uint32(p.DNSQType))
	if p.DNSAnswer {
		dst = appendUint(append(dst, `,"dns_rcode":`...), uint32(p.DNSRcode))
	}
	dst = appendTextMember(dst, `,"tls_sni":`, p.SNI, arena)
	return appendTextMember(dst, `,"tls_ja4":`, p.JA4, arena)
}

// hasICMP says whether the packet has an ICMP type, of which 0 is one (echo reply): a later fragment has none.
func hasICMP(p *models.PacketMeta) bool {
	return (p.Proto == models.ProtoICMP || p.Proto == models.ProtoICMPv6) && p.Frag != models.FragLater
}

func appendMember(dst []byte, name string, v uint32) []byte {
	if v == 0 {
		return dst
	}
	return appendUint(append(dst, name...), v)
}

func appendMAC(dst []byte, name string, m models.MAC) []byte {
	if m == (models.MAC{}) {
		return dst
	}
	return append(m.Append(append(dst, name...)), '"')
}

func appendTextMember(dst []byte, name string, t models.Text, arena []byte) []byte {
	if t.Len == 0 {
		return dst
	}
	return appendText(append(dst, name...), t.In(arena))
}

func appendUint(dst []byte, v uint32) []byte {
	return strconv.AppendUint(dst, uint64(v), 10)
}

func appendProto(dst []byte, p models.Proto) []byte {
	switch p {
	case models.ProtoTCP:
		return append(dst, "TCP"...)
	case models.ProtoUDP:
		return append(dst, "UDP"...)
	case models.ProtoICMP, models.ProtoICMPv6, models.ProtoARP:
		return append(dst, p.String()...)
	default: // what String writes, without its allocation
		return appendUint(dst, uint32(p))
	}
}

// appendEntropy writes 1e-4 bit as bits with four decimals.
func appendEntropy(dst []byte, e uint32) []byte {
	dst = appendUint(dst, e/10_000)
	f := e % 10_000
	dst = append(dst, '.')
	dst = append2(dst, f/100)
	return append2(dst, f%100)
}

// append2 writes two decimal digits.
func append2(dst []byte, v uint32) []byte {
	return append(dst, byte('0'+v/10), byte('0'+v%10))
}

func appendAddr(dst []byte, a models.Addr) []byte {
	if !a.Is4() {
		return a.Netip().AppendTo(dst)
	}
	for shift := 24; shift >= 0; shift -= 8 {
		dst = appendOctet(dst, uint32(a.Lo>>shift)&0xff)
		if shift > 0 {
			dst = append(dst, '.')
		}
	}
	return dst
}

func appendOctet(dst []byte, v uint32) []byte {
	switch {
	case v >= 100:
		return append2(append(dst, byte('0'+v/100)), v%100)
	case v >= 10:
		return append2(dst, v)
	}
	return append(dst, byte('0'+v))
}

// The times that RFC 3339 can write, in microseconds.
const (
	minMicros    = -62_167_219_200_000_000 // 0000-01-01T00:00:00Z
	maxMicros    = 253_402_300_799_999_999 // 9999-12-31T23:59:59.999999Z
	secondMicros = 1_000_000
)

// stamp writes times as RFC 3339 with six decimals. It keeps the text of the last second: packets come in order, and
// 25 ns of calendar arithmetic become 5.
type stamp struct {
	second int64
	text   [len("2006-01-02T15:04:05.")]byte
}

func (s *stamp) append(dst []byte, micros int64) []byte {
	micros = min(max(micros, minMicros), maxMicros)
	second, frac := micros/secondMicros, micros%secondMicros
	if frac < 0 {
		second, frac = second-1, frac+secondMicros
	}
	if second != s.second || s.text[0] == 0 {
		s.second = second
		time.Unix(second, 0).UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05.")
	}
	dst = append(dst, s.text[:]...)
	f := uint32(frac)
	dst = append2(dst, f/10_000)
	dst = append2(dst, f/100%100)
	dst = append2(dst, f%100)
	return append(dst, 'Z')
}

// appendText writes a JSON string (RFC 8259, section 7). s comes from the network: anything may be in it.
func appendText(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r) // U+FFFD for what is not UTF-8
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}
