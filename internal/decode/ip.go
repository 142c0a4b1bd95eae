package decode

import "netlyra/internal/models"

// Protocol numbers that are not a transport (IANA).
const (
	protoHopByHop = 0
	protoIPIP     = 4
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoNoNext   = 59
	protoDestOpts = 60
	protoMobility = 135
	protoHIP      = 139
	protoShim6    = 140
)

const maxExtHeaders = 16 // RFC 8200 has each kind once, destination options twice

// ip reads an IP packet of either version.
func (d *Decoder) ip(b []byte, p *models.Packet) Verdict {
	if len(b) == 0 {
		return IPTruncated
	}
	switch b[0] >> 4 {
	case 4:
		return d.ipv4(b, p)
	case 6:
		return d.ipv6(b, p)
	}
	return IPVersion
}

// ipv4 reads an IPv4 header (RFC 791, section 3.1). A total length of 0 is what segmentation offload leaves on captures
// of outgoing packets: the frame's own length counts then.
func (d *Decoder) ipv4(b []byte, p *models.Packet) Verdict {
	if len(b) < 20 {
		return IPTruncated
	}
	n := int(b[0]&15) * 4
	total := int(be16(b[2:]))
	if n < 20 {
		return IPHeader
	}
	if total == 0 {
		total = len(b)
	}
	if total < n {
		return IPLength
	}
	if len(b) < n {
		return IPTruncated
	}
	p.Src = models.AddrFrom4(b[12:])
	p.Dst = models.AddrFrom4(b[16:])
	const moreFragments, offset = 0x2000, 0x1fff
	frag := be16(b[6:])
	switch {
	case frag&offset != 0:
		p.Frag = models.FragLater
	case frag&moreFragments != 0:
		p.Frag = models.FragFirst
	}
	return d.transport(b[9], b[n:min(total, len(b))], total-n, p)
}

// ipv6 reads an IPv6 header (RFC 8200, section 3) and its extension headers. A payload length of 0 is a jumbogram or
// offload's: the frame's own length counts then.
func (d *Decoder) ipv6(b []byte, p *models.Packet) Verdict {
	if len(b) < 40 {
		return IPTruncated
	}
	p.Src = models.AddrFrom16(b[8:])
	p.Dst = models.AddrFrom16(b[24:])
	length := int(be16(b[4:]))
	next := b[6]
	b = b[40:]
	if length == 0 {
		length = len(b)
	}
	b = b[:min(length, len(b))]
	for range maxExtHeaders {
		var n int
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoHIP, protoShim6:
			if len(b) < 8 {
				return IPTruncated
			}
			n = int(b[1])*8 + 8
		case protoAH: // RFC 4302, section 2.2: length in 4-byte words, minus 2
			if len(b) < 8 {
				return IPTruncated
			}
			n = int(b[1])*4 + 8
		case protoFragment: // RFC 8200, section 4.5
			if len(b) < 8 {
				return IPTruncated
			}
			n = 8
			switch field := be16(b[2:]); {
			case field&0xfff8 != 0:
				p.Frag = models.FragLater
			case field&1 != 0:
				p.Frag = models.FragFirst
			}
		default:
			return d.transport(next, b, length, p)
		}
		if n > len(b) {
			return IPTruncated
		}
		next, b, length = b[0], b[n:], length-n
		if p.Frag == models.FragLater {
			return d.transport(next, b, length, p)
		}
	}
	return ExtHeaders
}

// transport reads what proto says is in b, of which the IP header counted length bytes. Later fragments have no
// transport header: all of b is payload.
func (d *Decoder) transport(proto byte, b []byte, length int, p *models.Packet) Verdict {
	p.Proto = models.Proto(proto)
	p.Payload = b
	p.PayloadLen = uint32(length)
	if p.Frag == models.FragLater {
		return OK
	}
	switch p.Proto {
	case models.ProtoTCP:
		return d.tcp(b, length, p)
	case models.ProtoUDP:
		return d.udp(b, length, p)
	case models.ProtoSCTP:
		return sctp(b, length, p)
	case models.ProtoICMP, models.ProtoICMPv6:
		return icmp(b, length, p)
	case protoIPIP, protoIPv6:
		v, _ := d.tunnel(b, p, (*Decoder).ip)
		return v
	case protoGRE:
		return d.gre(b, p)
	case protoAH: // over IPv4; IPv6's loop has taken it off
		return d.ahOverIPv4(b, length, p)
	default:
		return OK
	}
}

// ahOverIPv4 looks behind an authentication header (RFC 4302, section 2).
func (d *Decoder) ahOverIPv4(b []byte, length int, p *models.Packet) Verdict {
	if len(b) < 12 {
		return IPTruncated
	}
	n := int(b[1])*4 + 8
	if n < 12 || n > len(b) {
		return IPTruncated
	}
	if b[0] == protoAH {
		return ExtHeaders // AH in AH is no one's; it would nest without a limit
	}
	return d.transport(b[0], b[n:], length-n, p)
}

// gre looks into a GRE packet (RFC 2784, RFC 2890). Version 1 is PPTP's and carries PPP: the outer packet counts.
func (d *Decoder) gre(b []byte, p *models.Packet) Verdict {
	const checksum, routing, key, sequence, version = 0x80, 0x40, 0x20, 0x10, 0x07
	if len(b) < 4 {
		return OK
	}
	flags := b[0]
	if b[1]&version != 0 || flags&routing != 0 {
		return OK
	}
	n := 4
	for _, bit := range [...]byte{checksum, key, sequence} {
		if flags&bit != 0 {
			n += 4
		}
	}
	if len(b) < n {
		return OK
	}
	t, inner := be16(b[2:]), b[n:]
	next := (*Decoder).ip
	switch t {
	case etherIPv4, etherIPv6:
	case etherTEB:
		next = (*Decoder).ethernet
	case etherMPLS, etherMPLSMcast:
		next = (*Decoder).mpls
	default:
		return OK
	}
	v, _ := d.tunnel(inner, p, next)
	return v
}
