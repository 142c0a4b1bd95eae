package detect

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"netlyra/internal/models"
)

// claim is a hardware address that says it has a protocol address (RFC 826: the sender's pair of an ARP packet).
type claim struct {
	addr models.Addr
	mac  models.MAC
}

// claimed counts a claim in the two halves of its window.
type claimed struct {
	period int64
	counts [2]uint32
}

// claims is what ARP has said lately. It is bounded: who floods ARP makes no further entries, which is counted.
type claims struct {
	counts map[claim]*claimed
	macs   map[models.Addr][]models.MAC
	period int64 // up to which silent ones have been dropped
}

const (
	maxClaims    = 1 << 16
	maxRivals    = 16      // hardware addresses that claim one address
	maxObserved  = 1 << 14 // ARP packets per worker and slot that are looked at
	claimsToTell = 3       // a hardware address that has claimed so often in the window means it
)

// Observe takes what belongs to no connection. It keeps a copy until the next Reset; what is beyond maxObserved in one slot is
// only counted.
func (a *Accumulator) Observe(o models.Observation) {
	if len(a.observed) == maxObserved {
		a.unobserved++
		return
	}
	a.observed = append(a.observed, o)
}

// claimsOf counts the slot's claims and returns the addresses about which there was one, in order. A probe (sender 0.0.0.0, RFC 5227)
// claims nothing.
func (j *Judge) claimsOf(n int64, parts []*Accumulator) []models.Addr {
	period := periodOf(n)
	j.arp.expire(period)
	var touched []models.Addr
	for _, a := range parts {
		j.claimsLost += a.unobserved
		for _, o := range a.observed {
			if uint32(o.Sender.Lo) == 0 {
				continue
			}
			if !j.arp.add(claim{o.Sender, o.MAC}, period) {
				j.claimsLost++
				continue
			}
			touched = append(touched, o.Sender)
		}
	}
	slices.SortFunc(touched, compareAddr)
	return slices.Compact(touched)
}

func compareAddr(a, b models.Addr) int {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo))
}

func (c *claims) add(k claim, period int64) bool {
	if c.counts == nil {
		c.counts, c.macs = map[claim]*claimed{}, map[models.Addr][]models.MAC{}
	}
	n := c.counts[k]
	if n == nil {
		if len(c.counts) >= maxClaims || len(c.macs[k.addr]) >= maxRivals {
			return false
		}
		n = &claimed{period: period}
		c.counts[k] = n
		c.macs[k.addr] = append(c.macs[k.addr], k.mac)
	}
	n.turn(period)
	n.counts[0]++
	return true
}

// expire drops, once a half of the window, the claims that have been silent for a whole one.
func (c *claims) expire(period int64) {
	if period == c.period {
		return
	}
	c.period = period
	for k, n := range c.counts {
		if n.turn(period); n.counts[0]+n.counts[1] > 0 {
			continue
		}
		delete(c.counts, k)
		if c.macs[k.addr] = slices.DeleteFunc(c.macs[k.addr], func(m models.MAC) bool { return m == k.mac }); len(c.macs[k.addr]) == 0 {
			delete(c.macs, k.addr)
		}
	}
}

func (c *claimed) turn(period int64) {
	for range min(max(period-c.period, 0), 2) {
		c.counts[1], c.counts[0] = c.counts[0], 0
	}
	c.period = period
}

// rivals are the hardware addresses that mean it, the most insistent first.
func (c *claims) rivals(addr models.Addr, period int64) []rival {
	var rs []rival
	for _, mac := range c.macs[addr] {
		n := c.counts[claim{addr, mac}]
		n.turn(period)
		if sum := n.counts[0] + n.counts[1]; sum >= claimsToTell {
			rs = append(rs, rival{mac, sum})
		}
	}
	slices.SortFunc(rs, func(a, b rival) int {
		return cmp.Or(cmp.Compare(b.claims, a.claims), bytes.Compare(a.mac[:], b.mac[:]))
	})
	return rs
}

type rival struct {
	mac    models.MAC
	claims uint32
}

// limitARP: two hardware addresses that go on claiming one protocol address.
func (j *Judge) limitARP(n int64, claimed []models.Addr) {
	period := periodOf(n)
	for _, addr := range claimed {
		rs := j.arp.rivals(addr, period)
		if len(rs) < 2 {
			continue
		}
		st := &j.roles[Destination]
		e := st.entities.get(addr, hashAddr(addr), j.turn)
		if e == noEntity {
			continue
		}
		in := j.over(Destination, st, e, models.CategoryARPSpoofing, lead{"claiming_macs", "hardware addresses", float64(len(rs)), 2})
		if in != nil {
			in.count++
			in.rivals = rs
		}
	}
}

// explainARP writes the sentence of an address that two claim.
func explainARP(in *incident, a *models.Alert) {
	a.Proto = models.ProtoARP.String()
	first, second := in.rivals[0].mac.String(), in.rivals[1].mac.String()
	a.Facts = append(a.Facts, models.Fact{Name: "mac", Text: first}, models.Fact{Name: "other_mac", Text: second})
	a.Summary = fmt.Sprintf("%s and %s both claim to be %s: one of them may be intercepting its traffic.", first, second, in.key.addr)
	a.Counterfactual = fmt.Sprintf("No alert if only one hardware address had claimed %s more than %d times within %d s.", in.key.addr, claimsToTell-1, 2*windowSeconds)
}
