package detect

import (
	"netlyra/internal/models"
)

// leadSources is the value of a flood that is told by the number of its sources.
const leadSources = "sources"

// limitCategories are the kinds of incident that limits raise, in a fixed order.
func limitCategories() []models.Category {
	return []models.Category{models.CategoryPortScan, models.CategoryHostSweep, models.CategoryFlood, models.CategoryAmplification, models.CategoryAnomaly}
}

// limits holds the entities that moved in this slot against the limits, gathers the evidence and sends what is due.
func (j *Judge) limits(parts []*Accumulator) {
	for _, e := range j.roles[Source].moved {
		j.limitSource(e)
	}
	for _, e := range j.roles[Destination].moved {
		j.limitDestination(e)
	}
	if len(j.incidents) > 0 {
		j.gather(parts)
		j.emit()
	}
}

// limitSource: one host that tries many ports or many hosts, and mostly fails.
func (j *Judge) limitSource(i uint32) {
	st, l := &j.roles[Source], &j.options.Limits
	e := &st.entities.slab[i]
	opened := e.opened()
	if opened < min(l.ScanPorts, l.SweepHosts) || float64(e.failed()) < l.FailedShare*float64(opened) || !e.goesOn(min(l.ScanPorts, l.SweepHosts), l.FailedShare) {
		return
	}
	ports, peers := e.portCount(&st.entities.blocks), e.peerCount(&st.entities.blocks)
	switch {
	case ports >= l.ScanPorts:
		j.over(Source, st, i, models.CategoryPortScan, lead{"ports", "ports", float64(ports), float64(l.ScanPorts)})
	case peers >= l.SweepHosts:
		j.over(Source, st, i, models.CategoryHostSweep, lead{"peers", "hosts", float64(peers), float64(l.SweepHosts)})
	}
}

// limitDestination: one host that many connections come to which do not get through, or that is sent what it has not asked for.
func (j *Judge) limitDestination(i uint32) {
	st, l := &j.roles[Destination], &j.options.Limits
	e := &st.entities.slab[i]
	if unasked := e.unasked(); unasked >= l.UnsolicitedBytes && 100*e.now.unasked >= l.UnsolicitedBytes {
		j.over(Destination, st, i, models.CategoryAmplification, lead{"unasked_bytes", "bytes", float64(unasked), float64(l.UnsolicitedBytes)})
		return
	}
	opened, failed := e.opened(), e.failed()
	if failed < l.FloodHalfOpen || float64(failed) < l.FailedShare*float64(opened) || !e.goesOn(l.FloodHalfOpen, l.FailedShare) {
		return
	}
	ports, peers := e.portCount(&st.entities.blocks), e.peerCount(&st.entities.blocks)
	switch {
	case ports <= l.FloodPorts:
		j.over(Destination, st, i, models.CategoryFlood, lead{"failed_connections", "connections", float64(failed), float64(l.FloodHalfOpen)})
	case peers >= l.FloodSources:
		j.over(Destination, st, i, models.CategoryFlood, lead{leadSources, "hosts", float64(peers), float64(l.FloodSources)})
	}
}

// over raises an incident for an entity that crossed a limit.
func (j *Judge) over(r Role, st *roleState, i uint32, category models.Category, l lead) *incident {
	e := &st.entities.slab[i]
	v := vectorOf(e, &st.entities.blocks)
	p := v.point()
	score := limitScore(l.value, l.limit)
	return j.raise(incidentKey{e.addr, r, category}, i, finding{
		category: category, severity: severityOf(score), score: score, raw: round(st.trees.Score(p[:])), vector: v, lead: l,
	})
}

// strange raises an incident for an entity-second that the trees find too rare.
func (j *Judge) strange(r Role, st *roleState, c *evaluated, v vector, score float64) {
	reasons := j.contributions(st, c, v)
	l := lead{feature: reasons[0].Feature, unit: reasons[0].Unit, value: reasons[0].Value, limit: reasons[0].Expected.High}
	if in := j.raise(incidentKey{c.addr, r, models.CategoryAnomaly}, c.entity, finding{
		category: models.CategoryAnomaly, severity: models.SeverityMedium, score: score, raw: c.raw, vector: v, lead: l, reasons: reasons, learned: true,
	}); in != nil {
		in.count++
		j.out = append(j.out, j.alert(in, models.AlertOpen))
	}
}
