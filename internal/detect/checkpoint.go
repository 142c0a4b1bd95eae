package detect

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"netlyra/internal/models"
)

// A checkpoint is checkpointMagic, the version of what follows (2 bytes, little-endian), a fingerprint as a saved state has it (8 bytes), the
// capture's counts, the values of the state, those of the methods below, and the CRC-32C of all that (4 bytes).
const (
	checkpointMagic   = "NetLyra checkpoint\n"
	checkpointVersion = 1
)

// MaxCheckpointBytes is the length of the longest checkpoint that is read.
const MaxCheckpointBytes = MaxStateBytes

// windows is what a judge knows beside its State: what is of no use after a pause, and all that counts for who goes on with the next slot.
type windows struct {
	turn      int64
	resumes   bool  // nobody has been watching since the last slot
	second    int64 // the second that is being collected
	losing    bool
	loss      [2]uint64
	losses    lossLog
	conflicts []conflict
	arp       claims
	retries   table[pairKey, pair]
	surplus   map[surplusKey]*surplus
	order     []int // of each open incident among those of its entity
	roles     [numRoles]roleWindows
}

// roleWindows are all entities of one role. One that has been silent for long still has its hardware address, its usual peak and its last second,
// and its place says when it will be tidied or evicted.
type roleWindows struct {
	entities     []entity
	blocks       blocks
	active       []uint32
	hand, tidied int
	barren       int64
}

// Checkpoint appends to b all that the judge knows between two slots. A judge that has restored it says of the slots that follow what this one
// says, in every member of every alert.
func (j *Judge) Checkpoint(b []byte) []byte {
	s, w := j.state(true), j.windows()
	start := len(b)
	c := codec{b: appendHeader(b, checkpointMagic, checkpointVersion, &s.options), whole: true}
	c.checkpoint(s, w)
	return seal(c.b, start)
}

// windows is what a checkpoint has beside the state. It shares the judge's memory.
func (j *Judge) windows() *windows {
	w := &windows{
		turn: j.turn, resumes: j.resumes, second: j.second, losing: j.losing, loss: j.loss, losses: j.losses, conflicts: j.conflicts, arp: j.arp, retries: j.retries, surplus: j.surplus,
	}
	for _, in := range j.open() {
		w.order = append(w.order, slices.Index(j.raised[in.key.role][in.entity], in))
	}
	for r := range j.roles {
		t := j.roles[r].entities
		w.roles[r] = roleWindows{t.slab[1:t.used], t.blocks, j.roles[r].active, t.hand, t.tidied, t.barren}
	}
	return w
}

// Restore replaces what the judge knows by a checkpoint of a judge of the same sensor, and goes on behind it. With an error, an ErrStateDamaged or
// an ErrStateOther, the judge is as before.
func (j *Judge) Restore(b []byte) error {
	body, err := unseal(b, checkpointMagic, checkpointVersion, &j.options)
	if err != nil {
		return err
	}
	s, err := newState(j.options)
	if err != nil {
		return err
	}
	w := &windows{retries: newTable[pairKey, pair](maxRetries)}
	c := codec{b: body, reading: true, whole: true}
	c.checkpoint(s, w)
	switch {
	case c.bad || len(c.b) > 0 || s.open > j.maxOpen():
		return fmt.Errorf("%w: what it says cannot be", ErrStateDamaged)
	case s.sensor != j.options.Sensor || s.scope != "":
		return fmt.Errorf("%w: it is of sensor %.64q", ErrStateOther, s.sensor)
	}
	var indexes [numRoles][]uint32
	for r := range w.roles {
		if indexes[r], err = j.roles[r].entities.indexOfAll(w.roles[r].entities); err != nil {
			return err
		}
	}
	j.know(s)
	for r := range w.roles {
		j.roles[r].active = w.roles[r].active
		j.roles[r].entities.take(&w.roles[r], indexes[r])
	}
	j.received, j.lost = s.received, s.lost
	j.turn, j.resumes, j.second, j.losing, j.loss, j.losses = w.turn, w.resumes, w.second, w.losing, w.loss, w.losses
	j.conflicts, j.arp, j.retries, j.surplus = w.conflicts, w.arp, w.retries, w.surplus
	for _, at := range inOrder(w.order) {
		j.adopt(s.incidents[at])
	}
	return nil
}

// inOrder lists the places of numbers, the smallest first.
func inOrder(ns []int) []int {
	at := make([]int, len(ns))
	for i := range at {
		at[i] = i
	}
	slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(ns[a], ns[b]) })
	return at
}

