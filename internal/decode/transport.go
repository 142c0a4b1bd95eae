package decode

import "netlyra/internal/models"

// Ports that decide how a payload is read (IANA).
const (
	portDNS    = 53
	portVXLAN  = 4789
	portMDNS   = 5353
	portLLMNR  = 5355
	portGeneve = 6081
)

// tcp reads a TCP header (RFC 9293, section 3.1).
func (d *Decoder) tcp(b []byte, length int, p *models.Packet) Verdict {
	if len(b) < 14 {
		return TransportCut
	}
	n := int(b[12]>>4) * 4
	if n < 20 || n > length {
		return TransportBad
	}
	p.SrcPort = be16(b)
	p.DstPort = be16(b[2:])
	p.Seq = be32(b[4:])
	p.Flags = models.TCPFlags(b[13])
	p.Payload = b[min(n, len(b)):]
	p.PayloadLen = uint32(length - n)
	if p.SrcPort == portDNS || p.DstPort == portDNS {
		if len(p.Payload) > 2 { // RFC 1035, section 4.2.2: a length of two bytes before the message
			d.dns(p.Payload[2:], p)
		}
	}
	return OK
}

// udp reads a UDP header (RFC 768) and looks into VXLAN and Geneve.
func (d *Decoder) udp(b []byte, length int, p *models.Packet) Verdict {
	if len(b) < 8 {
		return TransportCut
	}
	n := int(be16(b[4:]))
	if n == 0 { // RFC 2675, and segmentation offload
		n = length
	}
	if n < 8 {
		return TransportBad
	}
	n = min(n, length)
	p.SrcPort = be16(b)
	p.DstPort = be16(b[2:])
	p.Payload = b[8:max(8, min(n, len(b)))]
	p.PayloadLen = uint32(n - 8)
	if p.Frag != models.FragNone {
		return OK
	}
	switch {
	case p.DstPort == portVXLAN:
		return d.vxlan(p)
	case p.DstPort == portGeneve:
		return d.geneve(p)
	case isDNS(p.SrcPort) || isDNS(p.DstPort):
		d.dns(p.Payload, p)
	}
	return OK
}

func isDNS(port uint16) bool { return port == portDNS || port == portMDNS || port == portLLMNR }

// vxlan looks behind a VXLAN header (RFC 7348, section 5) with its I flag set.
func (d *Decoder) vxlan(p *models.Packet) Verdict {
	b := p.Payload
	if len(b) < 8 || b[0]&0x08 == 0 {
		return OK
	}
	v, _ := d.tunnel(b[8:], p, (*Decoder).ethernet)
	return v
}

// geneve looks behind a Geneve header (RFC 8926, section 3.4), whose options have a length in 4-byte words.
func (d *Decoder) geneve(p *models.Packet) Verdict {
	b := p.Payload
	if len(b) < 8 || b[0]>>6 != 0 {
		return OK
	}
	n := 8 + int(b[0]&0x3f)*4
	if n > len(b) {
		return OK
	}
	next := (*Decoder).ip
	switch be16(b[2:]) {
	case etherIPv4, etherIPv6:
	case etherTEB:
		next = (*Decoder).ethernet
	default:
		return OK
	}
	v, _ := d.tunnel(b[n:], p, next)
	return v
}

// sctp reads an SCTP common header (RFC 9260, section 3.1).
func sctp(b []byte, length int, p *models.Packet) Verdict {
	if len(b) < 12 {
		return TransportCut
	}
	p.SrcPort = be16(b)
	p.DstPort = be16(b[2:])
	p.Payload = b[12:]
	p.PayloadLen = uint32(max(length-12, 0))
	return OK
}

// icmp reads the header that ICMP (RFC 792) and ICMPv6 (RFC 4443) share. Headers quoted in errors are payload.
func icmp(b []byte, length int, p *models.Packet) Verdict {
	if len(b) < 4 {
		return TransportCut
	}
	p.ICMPType = b[0]
	p.ICMPCode = b[1]
	n := min(8, len(b))
	p.Payload = b[n:]
	p.PayloadLen = uint32(max(length-8, 0))
	return OK
}
