package detect

import (
	"slices"

	"netlyra/internal/models"
)

// What a flood is told by, where it is not connections that fail: the number of its sources, packets, ICMP packets, or connections
// that get through.
const (
	leadSources = "sources"
	leadPackets = "unanswered_packets"
	leadICMP    = "icmp_packets"
	leadOpened  = "connections"
)

// What a scan is told by, where it is fast: the ports or the hosts that it tries.
const (
	leadPorts = "ports"
	leadPeers = "peers"
)

// limitCategories are the kinds of incident that limits raise, in a fixed order.
func limitCategories() []models.Category {
	return []models.Category{models.CategoryPortScan, models.CategoryHostSweep, models.CategoryFlood, models.CategoryAmplification, models.CategoryAnomaly}
}

// limits holds the entities that moved in this slot against the limits, gathers the evidence and sends what is due.
func (j *Judge) limits(parts []*Accumulator) {
	for r := range j.roles { // what one finds may tell of the next
		st := &j.roles[r]
		slices.SortFunc(st.moved, func(a, b uint32) int { return compareAddr(st.entities.slab[a].addr, st.entities.slab[b].addr) })
	}
	for _, e := range j.roles[Destination].moved {
		j.limitDestination(e)
	}
	j.victims = j.victims[:0]
	for k := range j.incidents {
		if k.category == models.CategoryFlood {
			j.victims = append(j.victims, hashAddr(k.addr))
		}
	}
	for _, e := range j.roles[Source].moved {
		j.limitSource(e)
	}
	if len(j.incidents) > 0 {
		j.gather(parts)
		j.emit()
		j.emitSurplus()
	}
}

// limitSource: one host that tries many ports or many hosts, and mostly fails.
func (j *Judge) limitSource(i uint32) {
	st, l := &j.roles[Source], &j.options.Limits
	e := &st.entities.slab[i]
	opened := e.opened()
	share := l.FailedShare
	if j.losing {
		share = losingShare
	}
	if opened < min(l.ScanPorts, l.SweepHosts) || float64(e.failed()) < share*float64(opened) || !e.goesOn(min(l.ScanPorts, l.SweepHosts), share) {
		return
	}
	ports, peers := e.portCount(&st.entities.blocks), e.peerCount(&st.entities.blocks)
	const vertical = 4 // ports a host: who looks for peers tries many hosts, each on a port of its own
	switch {
	case peers < floodPeers && j.floods(st, e):
		return // who floods many ports of a host does not look what is behind them
	case ports >= l.ScanPorts && (ports >= vertical*peers || ports >= l.SweepHosts):
		j.scan(st, i, models.CategoryPortScan, lead{leadPorts, "ports", float64(ports), float64(l.ScanPorts)})
	case peers >= l.SweepHosts:
		j.scan(st, i, models.CategoryHostSweep, lead{leadPeers, "hosts", float64(peers), float64(l.SweepHosts)})
	}
}

// scan raises a scan. Its attempts fail later, one by one: they are not to be told again.
func (j *Judge) scan(st *roleState, i uint32, category models.Category, l lead) {
	st.entities.slab[i].scanned = j.end
	j.over(Source, st, i, category, l)
}

// floods says whether a source is one of those that flood somebody: it has turned to a host that is being flooded.
func (j *Judge) floods(st *roleState, e *entity) bool {
	return slices.ContainsFunc(j.victims, func(v uint32) bool { return e.knows(&st.entities.blocks, v) })
}

// floodPeers is how many hosts a source may turn to beside the one that it floods.
const floodPeers = 32

// limitDestination: one host that many connections come to which do not get through, or that is sent what it has not asked for.
func (j *Judge) limitDestination(i uint32) {
	st, l := &j.roles[Destination], &j.options.Limits
	e := &st.entities.slab[i]
	if unasked := e.unasked(); unasked >= l.UnsolicitedBytes && 100*uint64(e.now.unasked) >= l.UnsolicitedBytes {
		j.over(Destination, st, i, models.CategoryAmplification, lead{"unasked_bytes", "bytes", float64(unasked), float64(l.UnsolicitedBytes)})
		return
	}
	switch {
	case e.now.silent >= l.FloodPackets && !e.addr.IsMulticast():
		j.over(Destination, st, i, models.CategoryFlood, lead{leadPackets, "packets/s", float64(e.now.silent), float64(l.FloodPackets)})
	case e.now.silent >= l.FloodDatagrams && e.main.proto == models.ProtoUDP &&
		e.now.opened >= l.FloodDatagrams && e.now.bytesOut >= probeBytes*uint64(e.now.packetsOut) && !e.addr.IsMulticast():
		j.over(Destination, st, i, models.CategoryFlood, lead{leadPackets, "packets/s", float64(e.now.silent), float64(l.FloodDatagrams)})
	case e.now.icmp >= l.FloodICMP && !e.addr.IsMulticast():
		j.over(Destination, st, i, models.CategoryFlood, lead{leadICMP, "packets/s", float64(e.now.icmp), float64(l.FloodICMP)})
	default:
		j.limitConnections(st, i, e)
	}
}

