package filter

import (
	"fmt"

	"netlyra/internal/models"
)

const (
	tagRegister = 15 // scratch memory: what a VLAN tag in the bytes adds to the offsets behind it, 0 or 4
	tagBytes    = 4
	maxIndex    = defaultSnaplen // no frame is longer

	// The kernel's ancillary loads (linux/filter.h): offsets at which it has metadata instead of bytes.
	ancillary     = 0xfffff000 // SKF_AD_OFF
	ancTag        = ancillary + 44
	ancTagPresent = ancillary + 48
	ancTagType    = ancillary + 60
)

// generator makes conditions for one link type. It goes through an expression from left to right.
type generator struct {
	expr   string
	link   models.LinkType
	live   bool
	shift  uint32 // bytes that the VLAN tags tested so far add to offsets
	tagged bool   // and what is in tagRegister comes on top
	tags   int    // VLAN tests so far
	err    *SyntaxError
}

func newGenerator(expr string, link models.LinkType, live bool) (*generator, error) {
	g := &generator{expr: expr, link: link, live: live}
	switch link {
	case models.LinkEthernet, models.LinkRaw, models.LinkIPv4, models.LinkIPv6, models.LinkSLL, models.LinkSLL2, models.LinkNull, models.LinkLoop:
		return g, nil
	case models.LinkRadiotap:
		return nil, &SyntaxError{Expr: expr, Reason: "frames of 802.11 radiotap cannot be filtered: leave the filter out, or capture on an interface that gives Ethernet"}
	}
	return nil, &SyntaxError{Expr: expr, Reason: fmt.Sprintf("frames of link type %d cannot be filtered", link)}
}

