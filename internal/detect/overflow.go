package detect

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"netlyra/internal/models"
)

// When as many incidents are open as there may be, the one that is worth least gives way to one that is worth more. What has given way, or
// found no place, is reported as one incident of its category, so that a thousand spoofed scanners neither hide a real one nor make a
// thousand alerts.

// worth ranks incidents: by severity, by whether somebody inside is concerned, by score.
type worth struct {
	severity  int
	concerned int // 2: the source is inside; 1: only the target is; 0: nobody is
	score     float64
}

func (a worth) compare(b worth) int {
	return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.concerned, b.concerned), cmp.Compare(a.score, b.score))
}

// worthOf is the worth of what was found of an entity, whose main peer is peer.
func (j *Judge) worthOf(key incidentKey, peer models.Addr, f *finding) worth {
	w := worth{severity: slices.Index(models.Severities(), f.severity), score: f.score}
	src, dst := key.addr, peer
	if key.role == Destination {
		src, dst = dst, src
	}
	switch {
	case j.inside(src, models.MAC{}):
		w.concerned = 2
	case j.inside(dst, models.MAC{}):
		w.concerned = 1
	}
	return w
}

// surplusKey is what is reported together: who does the same, or to whom the same is done.
type surplusKey struct {
	category models.Category
	role     Role
}

func (k surplusKey) compare(o surplusKey) int {
	return cmp.Or(cmp.Compare(k.category, o.category), cmp.Compare(k.role, o.role))
}

// maxOpen is how many incidents may be open.
func (j *Judge) maxOpen() int { return min(maxIncidents, j.options.MaxEntities/4) }

// place says whether a further incident of this worth can be opened. If there is no room, the one that is worth least gives way, unless
// the new one is worth no more.
func (j *Judge) place(w worth, key incidentKey, main *mainConn, f *finding) bool {
	if len(j.incidents) < j.maxOpen() {
		return true
	}
	j.incidentCap++
	least := j.leastWorth()
	if least == nil || w.compare(j.worthOf(least.key, least.main.peer, &least.finding)) <= 0 {
		j.overflow(key, main, f)
		return false
	}
	j.overflow(least.key, &least.main, &least.finding)
	j.close(least)
	return true
}

// leastWorth is the open incident that is worth least: of equals the one that has been silent longest. One that has not been reported yet
// stays: its evidence is incomplete.
func (j *Judge) leastWorth() (least *incident) {
	var lowest worth
	for _, in := range j.incidents {
		if in.rev == 0 {
			continue
		}
		w := j.worthOf(in.key, in.main.peer, &in.finding)
		if least == nil || cmp.Or(w.compare(lowest), cmp.Compare(in.last, least.last), cmp.Compare(in.id, least.id)) < 0 {
			least, lowest = in, w
		}
	}
	return least
}

// surplus is the incident of those of one key for which there was no room.
type surplus struct {
	id       string
	rev      int64
	opened   int64 // capture time
	last     int64
	emitted  int64
	changed  bool
	count    uint64 // findings
	sources  tops[models.Addr]
	targets  tops[models.Addr]
	protos   tops[models.Proto]
	severity models.Severity
	score    float64
	received uint64 // the capture's counts when it opened
	lost     uint64
}

// overflow takes note of an incident for which there is no room.
func (j *Judge) overflow(key incidentKey, main *mainConn, f *finding) {
	of := surplusKey{f.category, key.role}
	s := j.surplus[of]
	if s == nil {
		s = &surplus{opened: j.end, severity: f.severity}
		s.received, s.lost = j.losses.before(j.end - 2*windowSeconds*secondMicros)
		sum := sha256.Sum256(fmt.Appendf(nil, "%s|more|%s|%d|%d", j.options.Sensor, f.category, key.role, j.end))
		s.id = hex.EncodeToString(sum[:8])
		j.surplus[of] = s
		j.limitAlerts++
	}
	src, dst := key.addr, main.peer
	if key.role == Destination {
		src, dst = dst, src
	}
	s.protos.add(main.proto, hashPort(0, main.proto), 1)
	s.sources.add(src, hashAddr(src), 1)
	s.targets.add(dst, hashAddr(dst), 1)
	if slices.Index(models.Severities(), f.severity) > slices.Index(models.Severities(), s.severity) {
		s.severity = f.severity
	}
	s.score = max(s.score, f.score)
	s.count++
	s.last, s.changed = j.end, true
}