// limitConnections: so many connections to one host that fail, or that come from so many sources, or that there are.
func (j *Judge) limitConnections(st *roleState, i uint32, e *entity) {
	l := &j.options.Limits
	opened, failed := e.opened(), e.failed()
	share := l.FailedShare
	if j.losing {
		share = losingShare
	}
	failing := failed >= l.FloodHalfOpen && float64(failed) >= share*float64(opened) && e.goesOn(l.FloodHalfOpen, share)
	usual := j.usualOpened(e)
	if !failing && opened < usual {
		return
	}
	ports, peers := e.portCount(&st.entities.blocks), e.peerCount(&st.entities.blocks)
	switch {
	case failing && ports <= l.FloodPorts:
		j.over(Destination, st, i, models.CategoryFlood, lead{"failed_connections", "connections", float64(failed), float64(l.FloodHalfOpen)})
	case failing && peers >= l.FloodSources:
		j.over(Destination, st, i, models.CategoryFlood, lead{leadSources, "hosts", float64(peers), float64(l.FloodSources)})
	case opened >= usual && ports <= l.FloodPorts && !j.guessed(e.addr) && 10*int(e.now.opened+e.before.opened) >= usual:
		j.over(Destination, st, i, models.CategoryFlood, lead{leadOpened, "connections", float64(opened), float64(usual)})
	}
}

const (
	probeBytes   = 100 // a datagram that only looks whether somebody is there is smaller
	losingShare  = 0.9 // of the connections must fail where answers may have been lost
	openedFactor = 8   // times what a host usually sees
	coldFactor   = 15  // times the limit, until it is known what is usual
)

// guessed says whether somebody is trying passwords on a host: that takes many connections, too.
func (j *Judge) guessed(host models.Addr) bool {
	for k, in := range j.incidents {
		if k.category == models.CategoryBruteForce && in.main.peer == host {
			return true
		}
	}
	return false
}

// usualOpened is how many connections to a host within the window are too many.
func (j *Judge) usualOpened(e *entity) int {
	limit := j.options.Limits.FloodOpened
	if !j.learned() {
		limit *= coldFactor
	}
	return max(limit, openedFactor*int(j.usualPeak(Destination, e)))
}

// over raises an incident for an entity that crossed a limit.
func (j *Judge) over(r Role, st *roleState, i uint32, category models.Category, l lead) *incident {
	return j.overPair(r, st, i, category, l, mainConn{})
}

// overPair raises one that is about more than the window, so that it does not begin with what the window has seen.
func (j *Judge) overPair(r Role, st *roleState, i uint32, category models.Category, l lead, pair mainConn) *incident {
	e := &st.entities.slab[i]
	if category == models.CategoryFlood {
		e.flooded = j.end
	}
	v := vectorOf(e, &st.entities.blocks)
	score := limitScore(l.value, l.limit)
	return j.raise(incidentKey{e.addr, r, category}, i, finding{
		category: category, severity: severityOf(category, score), score: score, raw: st.model.river(&v), vector: v, lead: l, pair: pair,
	})
}

// strange raises an incident for an entity-second that is too rare.
func (j *Judge) strange(r Role, st *roleState, i uint32, v *vector, score float64) {
	e := &st.entities.slab[i]
	reasons := j.contributions(st, e, v)
	l := lead{feature: reasons[0].Feature, unit: reasons[0].Unit, value: reasons[0].Value, limit: reasons[0].Expected.High}
	if in := j.raise(incidentKey{e.addr, r, models.CategoryAnomaly}, i, finding{
		category: models.CategoryAnomaly, severity: models.SeverityMedium, score: score, raw: j.sight.river, vector: *v, lead: l, reasons: reasons,
		learned: true, hold: blockMicros,
	}); in != nil {
		in.count++
		j.send(in)
	}
}
