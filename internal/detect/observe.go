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

// claimsOf counts the slot's claims, in an order that does not depend on who observed them, and returns the addresses about which there
// was one. A probe (sender 0.0.0.0, RFC 5227) claims nothing.
func (j *Judge) claimsOf(n int64, parts []*Accumulator) []models.Addr {
	period := periodOf(n)
	j.arp.expire(period)
	j.heard = j.heard[:0]
	for _, a := range parts {
		j.claimsLost += a.unobserved
		for i := range a.observed {
			j.heard = append(j.heard, &a.observed[i])
		}
	}
	slices.SortFunc(j.heard, compareObservations)
	j.touched = j.touched[:0]
	for _, o := range j.heard {
		if uint32(o.Sender.Lo) == 0 {
			continue
		}
		j.probeARP(o)
		j.contest(o)
		if !j.arp.add(claim{o.Sender, o.MAC}, period) {
			j.claimsLost++
			continue
		}
		j.touched = append(j.touched, o.Sender)
	}
	slices.SortFunc(j.touched, compareAddr)
	return slices.Compact(j.touched)
}

func compareObservations(a, b *models.Observation) int {
	return cmp.Or(cmp.Compare(a.TS, b.TS), compareAddr(a.Sender, b.Sender), compareAddr(a.Target, b.Target), bytes.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.Op, b.Op))
}

// probeARP counts the addresses that one asks for and that nobody has said to have: who has it answers at once. A router asks for whatever others send to.
func (j *Judge) probeARP(o *models.Observation) {
	const request, reply = 1, 2
	arp := portProto{proto: models.ProtoARP}
	switch {
	case o.Op == reply:
		if p := j.probes.find(probeKey{source: o.Target, port: arp}); p != nil {
			p.succeeded(hashAddr(o.Sender), o.TS)
		}
	case o.Op == request && o.Target != o.Sender && !j.losing && (!j.known(o.MAC) || j.onLink(o.MAC)):
		j.attempt(probeKey{source: o.Sender, port: arp}, hashAddr(o.Target), mainConn{peer: o.Target, proto: models.ProtoARP})
	}
}

func (j *Judge) known(mac models.MAC) bool { return j.links.find(mac) != nil }

// conflict is a claim to an address that another machine was using a moment ago. If that one goes on, there are two.
type conflict struct {
	addr       models.Addr
	owner, mac models.MAC
	at         int64
}

const (
	maxConflicts   = 64
	ownerSeconds   = 60 // how recently the owner must have been heard
	contestSeconds = 30 // within which it must be heard again
)

// contest notes a claim to an address that traffic came from a moment ago, from another hardware address. The virtual routers of RFC 9568
// pass theirs on by design.
func (j *Judge) contest(o *models.Observation) {
	if virtualRouter(o.MAC) {
		return
	}
	if len(j.conflicts) == maxConflicts {
		j.conflictsLost++
		return
	}
	for r := range j.roles {
		e := j.roles[r].entities.find(o.Sender)
		if e == nil || e.mac == (models.MAC{}) || e.mac == o.MAC || virtualRouter(e.mac) || j.end/secondMicros-e.second > ownerSeconds {
			continue
		}
		c := conflict{o.Sender, e.mac, o.MAC, o.TS}
		same := func(k conflict) bool { return k.addr == c.addr && k.owner == c.owner && k.mac == c.mac }
		if !slices.ContainsFunc(j.conflicts, same) {
			j.conflicts = append(j.conflicts, c)
		}
		return
	}
}

func virtualRouter(m models.MAC) bool { return m[0] == 0 && m[1] == 0 && m[2] == 0x5e && m[3] == 0 }

// judgeConflicts looks, once a second, whether the owner of a contested address is still there.
func (j *Judge) judgeConflicts() {
	keep := j.conflicts[:0]
	for _, c := range j.conflicts {
		switch {
		case j.still(&c):
			j.claimed(c.addr, c.mac, []rival{{c.owner, 1}, {c.mac, 1}})
		case j.end-c.at < contestSeconds*secondMicros:
			keep = append(keep, c)
		}
	}
	j.conflicts = keep
}

// still says whether traffic of the address has come from its owner in a second after the claim.
func (j *Judge) still(c *conflict) bool {
	for r := range j.roles {
		if e := j.roles[r].entities.find(c.addr); e != nil && e.mac == c.owner && e.second > c.at/secondMicros {
			return true
		}
	}
	return false
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
		if len(j.arp.macs[addr]) < 2 {
			continue
		}
		rs := j.arp.rivals(addr, period)
		if len(rs) < 2 {
			continue
		}
		j.claimed(addr, j.intruder(addr, rs), rs)
	}
}

// intruder is the one of several claimants that belongs elsewhere: the most insistent of those that speak for another address. Where there
// is none, the address stands for itself.
func (j *Judge) intruder(addr models.Addr, rs []rival) models.MAC {
	for _, r := range rs {
		if j.otherwise(r.mac, addr) != addr {
			return r.mac
		}
	}
	return models.MAC{}
}

// claimed raises the incident of an address that several claim. The culprit is known by an address that it speaks for otherwise; one that
// claims several addresses, as who sits between two does, makes one incident, told by the first of them.
func (j *Judge) claimed(addr models.Addr, mac models.MAC, rs []rival) {
	st := &j.roles[Source]
	culprit := j.otherwise(mac, addr)
	e := st.entities.get(culprit, hashAddr(culprit), j.turn)
	if e == noEntity || j.packets < j.options.Limits.WarmupPackets {
		return
	}
	in := j.over(Source, st, e, models.CategoryARPSpoofing, lead{"claiming_macs", "hardware addresses", float64(len(rs)), 1})
	if in == nil {
		return
	}
	in.count++
	if in.rivals == nil || in.main.peer == addr {
		in.rivals = rs
		in.main = mainConn{peer: addr, proto: models.ProtoARP}
	}
	in.finding.hold = probeHold
	in.peers.add(addr, hashAddr(addr), 1)
}

// otherwise is an address that a machine speaks for beside one; if there is none, that one. A router speaks for others.
func (j *Judge) otherwise(mac models.MAC, but models.Addr) models.Addr {
	if l := j.links.find(mac); l != nil && l.n < routerNets {
		for _, a := range l.nets[:l.n] {
			if a != but && a.Is4() {
				return a
			}
		}
	}
	return but
}

// explainARP writes the sentence of an address that two claim.
func explainARP(in *incident, a *models.Alert) {
	a.Proto = models.ProtoARP.String()
	first, second := in.rivals[0].mac.String(), in.rivals[1].mac.String()
	a.Facts = append(a.Facts, models.Fact{Name: "mac", Text: first}, models.Fact{Name: "other_mac", Text: second})
	claimed := in.main.peer.String()
	a.DstIP = claimed
	a.Summary = fmt.Sprintf("%s and %s both claim to be %s: one of them may be intercepting its traffic.", first, second, claimed)
	a.Counterfactual = fmt.Sprintf("No alert if only one hardware address had claimed %s, or if the other had fallen silent.", claimed)
	if n := a.Peers.Total; n > 1 {
		a.Summary += fmt.Sprintf(" So it is with %d addresses in all.", n)
	}
}