// indexOfAll makes an index of entities that are to be these, from the first place on.
func (t *entities) indexOfAll(all []entity) ([]uint32, error) {
	if len(all) >= len(t.slab) {
		return nil, fmt.Errorf("%w: %d entities of a role, there is room for %d", ErrStateOther, len(all), len(t.slab)-1)
	}
	index := make([]uint32, len(t.index))
	mask := uint32(len(index) - 1)
	for e := range all {
		hash := all[e].hash
		i := hash & mask
		for ; index[i] != 0; i = (i + 1) & mask {
			if all[index[i]&t.low-1].addr == all[e].addr {
				return nil, fmt.Errorf("%w: an entity is there twice", ErrStateDamaged)
			}
		}
		index[i] = hash&^t.low | uint32(e+1)
	}
	return index, nil
}

// take replaces the entities by those of a checkpoint, whose index is given.
func (t *entities) take(w *roleWindows, index []uint32) {
	t.index, t.blocks = index, w.blocks
	t.used = 1 + copy(t.slab[1:], w.entities)
	t.live, t.hand, t.tidied, t.barren = len(w.entities), w.hand, w.tidied, w.barren
}

// checkpoint is all of a checkpoint's values.
func (c *codec) checkpoint(s *State, w *windows) {
	c.u64(&s.received)
	c.u64(&s.lost)
	s.values(c)
	c.windows(w, s)
}

// windows are the values beside those of a state.
func (c *codec) windows(w *windows, s *State) {
	c.span(&w.turn)
	c.check(w.turn >= 0)
	c.bool(&w.resumes)
	c.span(&w.second)
	c.bool(&w.losing)
	for i := range w.loss {
		c.u64(&w.loss[i])
	}
	for i := range w.losses {
		c.time(&w.losses[i].end)
		c.u64(&w.losses[i].received)
		c.u64(&w.losses[i].lost)
	}
	each(c, &w.conflicts, maxConflicts, func(k *conflict) {
		c.addr(&k.addr)
		c.mac(&k.owner)
		c.mac(&k.mac)
		c.time(&k.at)
	})
	c.claims(&w.arp)
	cells(c, &w.retries, c.pairKey, c.pair)
	c.allSurplus(&w.surplus)
	each(c, &w.order, maxIncidents, func(at *int) { c.count(at, maxIncidents) })
	c.check(len(w.order) == s.open)
	for r := range w.roles {
		c.roleWindows(&w.roles[r], w)
	}
}

// claims are in the order of their addresses.
func (c *codec) claims(a *claims) {
	type entry struct {
		claim
		claimed
	}
	all := make([]entry, 0, len(a.counts))
	for k, n := range a.counts {
		all = append(all, entry{k, *n})
	}
	slices.SortFunc(all, func(x, y entry) int { return cmp.Or(compareAddr(x.addr, y.addr), bytes.Compare(x.mac[:], y.mac[:])) })
	c.span(&a.period)
	each(c, &all, maxClaims, func(e *entry) {
		c.addr(&e.addr)
		c.mac(&e.mac)
		c.span(&e.period)
		for i := range e.counts {
			unsigned(c, &e.counts[i])
		}
	})
	if !c.reading || len(all) == 0 {
		return
	}
	a.counts, a.macs = map[claim]*claimed{}, map[models.Addr][]models.MAC{}
	for i := range all {
		e := &all[i]
		c.check(a.counts[e.claim] == nil && len(a.macs[e.addr]) < maxRivals)
		a.counts[e.claim] = &e.claimed
		a.macs[e.addr] = append(a.macs[e.addr], e.mac)
	}
}

// maxSurplus is more than there are kinds of it.
const maxSurplus = 64

func (c *codec) allSurplus(all *map[surplusKey]*surplus) {
	keys := make([]surplusKey, 0, len(*all))
	for k := range *all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, surplusKey.compare)
	if c.reading {
		*all = map[surplusKey]*surplus{}
	}
	each(c, &keys, maxSurplus, func(k *surplusKey) {
		c.category(&k.category)
		unsigned(c, &k.role)
		c.check(k.role < numRoles)
		if c.reading {
			c.check((*all)[*k] == nil)
			(*all)[*k] = &surplus{}
		}
		c.surplus((*all)[*k])
	})
}

func (c *codec) surplus(s *surplus) {
	c.text(&s.id, maxName)
	c.span(&s.rev)
	for _, t := range [...]*int64{&s.opened, &s.last, &s.emitted} {
		c.time(t)
	}
	c.bool(&s.changed)
	c.u64(&s.count)
	top(c, &s.sources, c.addr)
	top(c, &s.targets, c.addr)
	top(c, &s.protos, func(p *models.Proto) { unsigned(c, p) })
	c.severity(&s.severity)
	c.float(&s.score)
	c.u64(&s.received)
	c.u64(&s.lost)
}

func (c *codec) roleWindows(w *roleWindows, all *windows) {
	each(c, &w.entities, maxMaxEntities, func(e *entity) { c.entity(e, &w.blocks, all.turn, all.second) })
	each(c, &w.active, maxMaxEntities, func(e *uint32) {
		unsigned(c, e)
		c.check(*e > 0 && int(*e) <= len(w.entities))
	})
	c.count(&w.hand, len(w.entities))
	c.count(&w.tidied, len(w.entities))
	c.from(&w.barren, all.turn)
}