// fail keeps the first error. It returns a condition, so that generating goes on.
func (g *generator) fail(at int, format string, args ...any) *cond {
	if g.err == nil {
		g.err = &SyntaxError{Expr: g.expr, Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
	return constant(false)
}

func (g *generator) linkName() string {
	switch g.link {
	case models.LinkSLL:
		return "Linux cooked v1"
	case models.LinkSLL2:
		return "Linux cooked v2"
	case models.LinkNull, models.LinkLoop:
		return "BSD loopback"
	default:
		return "raw IP"
	}
}

// frame is bytes at an offset from the frame's start.
func frame(size uint8, offset uint32) value {
	return value{base: baseFrame, size: size, offset: offset}
}

// network is bytes at an offset from the network header's start.
func (g *generator) network(size uint8, offset uint32) value {
	return value{base: baseFrame, size: size, offset: g.networkStart() + offset, tagged: g.tagged}
}

// networkStart is where the network header begins, without what is in tagRegister.
func (g *generator) networkStart() uint32 {
	switch g.link {
	case models.LinkEthernet:
		return 14 + g.shift
	case models.LinkSLL:
		return 16
	case models.LinkSLL2:
		return 20
	case models.LinkNull, models.LinkLoop:
		return 4
	default:
		return 0
	}
}

// payload is bytes at an offset from the end of the IPv4 header.
func (g *generator) payload(size uint8, offset uint32) value {
	start := g.networkStart()
	return value{base: basePayload, size: size, offset: start + offset, header: start, tagged: g.tagged}
}

// etherType is the field that names the network protocol. Only some link types have it.
func (g *generator) etherType() value {
	switch g.link {
	case models.LinkSLL:
		return frame(2, 14)
	case models.LinkSLL2:
		return frame(2, 0)
	default:
		return value{base: baseFrame, size: 2, offset: 12 + g.shift, tagged: g.tagged}
	}
}

// carries tests for a network protocol, by its EtherType.
func (g *generator) carries(etherType uint16) *cond {
	switch g.link {
	case models.LinkEthernet, models.LinkSLL, models.LinkSLL2:
		return equal(g.etherType(), uint32(etherType))
	case models.LinkNull, models.LinkLoop:
		return g.family(etherType)
	case models.LinkIPv4:
		return constant(etherType == etherIPv4)
	case models.LinkIPv6:
		return constant(etherType == etherIPv6)
	default:
		return version(etherType)
	}
}

// version tests the first nibble of raw IP.
func version(etherType uint16) *cond {
	nibble := frame(1, 0).and(0xf0)
	switch etherType {
	case etherIPv4:
		return equal(nibble, 0x40)
	case etherIPv6:
		return equal(nibble, 0x60)
	default:
		return constant(false)
	}
}

// family tests the protocol family of BSD loopback, AF_INET and the AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD,
// and macOS. LinkNull has it in the writer's byte order, which is not known here.
func (g *generator) family(etherType uint16) *cond {
	var families []uint32
	switch etherType {
	case etherIPv4:
		families = []uint32{2}
	case etherIPv6:
		families = []uint32{10, 24, 28, 30}
	default:
		return constant(false)
	}
	var cs []*cond
	for _, f := range families {
		cs = append(cs, equal(frame(4, 0), f))
		if g.link == models.LinkNull {
			cs = append(cs, equal(frame(4, 0), f<<24))
		}
	}
	return or(cs...)
}

// cond of a negation.
func (n *notNode) cond(g *generator) *cond { return not(n.of.cond(g)) }

// cond of two conditions.
func (n *binaryNode) cond(g *generator) *cond {
	left := n.left.cond(g)
	return join(n.or, left, n.right.cond(g))
}

// directed joins the two ends of a packet.
func directed(dir direction, end func(source bool) *cond) *cond {
	switch dir {
	case dirSource:
		return end(true)
	case dirDestination:
		return end(false)
	default:
		return join(dir == dirEither, end(true), end(false))
	}
}

// cond of an IPv4 address: in IPv4, or in what ARP and RARP say of it (RFC 826, RFC 903).
func (n *hostNode) cond(g *generator) *cond {
	at := func(etherType uint16, src, dst uint32) *cond {
		return directed(n.dir, func(isSrc bool) *cond {
			offset := dst
			if isSrc {
				offset = src
			}
			return and(g.carries(etherType), masked(g.network(4, offset), n.addr, n.mask))
		})
	}
	switch n.proto {
	case "ip":
		return at(etherIPv4, 12, 16)
	case "arp":
		return at(etherARP, 14, 24)
	case "rarp":
		return at(etherRARP, 14, 24)
	default:
		return or(at(etherIPv4, 12, 16), at(etherARP, 14, 24), at(etherRARP, 14, 24))
	}
}

// masked compares the bits of mask. Even without any the packet must have the bytes.
func masked(v value, k, mask uint32) *cond {
	if mask == ^uint32(0) {
		return equal(v, k)
	}
	return equal(v.and(mask), k)
}

// cond of an IPv6 address.
func (n *host6Node) cond(g *generator) *cond {
	return directed(n.dir, func(isSrc bool) *cond {
		start := uint32(24)
		if isSrc {
			start = 8
		}
		c := g.carries(etherIPv6)
		for i := range n.addr {
			c = and(c, masked(g.network(4, start+4*uint32(i)), n.addr[i], n.mask[i]))
		}
		return c
	})
}

// cond of an Ethernet address.
func (n *macNode) cond(g *generator) *cond {
	if g.link != models.LinkEthernet {
		return g.fail(n.at, "there are no Ethernet addresses on %s", g.linkName())
	}
	return directed(n.dir, func(isSrc bool) *cond {
		if isSrc {
			return macAt(6, n.mac)
		}
		return macAt(0, n.mac)
	})
}

func macAt(offset uint32, m models.MAC) *cond {
	high := uint32(m[0])<<8 | uint32(m[1])
	low := uint32(m[2])<<24 | uint32(m[3])<<16 | uint32(m[4])<<8 | uint32(m[5])
	return and(equal(frame(4, offset+2), low), equal(frame(2, offset), high)) // the low bytes differ more often
}

// cond of broadcast and multicast.
func (n *castNode) cond(g *generator) *cond {
	switch n.proto {
	case "ip":
		return and(g.carries(etherIPv4), &cond{kind: condTest, val: g.network(1, 16), test: test{jge, 224}})
	case "ip6":
		return and(g.carries(etherIPv6), equal(g.network(1, 24), 0xff))
	}
	switch {
	case g.link != models.LinkEthernet:
		return g.fail(n.at, "there are no Ethernet addresses on %s", g.linkName())
	case n.broadcast:
		return macAt(0, models.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	default:
		return &cond{kind: condTest, val: frame(1, 0), test: test{jset, 1}}
	}
}

// cond of a number behind proto.
func (n *numberNode) cond(g *generator) *cond {
	switch n.proto {
	case "ip":
		return g.ip4Proto(n.number)
	case "ip6":
		return g.ip6Proto(n.number)
	default:
		return or(g.ip4Proto(n.number), g.ip6Proto(n.number))
	}
}

func (g *generator) ip4Proto(number uint8) *cond {
	return and(g.carries(etherIPv4), equal(g.network(1, 9), uint32(number)))
}

// ip6Proto looks at the header behind IPv6's own, and at the one behind a fragment header.
func (g *generator) ip6Proto(number uint8) *cond {
	next := g.network(1, 6)
	return and(g.carries(etherIPv6), or(equal(next, uint32(number)), and(equal(next, protoFragment), equal(g.network(1, 40), uint32(number)))))
}

// cond of an EtherType.
func (n *etherTypeNode) cond(g *generator) *cond { return g.carries(n.number) }

// cond of a protocol by its name.
func (n *protocolNode) cond(g *generator) *cond { return g.protocol(n.name) }

func (g *generator) protocol(name string) *cond {
	inEither := func(number uint8) *cond { return or(g.ip4Proto(number), g.ip6Proto(number)) }
	switch name {
	case "ip":
		return g.carries(etherIPv4)
	case "ip6":
		return g.carries(etherIPv6)
	case "arp":
		return g.carries(etherARP)
	case "rarp":
		return g.carries(etherRARP)
	case "icmp":
		return g.ip4Proto(protoICMP)
	case "igmp":
		return g.ip4Proto(protoIGMP)
	case "icmp6":
		return g.ip6Proto(protoICMPv6)
	case "tcp":
		return inEither(protoTCP)
	case "udp":
		return inEither(protoUDP)
	case "sctp":
		return inEither(protoSCTP)
	case "pim":
		return inEither(protoPIM)
	case "ah":
		return inEither(protoAH)
	default: // esp
		return inEither(protoESP)
	}
}

// cond of ports. In IPv4 only a first fragment has them; in IPv6 they are looked for directly behind the fixed header.
func (n *portNode) cond(g *generator) *cond {
	numbers := []uint8{protoSCTP, protoTCP, protoUDP}
	switch n.proto {
	case "tcp":
		numbers = []uint8{protoTCP}
	case "udp":
		numbers = []uint8{protoUDP}
	case "sctp":
		numbers = []uint8{protoSCTP}
	}
	ports := func(at func(size uint8, offset uint32) value, start uint32) *cond {
		return directed(n.dir, func(isSrc bool) *cond {
			if isSrc {
				return n.within(at(2, start))
			}
			return n.within(at(2, start+2))
		})
	}
	var ip4, ip6 []*cond
	for _, number := range numbers {
		ip6 = append(ip6, and(equal(g.network(1, 6), uint32(number)), ports(g.network, 40)))
		ip4 = append(ip4, and(equal(g.network(1, 9), uint32(number)), g.firstFragment(), ports(g.payload, 0)))
	}
	return or(and(g.carries(etherIPv6), or(ip6...)), and(g.carries(etherIPv4), or(ip4...)))
}

// firstFragment tests an IPv4 header: its offset (RFC 791, section 3.1) is 0.
func (g *generator) firstFragment() *cond {
	return not(&cond{kind: condTest, val: g.network(2, 6), test: test{jset, 0x1fff}})
}

func (n *portNode) within(v value) *cond {
	if n.low == n.top {
		return equal(v, uint32(n.low))
	}
	return and(&cond{kind: condTest, val: v, test: test{jge, uint32(n.low)}},
		not(&cond{kind: condTest, val: v, test: test{jgt, uint32(n.top)}}))
}
