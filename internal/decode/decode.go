// Package decode turns a captured frame into a models.Packet: addresses, ports, flags, payload bounds, DNS question.
//
// It reads Ethernet (with LLC/SNAP, 802.1Q, QinQ), MPLS, PPPoE, Linux cooked v1 and v2, BSD loopback, raw IP and 802.11
// behind radiotap; ARP, IPv4, IPv6 with its extension headers; TCP, UDP, SCTP, ICMP and ICMPv6. Inside GRE, VXLAN,
// Geneve and IP-in-IP the inner packet counts; where the inside cannot be read, the outer one does.
//
// Every byte is bounds-checked, nothing is allocated, nothing recurses deeper than MaxNesting, no input panics. Packets
// are hostile: a length field is never trusted further than the bytes that are there.
package decode

import (
	"encoding/binary"

	"netlyra/internal/models"
)

// MaxNesting limits the tunnels around one packet; a packet with more is malformed.
const MaxNesting = 8

// Verdict is what became of a frame. Every frame has exactly one, so that received = decoded + non-IP + malformed.
type Verdict uint8

// The verdicts. All after NonIP are reasons for which a frame is malformed.
const (
	OK            Verdict = iota // the packet's fields are set
	NonIP                        // neither IP nor ARP: LLDP, spanning tree, 802.11 management, …
	LinkTruncated                // shorter than its link header
	ARPTruncated
	IPTruncated   // shorter than its IP or extension header
	IPVersion     // version nibble is not what the layer below said
	IPHeader      // header length impossible
	IPLength      // total length smaller than the header
	ExtHeaders    // more IPv6 extension headers than any stack sends
	TransportCut  // TCP, UDP, SCTP or ICMP header incomplete
	TransportBad  // a length field of the transport header is impossible
	NestingTooBig // more than MaxNesting tunnels
	numVerdicts
)

// NumVerdicts is the number of verdicts, for arrays of counters indexed by Verdict.
const NumVerdicts = int(numVerdicts)

// String names the verdict in snake_case; those of malformed frames are the reasons in `stats`.
func (v Verdict) String() string {
	names := [...]string{
		"ok", "non_ip", "link_truncated", "arp_truncated", "ip_truncated", "ip_version", "ip_header", "ip_length",
		"ext_headers", "transport_truncated", "transport_header", "nesting",
	}
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// Malformed says whether v is a reason rather than OK or NonIP.
func (v Verdict) Malformed() bool { return v > NonIP }

// Decoder decodes the frames of one batch at a time. The zero value is ready; it is not for concurrent use.
type Decoder struct {
	// Arena holds the strings that the packets of the batch point into. It grows to what one batch needs and stays.
	Arena []byte
	hist  histogram
}

// Reset forgets the strings of the batch before.
func (d *Decoder) Reset() { d.Arena = d.Arena[:0] }

// Frame decodes f into p, overwriting it. p.Payload aliases f.Data; p's texts lie in d.Arena. Entropy is left to
// Entropy, which costs more than all the rest. If the verdict is not OK, only TS, WireLen and the link layer's fields count.
func (d *Decoder) Frame(f *models.Frame, p *models.Packet) Verdict {
	*p = models.Packet{}
	p.TS = f.TS
	p.WireLen = f.WireLen
	if f.TPID != 0 {
		p.VLAN = f.TCI & 0x0fff
	}
	b := f.Data
	switch f.Link {
	case models.LinkEthernet:
		return d.ethernet(b, p)
	case models.LinkRaw, models.LinkIPv4: // the latter with IPv6 in it is seen, and read by others too
		return d.ip(b, p)
	case models.LinkIPv6:
		if len(b) > 0 && b[0]>>4 != 6 {
			return IPVersion
		}
		return d.ip(b, p)
	case models.LinkNull, models.LinkLoop:
		return d.loopback(b, p)
	case models.LinkSLL:
		return d.cookedV1(b, p)
	case models.LinkSLL2:
		return d.cookedV2(b, p)
	case models.LinkRadiotap:
		return d.radiotap(b, p)
	}
	return NonIP
}

// tunnel decodes what is inside a tunnel with inner. If the inside is not a packet, p is put back to the outer one, and
// false comes back.
func (d *Decoder) tunnel(b []byte, p *models.Packet, inner func(*Decoder, []byte, *models.Packet) Verdict) (Verdict, bool) {
	if p.Nesting >= MaxNesting {
		return NestingTooBig, true
	}
	outer := *p
	mark := len(d.Arena)
	*p = models.Packet{PacketMeta: models.PacketMeta{
		TS: outer.TS, WireLen: outer.WireLen, VLAN: outer.VLAN, InnerVLAN: outer.InnerVLAN,
		SrcMAC: outer.SrcMAC, DstMAC: outer.DstMAC, Nesting: outer.Nesting + 1,
	}}
	v := inner(d, b, p)
	if v == OK || v == NestingTooBig {
		return v, true
	}
	*p = outer
	d.Arena = d.Arena[:mark]
	return OK, false
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
