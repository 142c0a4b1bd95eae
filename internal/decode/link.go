package decode

import (
	"encoding/binary"

	"netlyra/internal/models"
)

// EtherTypes (IEEE Registration Authority).
const (
	etherIPv4       = 0x0800
	etherARP        = 0x0806
	etherTEB        = 0x6558 // Transparent Ethernet Bridging, RFC 1701
	etherVLAN       = 0x8100
	etherIPv6       = 0x86dd
	etherMPLS       = 0x8847
	etherMPLSMcast  = 0x8848
	etherPPPoE      = 0x8864
	etherQinQ       = 0x88a8
	etherQinQLegacy = 0x9100
	minEtherType    = 0x0600 // below it the field is an IEEE 802.3 length
)

const maxTags = 8 // VLAN tags or MPLS labels; more is an attack or noise

// ethernet reads an IEEE 802.3 header: destination, source, EtherType or length.
func (d *Decoder) ethernet(b []byte, p *models.Packet) Verdict {
	if len(b) < 14 {
		return LinkTruncated
	}
	copy(p.DstMAC[:], b)
	copy(p.SrcMAC[:], b[6:])
	return d.etherType(be16(b[12:]), b[14:], p)
}

// etherType dispatches on an EtherType, VLAN tags (IEEE 802.1Q, section 9) taken off first.
func (d *Decoder) etherType(t uint16, b []byte, p *models.Packet) Verdict {
	for range maxTags {
		switch t {
		case etherIPv4, etherIPv6:
			return d.ip(b, p)
		case etherARP:
			return arp(b, p)
		case etherVLAN, etherQinQ, etherQinQLegacy:
			if len(b) < 4 {
				return LinkTruncated
			}
			addTag(p, be16(b)&0x0fff)
			t, b = be16(b[2:]), b[4:]
		case etherMPLS, etherMPLSMcast:
			return d.mpls(b, p)
		case etherPPPoE:
			return d.pppoe(b, p)
		default:
			if t < minEtherType {
				return d.llc(b, p)
			}
			return NonIP
		}
	}
	return NestingTooBig
}

func addTag(p *models.Packet, vid uint16) {
	if p.VLAN == 0 {
		p.VLAN = vid
	} else if p.InnerVLAN == 0 {
		p.InnerVLAN = vid
	}
}

// llc reads an IEEE 802.2 header; only SNAP with an EtherType (RFC 1042) can carry IP.
func (d *Decoder) llc(b []byte, p *models.Packet) Verdict {
	if len(b) < 3 {
		return LinkTruncated
	}
	if b[0] != 0xaa || b[1] != 0xaa || b[2] != 3 {
		return NonIP
	}
	if len(b) < 8 {
		return LinkTruncated
	}
	t := be16(b[6:])
	if b[3]|b[4]|b[5] != 0 || t < minEtherType {
		return NonIP
	}
	return d.etherType(t, b[8:], p)
}

// mpls takes the label stack off (RFC 3032). What follows the bottom label is told by its first nibble (RFC 4928): 4 or 6
// is IP, 0 a pseudowire's control word with Ethernet behind it (RFC 4385, RFC 4448).
func (d *Decoder) mpls(b []byte, p *models.Packet) Verdict {
	for range maxTags {
		if len(b) < 4 {
			return LinkTruncated
		}
		bottom := b[2]&1 == 1
		b = b[4:]
		if !bottom {
			continue
		}
		switch {
		case len(b) == 0:
			return LinkTruncated
		case b[0]>>4 == 4 || b[0]>>4 == 6:
			return d.ip(b, p)
		case b[0]>>4 == 0 && len(b) >= 4:
			if p.Nesting == MaxNesting {
				return NestingTooBig
			}
			p.Nesting++
			return d.ethernet(b[4:], p)
		}
		return NonIP
	}
	return NestingTooBig
}

// pppoe reads a PPPoE session packet (RFC 2516) and the PPP protocol number behind it (RFC 1661, section 2).
func (d *Decoder) pppoe(b []byte, p *models.Packet) Verdict {
	if len(b) < 8 {
		return LinkTruncated
	}
	if b[0] != 0x11 || b[1] != 0 {
		return NonIP // not version 1, type 1, session data
	}
	switch be16(b[6:]) {
	case 0x0021, 0x0057:
		return d.ip(b[8:], p)
	}
	return NonIP
}

// loopback reads a BSD loopback header: a protocol family of four bytes, in the byte order of the machine that wrote it.
func (d *Decoder) loopback(b []byte, p *models.Packet) Verdict {
	if len(b) < 4 {
		return LinkTruncated
	}
	family := binary.LittleEndian.Uint32(b)
	if family > 0xffff {
		family = be32(b)
	}
	switch family {
	case 2, 24, 28, 30: // AF_INET; AF_INET6 of NetBSD and OpenBSD, FreeBSD, Darwin
		return d.ip(b[4:], p)
	}
	return NonIP
}

