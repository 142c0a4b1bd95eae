package detect

import (
	"cmp"
	"math"
	"slices"

	"netlyra/internal/models"
)

// Judge decides, slot by slot. It is not for concurrent use.
type Judge struct {
	options Options
	roles   [numRoles]roleState
	memory

	least         int   // connections opened in the window below which no limit can be crossed
	turn          int64 // counts the calls of Slot
	second        int64 // the second that is being collected
	arp           claims
	claimsLost    uint64 // ARP packets and DNS messages that were not looked at, because there were too many
	conflicts     []conflict
	conflictsLost uint64
	retries       table[pairKey, pair]             // calls to the outside that do not get through
	raised        [numRoles]map[uint32][]*incident // the open ones of each entity
	victims       []uint32                         // hashes of those that are being flooded
	sweeps        []*incident                      // the latest, open or closed
	told          []*models.ConnSlot               // scratch: the slot's telling connections
	heard         []*models.Observation            // scratch: the slot's ARP packets
	asked         []*models.Question               // scratch: the slot's DNS messages
	untold        uint64                           // telling connections of a flood that were left out
	losing        bool                             // so many packets are being lost that absence says nothing
	loss          [2]uint64                        // received and lost at the last second's end
	resumes       bool                             // what has been remembered is loaded, and time has not passed since
	hashes        [touchAhead]uint32               // scratch: of pairs
	touched       []models.Addr                    // scratch: the addresses that the slot's ARP packets claim

	incidents   map[incidentKey]*incident
	surplus     map[surplusKey]*surplus // those for which there was no room
	losses      lossLog
	incidentCap uint64 // incidents that were not opened because too many are
	turns       uint64 // incidents that have opened or closed
	received    uint64
	lost        uint64
	candidates  []candidate
	sight       sight  // scratch
	sink        uint64 // keeps the compiler from dropping the loads of touch
	out         []models.Alert
}

