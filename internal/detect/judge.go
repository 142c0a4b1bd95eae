package detect

import (
	"cmp"
	"math"
	"slices"

	"netlyra/internal/detect/hst"
	"netlyra/internal/models"
)

// Judge decides, slot by slot. It is not for concurrent use.
type Judge struct {
	options       Options
	roles         [numRoles]roleState
	packets       uint64 // seen so far
	least         int    // connections opened in the window below which no limit can be crossed
	turn          int64  // counts the calls of Slot
	elapsed       int64  // capture time judged, microseconds; a gap counts for maxStep at most
	end           int64  // the open slot's end: what "now" is
	second        int64  // the second that is being collected
	arp           claims
	claimsLost    uint64 // ARP packets that were not looked at, because there were too many
	incidents     map[incidentKey]*incident
	incidentCap   uint64 // incidents that were not opened because too many are
	learnedAlerts uint64 // opened by the trees alone
	received      uint64
	lost          uint64
	candidates    []candidate
	evaluated     []evaluated
	sink          uint64 // keeps the compiler from dropping the loads of touch
	out           []models.Alert
}

// roleState is what the judge knows of one role.
type roleState struct {
	entities *entities
	trees    *hst.Trees
	ranks    ranks
	usual    usual
	moved    []uint32 // entities that moved in this slot and are far enough to be held against the limits
	active   []uint32 // entities that moved in this second
	skipped  uint64   // entity-seconds not evaluated because there were too many
}

const (
	secondMicros   = 1_000_000
	maxEvaluations = 512 // entity-seconds that the trees see per role and second
	minPackets     = 3   // an entity-second with fewer says nothing
	maxIncidents   = 512
	touchAhead     = 32 // entities whose cache misses overlap
	maxStep        = 2 * secondMicros
	tidyPerSlot    = 64 // entities that are looked at for what is out of date
)

// Slot judges slot n, merged from what the workers accumulated; received and lost are the capture's counts so far. The alerts are
// new revisions of incidents, in a fixed order, valid until the next call.
func (j *Judge) Slot(n int64, parts []*Accumulator, received, lost uint64) []models.Alert {
	j.out = j.out[:0]
	j.received, j.lost = received, lost
	j.advance(n * models.SlotMicros)
	if end := (n + 1) * models.SlotMicros; end > j.end {
		j.elapsed += min(end-max(j.end, n*models.SlotMicros), maxStep)
		j.end = end
	}
	j.turn++
	for _, a := range parts {
		j.merge(n, a)
	}
	claimed := j.claimsOf(n, parts)
	if j.packets >= j.options.Limits.WarmupPackets {
		j.limitARP(n, claimed)
		j.limits(parts)
	}
	for r := range j.roles {
		j.roles[r].moved = j.roles[r].moved[:0]
		j.roles[r].entities.tidy(periodOf(n), tidyPerSlot)
	}
	return j.sorted()
}

// Advance tells that capture time has come to t without traffic: seconds end, incidents close.
func (j *Judge) Advance(t int64) []models.Alert {
	j.out = j.out[:0]
	j.advance(t)
	j.end = max(j.end, t)
	return j.sorted()
}

// SetBack tells that the clock was set back to t. What is open is closed, at its own time; windows start anew; what has been learned stays.
func (j *Judge) SetBack(t int64) []models.Alert {
	j.out = j.out[:0]
	for _, in := range j.open() {
		j.close(in)
	}
	for r := range j.roles {
		j.roles[r].entities.forget()
		j.roles[r].active = j.roles[r].active[:0]
	}
	j.arp = claims{}
	j.end, j.second = t, t/secondMicros
	return j.sorted()
}

// Finish closes everything that is open: the capture is over.
func (j *Judge) Finish() []models.Alert {
	j.out = j.out[:0]
	for _, in := range j.open() {
		j.close(in)
	}
	return j.sorted()
}

// advance ends the second that runs, if t lies beyond it, and closes incidents that have been silent.
func (j *Judge) advance(t int64) {
	if j.end > 0 && t > j.end {
		j.elapsed += min(t-j.end, maxStep)
	}
	if s := t / secondMicros; s > j.second {
		j.evaluateSecond()
		j.second = s
		j.closeSilent(t)
	}
}

func (j *Judge) sorted() []models.Alert {
	slices.SortFunc(j.out, func(a, b models.Alert) int {
		return cmp.Or(cmp.Compare(a.TS, b.TS), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Rev, b.Rev))
	})
	return j.out
}

// periodOf is the half of the window that slot n falls into.
func periodOf(n int64) int64 { return n * models.SlotMicros / secondMicros / windowSeconds }

// merge adds what one worker accumulated to the entities.
func (j *Judge) merge(n int64, a *Accumulator) {
	j.packets += a.packets
	for r := range j.roles {
		for rows := a.rows[r]; len(rows) > 0; {
			batch := rows[:min(len(rows), touchAhead)]
			j.sink += j.roles[r].entities.touch(batch)
			for i := range batch {
				j.mergeRow(n, Role(r), a, &batch[i])
			}
			rows = rows[len(batch):]
		}
	}
	for i := range a.slots {
		s := &a.slots[i]
		if !s.New {
			continue
		}
		src := a.rows[Source][a.rowOf[Source][i]].entity
		dst := a.rows[Destination][a.rowOf[Destination][i]].entity
		port := hashPort(s.RespPort, s.Proto)
		sources, destinations := j.roles[Source].entities, j.roles[Destination].entities
		if src == noEntity || dst == noEntity {
			continue
		}
		from, to := &sources.slab[src], &destinations.slab[dst]
		from.ports[0].add(&sources.blocks, port)
		from.peers[0].add(&sources.blocks, to.hash)
		to.ports[0].add(&destinations.blocks, port)
		to.peers[0].add(&destinations.blocks, from.hash)
	}
}