// cookedV1 reads a Linux cooked header (LINKTYPE_LINUX_SLL).
func (d *Decoder) cookedV1(b []byte, p *models.Packet) Verdict {
	if len(b) < 16 {
		return LinkTruncated
	}
	if be16(b[4:]) == 6 {
		copy(p.SrcMAC[:], b[6:12])
	}
	return d.cooked(be16(b[2:]), be16(b[14:]), b[16:], p)
}

// cookedV2 reads a Linux cooked header of the second version (LINKTYPE_LINUX_SLL2).
func (d *Decoder) cookedV2(b []byte, p *models.Packet) Verdict {
	if len(b) < 20 {
		return LinkTruncated
	}
	if b[11] == 6 {
		copy(p.SrcMAC[:], b[12:18])
	}
	return d.cooked(be16(b[8:]), be16(b), b[20:], p)
}

// cooked dispatches on the hardware type (ARPHRD) and the protocol, which is an EtherType for the types that carry IP.
func (d *Decoder) cooked(hardware, protocol uint16, b []byte, p *models.Packet) Verdict {
	const (
		arphrdNetlink  = 824 // the protocol field is a netlink family
		arphrdRadiotap = 803
	)
	if hardware == arphrdNetlink || hardware == arphrdRadiotap {
		return NonIP
	}
	if protocol < minEtherType {
		if protocol == 4 { // 802.2 LLC
			return d.llc(b, p)
		}
		return NonIP
	}
	return d.etherType(protocol, b, p)
}

// radiotap skips a radiotap header (radiotap.org: version, pad, little-endian length) and reads an IEEE 802.11 data frame.
func (d *Decoder) radiotap(b []byte, p *models.Packet) Verdict {
	if len(b) < 8 {
		return LinkTruncated
	}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	if b[0] != 0 || n < 8 {
		return NonIP
	}
	if n > len(b) {
		return LinkTruncated
	}
	present := binary.LittleEndian.Uint32(b[4:])
	rest := b[n:]
	if flags, ok := radiotapFlags(b[:n], present); ok && flags&0x10 != 0 && len(rest) >= 4 {
		rest = rest[:len(rest)-4] // a frame check sequence follows the frame
	} else if !ok && present&2 != 0 {
		return LinkTruncated
	}
	return d.dot11(rest, p)
}

// radiotapFlags finds the flags field: after all present words, behind the 8-byte TSFT if that is present.
func radiotapFlags(h []byte, present uint32) (byte, bool) {
	if present&2 == 0 {
		return 0, false
	}
	at := 8
	for word := present; word>>31 == 1; at += 4 {
		if at+4 > len(h) {
			return 0, false
		}
		word = binary.LittleEndian.Uint32(h[at:])
	}
	if present&1 != 0 {
		at = (at+7)&^7 + 8
	}
	if at >= len(h) {
		return 0, false
	}
	return h[at], true
}

// dot11 reads an IEEE 802.11 data frame (section 9.3.2): addresses by the DS bits, QoS and HT control if there, then LLC.
func (d *Decoder) dot11(b []byte, p *models.Packet) Verdict {
	if len(b) < 2 {
		return LinkTruncated
	}
	const protected, order, noData, qos = 0x40, 0x80, 0x4, 0x8
	subtype := b[0] >> 4
	if b[0]&0x0c != 0x08 || subtype&noData != 0 || b[1]&protected != 0 {
		return NonIP // management, control, no data, or encrypted
	}
	n := 24
	toDS, fromDS := b[1]&1 != 0, b[1]&2 != 0
	if toDS && fromDS {
		n += 6
	}
	if subtype&qos != 0 {
		n += 2
		if b[1]&order != 0 {
			n += 4
		}
	}
	if len(b) < n {
		return LinkTruncated
	}
	dst, src := 4, 10
	switch {
	case toDS && fromDS:
		dst, src = 16, 24
	case toDS:
		dst = 16
	case fromDS:
		src = 16
	}
	copy(p.DstMAC[:], b[dst:dst+6])
	copy(p.SrcMAC[:], b[src:src+6])
	return d.llc(b[n:], p)
}

// arp reads an ARP packet for IPv4 over Ethernet (RFC 826); other kinds are not IP's business.
func arp(b []byte, p *models.Packet) Verdict {
	if len(b) < 8 {
		return ARPTruncated
	}
	if be16(b) != 1 || be16(b[2:]) != etherIPv4 || b[4] != 6 || b[5] != 4 {
		return NonIP
	}
	if len(b) < 28 {
		return ARPTruncated
	}
	p.Proto = models.ProtoARP
	p.ARPOp = be16(b[6:])
	copy(p.ARPSenderMAC[:], b[8:])
	p.Src = models.AddrFrom4(b[14:])
	copy(p.ARPTargetMAC[:], b[18:])
	p.Dst = models.AddrFrom4(b[24:])
	return OK
}