// emitSurplus sends the revisions that are due of what had no room, at most one a second, in a fixed order.
func (j *Judge) emitSurplus() {
	if len(j.surplus) == 0 {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(j.surplus), surplusKey.compare) {
		if s := j.surplus[k]; s.changed && (s.rev == 0 || j.end-s.emitted >= secondMicros) {
			j.out = append(j.out, j.surplusAlert(k, s, models.AlertOpen))
		}
	}
}

// closeSurplus closes what has been silent since a time, capture time.
func (j *Judge) closeSurplus(since int64) {
	if len(j.surplus) == 0 {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(j.surplus), surplusKey.compare) {
		if s := j.surplus[k]; s.last <= since {
			j.out = append(j.out, j.surplusAlert(k, s, models.AlertClosed))
			delete(j.surplus, k)
		}
	}
}

// surplusAlert writes down what had no room. Each host is counted once, however often it was over a limit.
func (j *Judge) surplusAlert(k surplusKey, s *surplus, state models.AlertState) models.Alert {
	s.rev++
	s.emitted, s.changed = j.end, false
	sources, targets := s.sources.total(), s.targets.total()
	room := j.maxOpen()
	is := "are"
	if state == models.AlertClosed {
		is = "were"
	}
	what, role, hosts, n := "sources", models.PeersAreSources, &s.sources, sources
	if k.role == Destination {
		what, role, hosts, n = "targets", models.PeersAreTargets, &s.targets, targets
	}
	if n == 1 {
		what, is = what[:len(what)-1], map[string]string{"are": "is", "were": "was"}[is]
	}
	a := models.Alert{
		TS: models.Micros(s.opened), LastTS: models.Micros(s.last), ID: s.id, Rev: s.rev, Count: s.count, State: state, Sensor: j.options.Sensor,
		Score: s.score, Category: k.category, Severity: s.severity, Role: role, Proto: s.protos.first(cmp.Compare[models.Proto]).String(),
		SrcIP: s.sources.first(compareAddr).String(), DstIP: s.targets.first(compareAddr).String(),
		Features: map[string]float64{"hst_score": 0},
		Peers:    models.Top{Total: uint64(n), Top: hosts.most(compareAddr, models.Addr.String)},
		Ports:    models.Top{Top: []models.Count{}},
		Detector: models.DetectorInfo{Name: Name, Version: Version, Parts: j.parts()}, CaptureConfidence: j.confidenceSince(s.received, s.lost),
		Summary: fmt.Sprintf("At least %d more %s %s over the limit for %s: %d incidents are open already, so these are not listed one by one.",
			n, what, is, k.category.Words(), room),
		Counterfactual: fmt.Sprintf("Each would be an incident of its own if fewer than %d incidents had been open at the same time.", room),
		Facts: []models.Fact{
			{Name: "sources", Value: float64(sources), Unit: "hosts"},
			{Name: "targets", Value: float64(targets), Unit: "hosts"},
			{Name: "seconds", Value: float64(s.last-s.opened) / secondMicros, Unit: "s"},
		},
		Reasons: []models.Reason{{
			Feature: "incidents", Value: float64(room + n), Unit: "incidents", Expected: models.Range{High: float64(room)}, Contribution: 1, Basis: models.BasisLimit,
		}},
	}
	for n := range numFeatures {
		a.Features[n.info().name] = 0
	}
	a.Detector.Learning = learning(a.Detector.Parts)
	return a
}