func (j *Judge) mergeRow(n int64, r Role, a *Accumulator, m *moved) {
	st := &j.roles[r]
	m.entity = st.entities.get(m.addr, m.hash, j.turn)
	if m.entity == noEntity {
		return // there is no room, which is counted
	}
	e := &st.entities.slab[m.entity]
	if e.slot != j.turn {
		e.slot = j.turn
		e.recent = true
		e.turn(periodOf(n), &st.entities.blocks)
	}
	if e.second != j.second {
		e.before = recent{}
		if e.second == j.second-1 {
			e.before = recent{e.now.opened, e.now.completed}
		}
		e.second = j.second
		e.now = tally{}
		e.main = mainConn{}
		st.active = append(st.active, m.entity)
	}
	if m.mainBytes >= e.main.bytes {
		e.main = e.main.heavier(mainConnOf(r, &a.slots[m.main]))
	}
	h := &e.halves[0]
	h.opened += m.opened
	h.completed += m.completed
	h.unasked += m.unasked
	if e.listed != j.turn && (e.opened() >= j.least || e.unasked() >= j.options.Limits.UnsolicitedBytes) {
		e.listed = j.turn
		st.moved = append(st.moved, m.entity)
	}
	t := &e.now
	t.opened += m.opened
	t.completed += m.completed
	t.packetsOut += m.packetsOut
	t.packetsIn += m.packetsIn
	t.bytesOut += m.bytesOut
	t.bytesIn += m.bytesIn
	t.unasked += m.unasked
	t.entropySum += m.entropySum
	t.entropyN += m.entropyN
}

// evaluateSecond lets the trees score, then learn, the entity-seconds that have ended: those that moved enough, in the order of
// their addresses, and a fixed sample of them where they are too many.
func (j *Judge) evaluateSecond() {
	for r := range j.roles {
		st := &j.roles[r]
		j.candidates, j.evaluated = j.candidates[:0], j.evaluated[:0]
		for _, i := range st.active {
			e := &st.entities.slab[i]
			if e.second == j.second && e.now.packetsOut+e.now.packetsIn >= minPackets {
				j.candidates = append(j.candidates, candidate{entity: i, addr: e.addr, hash: e.hash})
			}
		}
		st.active = st.active[:0]
		if over := len(j.candidates) - maxEvaluations; over > 0 {
			j.sample()
			st.skipped += uint64(over)
		}
		slices.SortFunc(j.candidates, byAddress)
		for _, c := range j.candidates {
			j.evaluated = append(j.evaluated, evaluated{candidate: c})
			j.evaluate(Role(r), st, &j.evaluated[len(j.evaluated)-1])
		}
		for i := range j.evaluated {
			c := &j.evaluated[i]
			if c.told {
				continue // what a limit has found is not what is usual; limits do not depend on what is learned
			}
			st.trees.Learn(c.point[:])
			st.usual.add(&c.point)
			if st.trees.Progress() >= 1 {
				st.ranks.add(c.raw)
			}
		}
	}
}

// sample cuts the candidates to the maxEvaluations with the smallest hashes. Those far above the line are left out before the sorting, since
// there may be twenty times too many.
func (j *Judge) sample() {
	line := uint32(min(1.5*maxEvaluations/float64(len(j.candidates)), 1) * math.MaxUint32)
	below := 0
	for _, c := range j.candidates {
		if c.hash <= line {
			below++
		}
	}
	if below >= maxEvaluations {
		j.candidates = slices.DeleteFunc(j.candidates, func(c candidate) bool { return c.hash > line })
	}
	slices.SortFunc(j.candidates, func(a, b candidate) int { return cmp.Compare(a.hash, b.hash) })
	j.candidates = j.candidates[:maxEvaluations]
}

// candidate is an entity-second that may be evaluated.
type candidate struct {
	entity uint32
	addr   models.Addr
	hash   uint32
}

// evaluated is one that has been.
type evaluated struct {
	candidate
	point [numFeatures]float64
	raw   float64
	told  bool // a limit holds against the entity
}

func byAddress(a, b candidate) int {
	switch {
	case a.addr == b.addr:
		return 0
	case a.addr.Less(b.addr):
		return -1
	}
	return 1
}

func (j *Judge) evaluate(r Role, st *roleState, c *evaluated) {
	e := &st.entities.slab[c.entity]
	v := vectorOf(e, &st.entities.blocks)
	c.point = v.point()
	c.raw = round(st.trees.Score(c.point[:]))
	c.told = e.incidents > 0 && j.incidents[incidentKey{e.addr, r, models.CategoryAnomaly}] == nil
	if c.told || st.ranks.n == 0 {
		return
	}
	score := calibrated(st.ranks.tail(c.raw), j.lineTail(st))
	if score >= models.AlertLine {
		j.strange(r, st, c, v, score)
	}
}

// elapsedDays is the capture time judged so far.
func (j *Judge) elapsedDays() float64 { return float64(j.elapsed) / (86_400 * secondMicros) }

// allowance is how many alerts the budget has granted one role so far.
func (j *Judge) allowance() float64 {
	return j.options.BudgetDay * j.elapsedDays() / float64(numRoles)
}

// lineTail is the tail probability that lies on the alert line: the alerts that the budget grants per entity-second. Before the
// budget has granted a single one, no rank is rare enough, and the trees stay silent.
func (j *Judge) lineTail(st *roleState) float64 {
	return j.allowance() / float64(st.ranks.n+1)
}
