package filter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"netlyra/internal/models"
)

type (
	hostNode struct { // IPv4, or the IPv4 addresses that ARP and RARP carry
		proto      string // "": all of them
		dir        direction
		addr, mask uint32
	}
	host6Node struct {
		dir        direction
		addr, mask [4]uint32
	}
	macNode struct {
		at  int
		dir direction
		mac models.MAC
	}
	portNode struct {
		proto    string // "": TCP, UDP and SCTP
		dir      direction
		low, top uint16
	}
	numberNode struct { // ip proto 6
		proto  string // "ip", "ip6" or "" for both
		number uint8
	}
	etherTypeNode struct{ number uint16 }
)

// identifier reads one identifier under a qualifier.
func (p *parser) identifier(q qualifier) node {
	t := p.peek()
	switch q.kind {
	case kindPort, kindPortrange:
		p.at++
		return p.ports(q, t)
	case kindProto:
		p.at++
		return p.number(q, t)
	default:
		return p.address(q, t)
	}
}

// address is a host, a net or an Ethernet address.
func (p *parser) address(q qualifier, t token) node {
	p.take()
	switch {
	case t.kind == tokenMAC:
		return p.mac(q, t)
	case q.proto == "ether" || q.proto == "link":
		p.fail(t, "ether needs an Ethernet address such as 02:00:00:00:00:01, not %s", t.describe())
	case t.kind == tokenIPv6:
		return p.host6(q, t)
	case t.kind == tokenDotted, t.kind == tokenNumber && q.kind == kindNet:
		return p.host(q, t)
	case t.kind == tokenNumber:
		p.fail(t, "%s is no address: write port %s for a port, or an address such as 10.0.0.1", t.describe(), t.text)
	case t.kind == tokenEnd, t.kind == tokenOp:
		p.fail(t, "%s stands where an address belongs", t.describe())
	}
	p.fail(t, "%s is not an address; names are not resolved: write the address, such as 10.0.0.1 or 2001:db8::1", t.describe())
	return nil
}

func (p *parser) mac(q qualifier, t token) node {
	switch {
	case q.proto != "ether" && q.proto != "link":
		p.fail(t, "%s is an Ethernet address: write ether before host, src or dst", t.describe())
	case q.kind == kindNet:
		p.fail(t, "there are no nets of Ethernet addresses: write ether host")
	}
	return &macNode{at: t.pos, dir: q.dir, mac: t.mac}
}

// host is an IPv4 address or net.
func (p *parser) host(q qualifier, t token) node {
	switch q.proto {
	case "", "ip", "arp", "rarp":
	default:
		p.fail(t, "%s has no IPv4 addresses: write, for example, %s and host %s", q.proto, q.proto, t.text)
	}
	n := &hostNode{proto: q.proto, dir: q.dir, addr: t.number, mask: ^uint32(0)}
	if q.kind != kindNet {
		if t.parts != 4 {
			p.fail(t, "%s is not a whole address: write net %s, or all four numbers", t.describe(), t.text)
		}
		if next := p.peek(); next.is("/") || next.word("mask") {
			p.fail(next, "a host has no mask: write net")
		}
		return n
	}
	n.addr, n.mask = p.shortened(t)
	switch next := p.peek(); {
	case next.is("/"):
		p.at++
		length := p.maskLength(32)
		n.mask = uint32(uint64(0xffffffff) << (32 - length))
	case next.word("mask"):
		p.at++
		n.mask = p.mask()
	}
	if n.addr&^n.mask != 0 {
		p.fail(t, "%s has bits set that are not of the net: the net begins at %s", t.describe(), quad(n.addr&n.mask))
	}
	return n
}

// shortened completes net 10 and net 192.168; bytes that are left out are not compared.
func (p *parser) shortened(t token) (addr, mask uint32) {
	if t.kind == tokenDotted {
		return t.number, uint32(uint64(0xffffffff) << (32 - 8*t.parts))
	}
	if t.number > 255 {
		p.fail(t, "%s is not the first number of an IPv4 address: it is at most 255", t.describe())
	}
	if next := p.peek(); next.is("/") || next.word("mask") {
		p.fail(t, "with a mask, the address needs at least two numbers: write net %d.0", t.number)
	}
	return t.number << 24, 0xff000000
}

func (p *parser) maskLength(most uint32) uint32 {
	t := p.take()
	if t.kind != tokenNumber || t.number > most {
		p.fail(t, "the length of the mask is a number of 0 to %d, not %s", most, t.describe())
	}
	return t.number
}

func (p *parser) mask() uint32 {
	t := p.take()
	if t.kind != tokenDotted {
		p.fail(t, "the mask is written as 255.255.255.0, not as %s", t.describe())
	}
	return t.number
}

func quad(a uint32) string {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a))).String()
}