// What an entity has, of what most have not.
const (
	hasRecent = 1 << iota
	hasMoved  // in the last turn
	hasPeriod
	hasSecond
	hasSender
	hasNow
	hasBefore
	hasMain
	hasFirstHalf
	hasSecondHalf
	hasFlooded
	hasScanned
	hasPeak

	hasAll = 1<<iota - 1
)

// has says what an entity has.
func (e *entity) has(turn int64) (has uint16) {
	for i, some := range [...]bool{
		e.recent, e.slot == turn, e.period != never, e.second != never, e.sender != (sender{}), e.now != (tally{}), e.before != (recent{}), e.main != (mainConn{}),
		e.hasHalf(0), e.hasHalf(1), e.flooded != 0, e.scanned != 0, e.peak != 0,
	} {
		if some {
			has |= 1 << i
		}
	}
	return has
}

func (e *entity) hasHalf(i int) bool {
	return e.halves[i] != half{} || e.ports[i].n > 0 || e.peers[i].n > 0
}

// entity is one entity; turn and second are the present ones. Which incidents it is in, is theirs.
func (c *codec) entity(e *entity, p *blocks, turn, second int64) {
	if c.reading {
		*e = entity{slot: never, period: never, second: never}
	}
	c.addr(&e.addr)
	e.hash = hashAddr(e.addr)
	has := e.has(turn)
	unsigned(c, &has)
	c.check(has <= hasAll)
	if e.recent = has&hasRecent != 0; has&hasMoved != 0 {
		e.slot = turn
	}
	if has&hasPeriod != 0 {
		c.from(&e.period, second/windowSeconds)
	}
	if has&hasSecond != 0 {
		c.from(&e.second, second)
	}
	if has&hasSender != 0 {
		c.mac(&e.mac)
		unsigned(c, &e.weight)
	}
	if has&hasNow != 0 {
		c.tally(&e.now)
	}
	if has&hasBefore != 0 {
		unsigned(c, &e.before.opened)
		unsigned(c, &e.before.completed)
	}
	if has&hasMain != 0 {
		c.mainConn(&e.main)
	}
	for i, bit := range [...]uint16{hasFirstHalf, hasSecondHalf} {
		if has&bit != 0 {
			unsigned(c, &e.halves[i].opened)
			unsigned(c, &e.halves[i].completed)
			c.u64(&e.halves[i].unasked)
			c.sketch(&e.ports[i], p)
			c.sketch(&e.peers[i], p)
		}
	}
	if has&hasFlooded != 0 {
		c.time(&e.flooded)
	}
	if has&hasScanned != 0 {
		c.time(&e.scanned)
	}
	if has&hasPeak != 0 {
		c.float32(&e.peak)
	}
}

// from is a number, told by how far it lies from another.
func (c *codec) from(v *int64, base int64) {
	apart := *v - base
	c.span(&apart)
	if c.reading {
		*v = base + apart
	}
}

func (c *codec) tally(t *tally) {
	for _, n := range [...]*uint32{&t.opened, &t.completed, &t.packetsOut, &t.packetsIn, &t.unasked, &t.silent, &t.entropyN, &t.icmp} {
		unsigned(c, n)
	}
	for _, n := range [...]*uint64{&t.bytesOut, &t.bytesIn, &t.entropySum} {
		c.u64(n)
	}
}

// sketch is its values while they are known one by one, else its bitmap. What is read takes its block of p.
func (c *codec) sketch(s *sketch, p *blocks) {
	unsigned(c, &s.n)
	c.check(s.n <= fewValues)
	for i := range s.few[:min(s.n, fewValues)] {
		c.word(&s.few[i])
	}
	if s.n < fewValues || c.bad {
		return
	}
	some := s.block != 0
	if c.bool(&some); !some {
		return
	}
	unsigned(c, &s.exact)
	c.check(s.exact == 0 || s.exact > fewValues && s.exact < exactValues)
	if c.reading && !c.bad {
		s.block = p.take()
		c.check(s.block != 0)
	}
	if c.bad {
		return
	}
	b := &p.all[s.block-1]
	if s.exact == 0 {
		for i := range b {
			c.word(&b[i])
		}
		return
	}
	if !c.reading {
		for _, v := range b {
			if v != 0 {
				c.word(&v)
			}
		}
		return
	}
	for range s.exact {
		var v uint32
		c.word(&v)
		c.check(v != 0 && b.insert(v))
		if c.bad {
			return
		}
	}
}

// word is a number all of whose bits are random.
func (c *codec) word(v *uint32) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint32(c.b, *v)
		return
	}
	*v = 0
	if n := c.take(4); n != nil {
		*v = binary.LittleEndian.Uint32(n)
	}
}