// roleState is what the judge knows of one role.
type roleState struct {
	role     Role
	entities *entities
	model    model
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
	for _, a := range parts { // when it is known whom everybody has turned to
		for _, i := range a.fragments {
			j.fragment(a, i)
		}
	}
	j.events(parts)
	j.questions(parts)
	claimed := j.claimsOf(n, parts)
	if j.packets >= j.options.Limits.WarmupPackets {
		j.limitARP(n, claimed)
		j.limits(parts)
	}
	for r := range j.roles {
		j.roles[r].moved = j.roles[r].moved[:0]
		j.roles[r].entities.tidy(periodOf(n), tidyPerSlot, !j.learned())
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
	j.resumes = false
	j.setBack(t)
	return j.sorted()
}

func (j *Judge) setBack(t int64) {
	for _, in := range j.open() {
		j.close(in)
	}
	j.closeSurplus(math.MaxInt64)
	j.losses = lossLog{}
	for r := range j.roles {
		j.roles[r].entities.forget()
		j.roles[r].active = j.roles[r].active[:0]
	}
	j.arp = claims{}
	j.end, j.second = t, t/secondMicros
	j.forgetTimes()
}

// Finish closes everything that is open: the capture is over.
func (j *Judge) Finish() []models.Alert {
	j.out = j.out[:0]
	for _, in := range j.open() {
		j.close(in)
	}
	j.closeSurplus(math.MaxInt64)
	return j.sorted()
}

// Rest closes what does not outlive the program: the incidents for which there was no room. The others go on at the next start.
func (j *Judge) Rest() []models.Alert {
	j.out = j.out[:0]
	j.closeSurplus(math.MaxInt64)
	return j.sorted()
}

// advance ends the second that runs, if t lies beyond it, and closes incidents that have been silent.
func (j *Judge) advance(t int64) {
	if j.resumes {
		j.resume(t)
	}
	if j.end > 0 && t > j.end {
		j.elapsed += min(t-j.end, maxStep)
	}
	if s := t / secondMicros; s > j.second {
		j.evaluateSecond()
		j.second = s
		j.weighLoss()
		j.judgeConflicts()
		j.closeSilent(t)
		j.closeSurplus(t - j.options.Limits.CloseAfterSeconds*secondMicros)
	}
}

// weighLoss says whether so many packets were lost in the last second that what is missing may have been among them.
func (j *Judge) weighLoss() {
	received, lost := j.received-j.loss[0], j.lost-j.loss[1]
	j.loss = [2]uint64{j.received, j.lost}
	j.losses.note(j.end, j.received, j.lost)
	j.losing = lost > 0 && lossShare*lost >= received+lost
}

// forgetTimes drops what is only of use with the times that it was noted at.
func (j *Judge) forgetTimes() {
	j.probes.clear()
	j.conflicts = j.conflicts[:0]
	j.domains.clear()
	j.outside = 0
	j.retries.clear()
	j.devices, j.offers = newcomers{}, newcomers{}
	for i := range j.pairs.cells {
		p := &j.pairs.cells[i].value
		*p = pair{first: min(p.first, j.end), met: p.met, new: p.new}
	}
	for i := range j.hosts.cells {
		j.hosts.cells[i].value.period = 0
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
	period := periodOf(n)
	for r := range j.roles {
		for rows := a.rows[r]; len(rows) > 0; {
			batch := rows[:min(len(rows), touchAhead)]
			j.sink += j.roles[r].entities.touch(batch)
			for i := range batch {
				j.mergeRow(period, Role(r), a, &batch[i])
			}
			rows = rows[len(batch):]
		}
	}
	for _, i := range a.opened {
		s := &a.slots[i]
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

// reflectors is how many hosts must send datagrams between high ports to one, which it has not asked for.
const reflectors = 10

// fragment counts the later fragments of datagrams, which have no ports, and datagrams between high ports as unasked for if their receiver has not turned to their sender
// within the window.
func (j *Judge) fragment(a *Accumulator, i uint32) {
	s := &a.slots[i]
	dst := a.rows[Destination][a.rowOf[Destination][i]].entity
	if dst == noEntity || group(s) {
		return
	}
	sources, destinations := j.roles[Source].entities, j.roles[Destination].entities
	if e := &destinations.slab[dst]; s.OrigPort > 0 && (j.end-e.flooded < secondMicros || e.opened() < reflectors || e.peerCount(&destinations.blocks) < reflectors) {
		return // a datagram between high ports tells nothing, unless many send them
	}
	if asker := sources.find(s.Resp); asker != nil && asker.knows(&sources.blocks, hashAddr(s.Orig)) {
		return
	}
	e := &destinations.slab[dst]
	e.halves[0].unasked += s.Up.Bytes
	e.now.unasked = uint32(min(uint64(e.now.unasked)+s.Up.Bytes, math.MaxUint32))
	j.list(Destination, dst)
}

// list puts an entity that has moved far enough to be held against the limits on their list.
func (j *Judge) list(r Role, i uint32) {
	st, l := &j.roles[r], &j.options.Limits
	e := &st.entities.slab[i]
	if e.listed == j.turn || e.opened() < j.least && e.unasked() < l.UnsolicitedBytes && e.now.silent < min(l.FloodPackets, l.FloodDatagrams) && e.now.icmp < l.FloodICMP {
		return
	}
	e.listed = j.turn
	st.moved = append(st.moved, i)
}

func (j *Judge) mergeRow(period int64, r Role, a *Accumulator, m *moved) {
	st := &j.roles[r]
	m.entity = st.entities.get(m.addr, m.hash, j.turn)
	if m.entity == noEntity {
		return // there is no room, which is counted
	}
	e := &st.entities.slab[m.entity]
	if e.slot != j.turn {
		e.slot = j.turn
		e.recent = true
		if e.period != period {
			e.turn(period, &st.entities.blocks, !j.learned())
		}
	}
	if e.second != j.second {
		e.before = recent{}
		if e.second == j.second-1 {
			e.before = recent{e.now.opened, e.now.completed}
		}
		e.second = j.second
		e.now = tally{}
		e.main = mainConn{}
		e.weight = 0
		st.active = append(st.active, m.entity)
	}
	if m.mainBytes > e.main.bytes || m.mainBytes == e.main.bytes && m.mainPorts <= e.main.ports() {
		if main := mainConnOf(r, &a.slots[m.main]); !e.main.heavierThan(&main) {
			e.main = main
		}
	}
	before := e.mac
	if e.hear(m.sender.mac, m.sender.weight); e.mac != before {
		e.peak = 0 // another host may have the address now
	}
	h := &e.halves[0]
	h.opened += m.opened
	h.completed += m.completed
	h.unasked += m.unasked
	t := &e.now
	t.icmp += m.icmp
	t.opened += m.opened
	t.completed += m.completed
	t.packetsOut += m.packetsOut
	t.packetsIn += m.packetsIn
	t.bytesOut += m.bytesOut
	t.bytesIn += m.bytesIn
	t.unasked = uint32(min(uint64(t.unasked)+m.unasked, math.MaxUint32))
	t.silent += m.silent
	t.entropySum += m.entropySum
	t.entropyN += m.entropyN
	j.list(r, m.entity)
}

// evaluateSecond lets the trees score, then learn, the entity-seconds that have ended: those that moved enough, in the order of
// their addresses, and a fixed sample of them where they are too many.
func (j *Judge) evaluateSecond() {
	for r := range j.roles {
		st := &j.roles[r]
		j.candidates = j.candidates[:0]
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
			j.evaluate(Role(r), st, c.entity)
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

func byAddress(a, b candidate) int {
	switch {
	case a.addr == b.addr:
		return 0
	case a.addr.Less(b.addr):
		return -1
	}
	return 1
}

// evaluate judges the second that an entity has ended, and learns from it unless the entity is in an incident.
func (j *Judge) evaluate(r Role, st *roleState, i uint32) {
	e := &st.entities.slab[i]
	m := &st.model
	v := vectorOf(e, &st.entities.blocks)
	m.look(&v, &j.sight)
	anomaly := j.incidents[incidentKey{e.addr, r, models.CategoryAnomaly}]
	if e.incidents > 0 && anomaly == nil {
		return // what a limit has found is not what is usual; limits do not depend on what is learned
	}
	h := j.habit(r, e)
	h.peak = max(h.peak, e.peak)
	e.peak = h.peak
	if m.ready() {
		j.judge(r, st, i, &v, h)
	}
	if anomaly = j.incidents[incidentKey{e.addr, r, models.CategoryAnomaly}]; anomaly != nil && !j.accepts(st, anomaly) {
		return
	}
	if m.learn(&v, &j.sight, j.elapsed, j.options.Without) {
		j.accept(r)
	}
	h.own.add(&v)
}

// judge ranks the evidence of an entity-second, and raises what is too rare.
func (j *Judge) judge(r Role, st *roleState, i uint32, v *vector, h *habit) {
	m := &st.model
	if m.began == 0 {
		m.began = max(j.elapsed, 1)
	}
	bits := float64(float32(j.sight.evidence(j.options.Without))) // as it is kept
	if m.ranks.n > 0 {
		if score := calibrated(m.ranks.tail(bits), j.lineTail(st)); score >= models.AlertLine {
			j.strange(r, st, i, v, score)
		}
	}
	block := uint32(j.end / blockMicros)
	m.ranks.peak(bits, float64(h.evidence), h.block != block)
	if h.block != block || bits > float64(h.evidence) {
		h.block, h.evidence = block, float32(bits)
	}
}

// acceptMicros is how long an entity's strange behaviour is kept from being learned; what goes on for longer is the new normal.
const acceptMicros = 1800 * secondMicros

// accepts says whether an anomaly has gone on for so long that it is learned; the first time that is an event.
func (j *Judge) accepts(st *roleState, in *incident) bool {
	if j.end-in.opened < acceptMicros {
		return false
	}
	if !in.accepted {
		in.accepted, in.changed = true, true
		st.model.releases++
	}
	return true
}

// accept marks the role's open anomalies: the guard has given in to what they are about.
func (j *Judge) accept(r Role) {
	for _, in := range j.incidents {
		if in.key.role == r && in.key.category == models.CategoryAnomaly && j.end-in.opened >= guardEpoch {
			in.accepted, in.changed = true, true
		}
	}
}

// elapsedDays is the capture time judged so far.
func (j *Judge) elapsedDays() float64 { return float64(j.elapsed) / (86_400 * secondMicros) }

// allowance is how many alerts the budget has granted one role since its ranks began.
func (j *Judge) allowance(st *roleState) float64 {
	if st.model.began == 0 {
		return 0
	}
	return j.options.BudgetDay * float64(j.elapsed-st.model.began) / (86_400 * secondMicros) / float64(numRoles)
}

// lineTail is the tail probability that lies on the alert line: the alerts that the budget grants per peak. Before the budget has granted a
// single one, no rank is rare enough, and what is learned stays silent.
func (j *Judge) lineTail(st *roleState) float64 {
	return j.allowance(st) / float64(st.model.ranks.n+1)
}
