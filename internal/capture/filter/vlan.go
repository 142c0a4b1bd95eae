package filter

import (
	"golang.org/x/net/bpf"

	"netlyra/internal/models"
)

type (
	protocolNode struct{ name string }
	castNode     struct {
		at        int
		proto     string // "ip", "ip6"; "" for Ethernet
		broadcast bool
	}
	vlanNode struct {
		at    int
		id    uint16
		named bool // id counts
	}
)

// cond of a VLAN tag. Everything behind it in the expression is looked for behind the tag, whether or not there is one,
// as in tcpdump: "vlan or ip" finds IP only behind a tag.
func (n *vlanNode) cond(g *generator) *cond {
	if g.link != models.LinkEthernet {
		return g.fail(n.at, "there are no VLAN tags on %s", g.linkName())
	}
	g.tags++
	if g.live && g.tags == 1 {
		return n.outermost(g)
	}
	c := n.inBytes(g.etherType(), g.network(2, 0))
	g.shift += tagBytes
	return c
}

// inBytes tests a tag that is in the frame.
func (n *vlanNode) inBytes(etherType, tci value) *cond {
	c := or(equal(etherType, etherVLAN), equal(etherType, etherQinQ), equal(etherType, etherQinQLegacy))
	if n.named {
		c = and(c, n.isID(tci))
	}
	return c
}

func (n *vlanNode) isID(tci value) *cond {
	const idBits = 0x0fff
	return equal(tci.and(idBits), uint32(n.id))
}

// outermost tests the tag that the kernel may have taken out of the frame. Only where it is still there, offsets move: by
// what is in tagRegister from here on.
func (n *vlanNode) outermost(g *generator) *cond {
	stripped := equal(frame(1, ancTagPresent), 1)
	inside := n.inBytes(g.etherType(), g.network(2, 0))
	g.tagged = true
	move := &cond{kind: condAction, code: []bpf.RawInstruction{op(ld|imm, tagBytes), op(st, tagRegister)}}
	if n.named {
		stripped = and(stripped, n.isID(frame(2, ancTag)))
		return or(stripped, and(not(equal(frame(1, ancTagPresent), 1)), move, inside))
	}
	return or(stripped, and(move, inside))
}