// host6 is an IPv6 address or net.
func (p *parser) host6(q qualifier, t token) node {
	if q.proto != "" && q.proto != "ip6" {
		p.fail(t, "%s has no IPv6 addresses: write, for example, ip6 host %s", q.proto, t.text)
	}
	n := &host6Node{dir: q.dir}
	length := uint32(128)
	if next := p.peek(); next.is("/") {
		if q.kind != kindNet {
			p.fail(next, "a host has no mask: write net")
		}
		p.at++
		length = p.maskLength(128)
	}
	raw := t.ip6.As16()
	for i := range n.addr {
		n.addr[i] = binary.BigEndian.Uint32(raw[4*i:])
		own := min(max(int(length)-32*i, 0), 32) // bits of the net in this word
		n.mask[i] = uint32(uint64(0xffffffff) << (32 - own))
		if n.addr[i]&^n.mask[i] != 0 {
			net := netip.PrefixFrom(netip.AddrFrom16(raw), int(length)).Masked()
			p.fail(t, "%s has bits set that are not of the net: write net %s", t.describe(), net)
		}
	}
	return n
}

// ports is a port or a range of them.
func (p *parser) ports(q qualifier, t token) node {
	switch q.proto {
	case "", "tcp", "udp", "sctp":
	default:
		p.fail(t, "%s has no ports: tcp, udp and sctp have", q.proto)
	}
	n := &portNode{proto: q.proto, dir: q.dir}
	low, top, isRange := strings.Cut(t.text, "-")
	switch {
	case t.kind == tokenNumber:
		n.low = p.port(t, t.number)
		n.top = n.low
	case t.kind == tokenWord && isRange && q.kind == kindPortrange:
		n.low, n.top = p.bound(t, low), p.bound(t, top)
		if n.low > n.top {
			n.low, n.top = n.top, n.low
		}
	case t.kind == tokenWord && isRange && isDigit(t.text[0]):
		p.fail(t, "%s is a range: write portrange", t.describe())
	case t.kind == tokenWord, t.kind == tokenEscaped:
		p.fail(t, "%s is not a port number; names are not resolved: write, for example, 443", t.describe())
	default:
		p.fail(t, "%s stands where a port number belongs", t.describe())
	}
	return n
}

func (p *parser) port(t token, n uint32) uint16 {
	if n > 65535 {
		p.fail(t, "a port is a number of 0 to 65535, not %s", t.describe())
	}
	return uint16(n)
}

func (p *parser) bound(t token, digits string) uint16 {
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		p.fail(t, "%s is not a range of port numbers such as 8000-8080; names are not resolved", t.describe())
	}
	return p.port(t, uint32(n))
}

// number is ip proto N, ip6 proto N, proto N and ether proto N.
func (p *parser) number(q qualifier, t token) node {
	switch q.proto {
	case "ether", "link":
		return p.etherType(t)
	case "", "ip", "ip6":
	default:
		p.fail(t, "%s proto means nothing: ip proto, ip6 proto, proto and ether proto do", q.proto)
	}
	number := t.number
	switch known, ok := protocolNumbers()[t.text]; {
	case t.kind == tokenEscaped && ok:
		number = uint32(known)
	case t.kind == tokenWord && ok:
		p.fail(t, `as an identifier, %s is written \%s`, t.text, t.text)
	case t.kind != tokenNumber || number > 255:
		p.fail(t, `a protocol is a number of 0 to 255, or a name such as \tcp, not %s`, t.describe())
	}
	return &numberNode{proto: q.proto, number: uint8(number)}
}

func (p *parser) etherType(t token) node {
	const lengths = 1500 // up to here the field is a length (IEEE 802.3, section 3.2.6)
	known := map[string]uint16{"ip": etherIPv4, "ip6": etherIPv6, "arp": etherARP, "rarp": etherRARP}
	number := t.number
	switch v, ok := known[t.text]; {
	case t.kind == tokenEscaped && ok:
		number = uint32(v)
	case t.kind == tokenWord && ok:
		p.fail(t, `as an identifier, %s is written \%s`, t.text, t.text)
	case t.kind != tokenNumber:
		p.fail(t, `an EtherType is a number such as 0x0806, or one of \ip, \ip6, \arp and \rarp, not %s`, t.describe())
	case number <= lengths || number > 0xffff:
		p.fail(t, "an EtherType is a number of %d to 65535; the types of IEEE 802.2 below are not supported", lengths+1)
	case number == etherAppleTalk || number == etherAARP:
		p.fail(t, "AppleTalk (0x809b, 0x80f3), which comes behind SNAP as well, is not supported: write ether[12:2] = %s", fmt.Sprintf("0x%04x", number))
	}
	return &etherTypeNode{uint16(number)}
}
