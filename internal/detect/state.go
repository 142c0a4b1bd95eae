package detect

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"

	"netlyra/internal/models"
)

// A saved state is: stateMagic, the version of what follows (2 bytes, little-endian), a fingerprint of the features and sizes that it was
// learned with (8 bytes), the values in the order of the methods below (codec.go says how), and the CRC-32C of all that (4 bytes).
const (
	stateMagic   = "NetLyra state\n"
	stateVersion = 2
	headerRest   = 2 + 8 // bytes behind the magic

	// MaxStateBytes is the length of the longest state that is read.
	MaxStateBytes = 256 << 20
)

// Why a state is not loaded.
var (
	ErrStateDamaged = errors.New("detect: not a saved state, or a damaged one")
	ErrStateOther   = errors.New("detect: a state of another version of netlyra")
)

// State is what a judge has learned, as it is saved: of a whole network, or of one host of it.
type State struct {
	options  Options
	sensor   string
	scope    string // the host that it is about; "": the network
	orderly  bool   // nothing has happened after it was taken
	received uint64 // the capture's counts, which begin anew at each start
	lost     uint64
	memory
	models    [numRoles]model
	incidents []*incident // the open ones, then swept ones that are closed
	open      int
	sweeps    []int // of incidents: the latest sweeps
	floods    []flood
}

// flood is a victim, and when it was last flooded.
type flood struct {
	victim models.Addr
	at     int64
}

const (
	maxFloods = 1 << 10
	revJump   = 1 << 20 // revisions that may have been told of an incident after the state was taken
	maxText   = 256
	maxName   = 64
	maxList   = 64
)

// AppendState appends what the judge has learned to b. orderly says that it judges nothing after that: else incidents go on with
// revisions that are sure to be higher than any that have been told meanwhile.
func (j *Judge) AppendState(b []byte, orderly bool) []byte {
	return j.state(orderly).Append(b)
}

// state is what is saved. It shares the judge's memory.
func (j *Judge) state(orderly bool) *State {
	s := &State{options: j.options, sensor: j.options.Sensor, orderly: orderly, received: j.received, lost: j.lost, memory: j.memory, incidents: j.open()}
	s.open = len(s.incidents)
	for _, in := range s.incidents {
		in.mac = j.roles[in.key.role].entities.slab[in.entity].mac
	}
	for r := range j.roles {
		s.models[r] = j.roles[r].model
	}
	for _, in := range j.sweeps {
		at := slices.Index(s.incidents, in)
		if at < 0 {
			at = len(s.incidents)
			in.mac = models.MAC{} // only of those that are open
			s.incidents = append(s.incidents, in)
		}
		s.sweeps = append(s.sweeps, at)
	}
	victims := j.roles[Destination].entities
	for i := range victims.slab[1:victims.used] {
		e := &victims.slab[1+i]
		if e.flooded > 0 && j.end-e.flooded < floodSeconds*secondMicros && len(s.floods) < maxFloods {
			s.floods = append(s.floods, flood{e.addr, e.flooded})
		}
	}
	slices.SortFunc(s.floods, func(a, b flood) int { return compareAddr(a.victim, b.victim) })
	return s
}

// LoadState replaces what the judge knows by a saved state. It goes on where that was taken, but for the windows of the last 20 s. With an
// error, an ErrStateDamaged or an ErrStateOther, the judge is as before.
func (j *Judge) LoadState(b []byte) error {
	s, err := ReadState(b, j.options)
	if err != nil {
		return err
	}
	if s.scope != "" {
		return fmt.Errorf("%w: it is about %s alone", ErrStateOther, s.scope)
	}
	if s.open > j.maxOpen() {
		return fmt.Errorf("%w: %d open incidents", ErrStateDamaged, s.open)
	}
	j.know(s)
	j.second, j.resumes = j.end/secondMicros, true
	for _, in := range s.incidents[:s.open] {
		if !s.orderly {
			in.rev += revJump
		}
		j.adopt(in)
	}
	for _, f := range s.floods {
		t := j.roles[Destination].entities
		if e := t.get(f.victim, hashAddr(f.victim), j.turn); e != noEntity {
			t.slab[e].flooded = f.at
		}
	}
	return nil
}

// know replaces what the judge knows by what is in a state, but for its open incidents.
func (j *Judge) know(s *State) {
	j.memory = s.memory
	for r := range j.roles {
		st := &j.roles[r]
		st.model = s.models[r]
		st.entities.forget()
		st.moved, st.active = st.moved[:0], st.active[:0]
		j.raised[r] = map[uint32][]*incident{}
	}
	j.resumes, j.losing = false, false
	j.arp, j.conflicts, j.losses = claims{}, nil, lossLog{}
	j.received, j.lost, j.loss = 0, 0, [2]uint64{}
	j.retries.clear()
	clear(j.incidents)
	clear(j.surplus)
	j.sweeps = nil
	for _, at := range s.sweeps {
		j.sweeps = append(j.sweeps, s.incidents[at])
	}
}

// adopt goes on with an incident of a state.
func (j *Judge) adopt(in *incident) {
	t := j.roles[in.key.role].entities
	in.entity = t.get(in.key.addr, hashAddr(in.key.addr), j.turn)
	e := &t.slab[in.entity]
	e.mac = in.mac
	e.incidents++
	j.incidents[in.key] = in
	j.raised[in.key.role][in.entity] = append(j.raised[in.key.role][in.entity], in)
}

// Changes counts the incidents that have opened or closed: when it has moved, what was saved before would raise some a second time.
func (j *Judge) Changes() uint64 { return j.turns }

// OpenIncidents lists the ids of the open incidents.
func (j *Judge) OpenIncidents() []string {
	ids := make([]string, 0, len(j.incidents))
	for _, in := range j.open() {
		ids = append(ids, in.id)
	}
	return ids
}

// Append appends the state, as it is saved, to b.
func (s *State) Append(b []byte) []byte {
	start := len(b)
	c := codec{b: appendHeader(b, stateMagic, stateVersion, &s.options)}
	s.values(&c)
	return seal(c.b, start)
}

// ReadState reads what Append has written, for a judge with these options. The error is an ErrStateDamaged or an ErrStateOther.
func ReadState(b []byte, o Options) (*State, error) {
	o.setDefaults()
	body, err := unseal(b, stateMagic, stateVersion, &o)
	if err != nil {
		return nil, err
	}
	s, err := newState(o)
	if err != nil {
		return nil, err
	}
	c := codec{b: body, reading: true}
	s.values(&c)
	if c.bad || len(c.b) > 0 {
		return nil, fmt.Errorf("%w: what it says cannot be", ErrStateDamaged)
	}
	return s, nil
}

// newState is one of a judge that knows nothing.
func newState(o Options) (*State, error) {
	s := &State{options: o, memory: newMemory()}
	for r := range s.models {
		var err error
		if s.models[r], err = newModel(o.Window, o.Seed+int64(r)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// appendHeader appends what bytes begin with: what they are, in which version, and learned with which options.
func appendHeader(b []byte, magic string, version uint16, o *Options) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, magic...), version)
	return binary.LittleEndian.AppendUint64(b, o.fingerprint())
}

// seal appends the checksum of what b has from start on.
func seal(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], crc32.MakeTable(crc32.Castagnoli)))
}

// unseal gives the values between header and checksum. The error is an ErrStateDamaged or an ErrStateOther.
func unseal(b []byte, magic string, version uint16, o *Options) ([]byte, error) {
	if len(b) > MaxStateBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrStateDamaged, len(b))
	}
	body, sum := b[:max(len(b)-4, 0)], b[max(len(b)-4, 0):]
	at := len(magic)
	if len(body) < at+headerRest || !bytes.HasPrefix(body, []byte(magic)) {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrStateDamaged)
	}
	if v := binary.LittleEndian.Uint16(body[at:]); v != version {
		return nil, fmt.Errorf("%w: its format is %d, this one's is %d", ErrStateOther, v, version)
	}
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(sum) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrStateDamaged)
	}
	if binary.LittleEndian.Uint64(body[at+2:]) != o.fingerprint() {
		return nil, fmt.Errorf("%w: its features are others", ErrStateOther)
	}
	return body[at+headerRest:], nil
}

// fingerprint is of what the values mean something with.
func (o *Options) fingerprint() uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, o.Window, treeCount, treeHeight, evidenceBins, binsPerBit, leastBits, usualBins, blockMicros, numRoles, windowSeconds, uploadSeconds) // never fails
	for f := range numFeatures {
		_, _ = fmt.Fprintf(h, "%+v", f.info()) // nor does this
	}
	return h.Sum64()
}

func (s *State) values(c *codec) {
	c.text(&s.sensor, maxName)
	c.text(&s.scope, maxName)
	c.bool(&s.orderly)
	c.span(&s.end)
	c.check(s.end >= 0)
	c.base = s.end
	c.memory(&s.memory)
	s.incidentValues(c)
	each(c, &s.floods, maxFloods, func(f *flood) {
		c.addr(&f.victim)
		c.time(&f.at)
	})
	for r := range s.models {
		c.model(&s.models[r], s.elapsed)
	}
}

func (s *State) incidentValues(c *codec) {
	each(c, &s.incidents, maxIncidents+maxSweeps, func(in **incident) {
		if *in == nil {
			*in = newIncident()
		}
		c.incident(*in)
		for _, n := range [...]struct {
			now uint64
			at  *uint64
		}{{s.received, &(*in).received}, {s.lost, &(*in).lost}} {
			since := n.now - *n.at
			c.u64(&since)
			if c.reading {
				*n.at = n.now - since // below zero, and round: only differences count
			}
		}
	})
	c.count(&s.open, len(s.incidents))
	each(c, &s.sweeps, maxSweeps, func(at *int) { c.count(at, max(len(s.incidents)-1, 0)) })
	if !c.reading || c.bad {
		return
	}
	keys := map[incidentKey]bool{}
	for _, in := range s.incidents[:s.open] {
		c.check(!keys[in.key])
		keys[in.key] = true
	}
	c.check(len(s.sweeps) == 0 || len(s.incidents) > 0)
}

func (c *codec) memory(m *memory) {
	c.u64(&m.packets)
	c.span(&m.elapsed)
	c.check(m.elapsed >= 0)
	c.time(&m.outside)
	c.u64(&m.learnedAlerts)
	c.u64(&m.limitAlerts)
	for i := range m.devices {
		c.time(&m.devices[i])
		c.time(&m.offers[i])
	}
	each(c, &m.lessors, maxLessors, c.addr)
	cells(c, &m.links, c.mac, c.link)
	cells(c, &m.hosts, c.hostKey, c.host)
	cells(c, &m.habits, c.habitKey, c.habit)
	cells(c, &m.pairs, c.pairKey, c.pair)
	cells(c, &m.peers, c.addr, c.renown)
	cells(c, &m.ports, c.portProto, c.renown)
	cells(c, &m.services, c.serviceKey, func(n *uint32) { unsigned(c, n) })
	cells(c, &m.domains, c.domainKey, c.domain)
	cells(c, &m.probes, c.probeKey, c.probes)
}

func (c *codec) link(l *link) {
	n := int(l.n)
	c.count(&n, routerNets)
	if c.reading {
		l.n = uint8(n)
	}
	for i := range l.nets[:n] {
		c.addr(&l.nets[i])
		c.time(&l.heard[i])
	}
}

func (c *codec) hostKey(k *hostKey) {
	onLink := k.mac != (models.MAC{})
	c.bool(&onLink)
	if onLink {
		c.mac(&k.mac)
		c.check(k.mac != (models.MAC{}))
		return
	}
	c.addr(&k.addr)
}

func (c *codec) host(h *host) {
	c.time(&h.first)
	c.span(&h.period)
	c.u64(&h.sent)
	c.u64(&h.peak)
}

func (c *codec) habitKey(k *habitKey) {
	c.hostKey(&k.host)
	unsigned(c, &k.role)
	c.check(k.role < numRoles)
}

func (c *codec) habit(h *habit) {
	c.time(&h.first)
	unsigned(c, &h.own.n)
	for f := range numFeatures {
		c.float32(&h.own.mean[f])
		c.float32(&h.own.dev[f])
	}
	c.float32(&h.peak)
	unsigned(c, &h.block)
	c.float32(&h.evidence)
}

func (c *codec) pairKey(k *pairKey) {
	c.addr(&k.client)
	c.addr(&k.server)
	unsigned(c, &k.port)
	unsigned(c, &k.proto)
}

func (c *codec) pair(p *pair) {
	c.time(&p.first)
	c.span(&p.met)
	c.bool(&p.new)
	c.time(&p.start)
	c.count(&p.gapped, maxCount)
	for i := range p.gaps[:min(p.gapped, pairGaps)] {
		unsigned(c, &p.gaps[i])
	}
	c.span(&p.minute)
	for i := range p.visits {
		unsigned(c, &p.visits[i])
	}
	c.moments(&p.up)
	c.moments(&p.down)
	c.span(&p.period)
	for i := range p.sent {
		c.u64(&p.sent[i])
	}
	c.u64(&p.told)
}

func (c *codec) moments(m *moments) {
	some := *m != (moments{})
	c.bool(&some)
	if some {
		c.float(&m.n)
		c.float(&m.mean)
		c.float(&m.m2)
		c.check(*m != (moments{}))
	}
}

func (c *codec) renown(r *renown) {
	c.time(&r.first)
	c.bool(&r.seen)
	n := int(r.n)
	c.count(&n, renownUsers)
	if c.reading {
		r.n = uint8(n)
	}
	for i := range r.users[:n] {
		unsigned(c, &r.users[i])
	}
}

func (c *codec) portProto(p *portProto) {
	unsigned(c, &p.port)
	unsigned(c, &p.proto)
}

func (c *codec) serviceKey(k *serviceKey) {
	c.addr(&k.server)
	unsigned(c, &k.port)
	unsigned(c, &k.proto)
}

func (c *codec) domainKey(k *domainKey) {
	c.hostKey(&k.client)
	c.u64(&k.domain)
}

func (c *codec) domain(d *domain) {
	c.span(&d.minute)
	c.span(&d.hour)
	for i := range d.names {
		c.names(&d.names[i])
		c.carried(&d.carried[i])
	}
	c.names(&d.long)
	c.carried(&d.longest)
	c.bool(&d.strange)
	c.renown(&d.renown)
	c.addr(&d.culprit)
	for i := range d.servers {
		c.addr(&d.servers[i])
	}
	unsigned(c, &d.serverN)
	n := int(d.textSize)
	c.count(&n, maxDomain)
	if c.reading {
		d.textSize = uint8(n)
	}
	c.raw(d.text[:n])
}

func (c *codec) names(n *names) {
	some := *n != (names{})
	c.bool(&some)
	if !some {
		return
	}
	for i := range n {
		c.u64(&n[i])
	}
	c.check(*n != (names{}))
}

func (c *codec) carried(a *carried) {
	for _, n := range [...]*uint32{&a.asked, &a.names, &a.bytes, &a.odd, &a.answers, &a.down} {
		unsigned(c, n)
	}
}

func (c *codec) probeKey(k *probeKey) {
	c.addr(&k.source)
	c.addr(&k.host)
	c.portProto(&k.port)
	c.bool(&k.here)
}

func (c *codec) probes(p *probes) {
	n := int(p.n)
	c.count(&n, maxTried)
	if c.reading {
		p.n = uint8(n)
	}
	for i := range p.tried[:n] {
		a := &p.tried[i]
		unsigned(c, &a.hash)
		unsigned(c, &a.port)
		unsigned(c, &a.second)
	}
	unsigned(c, &p.news)
	c.bool(&p.told)
	unsigned(c, &p.fails)
	unsigned(c, &p.through)
	c.time(&p.started)
	unsigned(c, &p.factor)
	c.mainConn(&p.pair)
}

func (c *codec) mainConn(m *mainConn) {
	c.u64(&m.bytes)
	c.addr(&m.peer)
	unsigned(c, &m.origPort)
	unsigned(c, &m.respPort)
	unsigned(c, &m.proto)
}

// model is one that has been in use for elapsed at most.
func (c *codec) model(m *model, elapsed int64) {
	if !c.reading {
		c.b = m.guard.AppendState(m.scaler.AppendState(m.trees.AppendState(c.b)))
	} else {
		for _, load := range [...]func([]byte) ([]byte, error){m.trees.LoadState, m.scaler.LoadState, m.guard.LoadState} {
			rest, err := load(c.b)
			if c.check(err == nil); err == nil {
				c.b = rest
			}
		}
	}
	for f := range m.usual.counts {
		for i := range m.usual.counts[f] {
			c.u64(&m.usual.counts[f][i])
		}
	}
	c.u64(&m.usual.n)
	for i := range m.ranks.counts {
		unsigned(c, &m.ranks.counts[i])
	}
	c.u64(&m.ranks.n)
	c.span(&m.began)
	c.check(m.began >= 0 && m.began <= elapsed)
	c.u64(&m.releases)
}

func (c *codec) incident(in *incident) {
	c.addr(&in.key.addr)
	unsigned(c, &in.key.role)
	c.check(in.key.role < numRoles)
	c.category(&in.key.category)
	c.text(&in.id, maxName)
	c.span(&in.rev)
	c.check(in.rev >= 0 && in.id != "")
	c.time(&in.opened)
	c.time(&in.last)
	c.time(&in.emitted)
	c.mac(&in.mac)
	c.span(&in.unwatched)
	c.bool(&in.changed)
	c.u64(&in.count)
	c.finding(&in.finding)
	top(c, &in.ports, c.portProto)
	top(c, &in.peers, c.addr)
	top(c, &in.srcPorts, func(p *uint16) { unsigned(c, p) })
	top(c, &in.protos, func(p *models.Proto) { unsigned(c, p) })
	top(c, &in.others, c.addr)
	c.mainConn(&in.main)
	each(c, &in.rivals, 2*maxRivals, func(r *rival) {
		c.mac(&r.mac)
		unsigned(c, &r.claims)
	})
	c.check(len(in.rivals) >= 2 || in.finding.category != models.CategoryARPSpoofing)
	c.bool(&in.accepted)
	c.bool(&in.worm)
}

func (c *codec) category(v *models.Category) {
	text := string(*v)
	c.text(&text, maxName)
	if c.reading {
		*v = models.Category(text)
		c.check(slices.Contains(models.Categories(), *v))
	}
}

func (c *codec) severity(v *models.Severity) {
	text := string(*v)
	c.text(&text, maxName)
	if c.reading {
		*v = models.Severity(text)
		c.check(slices.Contains(models.Severities(), *v))
	}
}

func (c *codec) finding(f *finding) {
	c.category(&f.category)
	c.severity(&f.severity)
	c.float(&f.score)
	c.float(&f.raw)
	for i := range f.vector {
		c.float(&f.vector[i])
	}
	c.text(&f.lead.feature, maxName)
	c.text(&f.lead.unit, maxName)
	c.float(&f.lead.value)
	c.float(&f.lead.limit)
	each(c, &f.reasons, maxList, c.reason)
	c.bool(&f.learned)
	c.mainConn(&f.pair)
	c.time(&f.since)
	c.span(&f.hold)
	c.text(&f.text, maxText)
	c.span(&f.calls)
	c.bool(&f.old)
}

func (c *codec) reason(r *models.Reason) {
	c.text(&r.Feature, maxName)
	c.float(&r.Value)
	c.text(&r.Unit, maxName)
	c.float(&r.Expected.Low)
	c.float(&r.Expected.High)
	c.float(&r.Contribution)
	basis := string(r.Basis)
	c.text(&basis, maxName)
	if c.reading {
		r.Basis = models.Basis(basis)
	}
}

// top is the members of a set, in the order of what is written of them.
func top[K comparable](c *codec, t *tops[K], key func(*K)) {
	used := t.members != nil
	if c.bool(&used); !used {
		return
	}
	if !c.reading {
		t.prune()
	}
	hashes := slices.Sorted(maps.Keys(t.hashes))
	before := uint32(0)
	each(c, &hashes, 2*t.size(), func(h *uint32) {
		step := *h - before
		unsigned(c, &step)
		if c.reading {
			c.check(step <= math.MaxUint32-before)
			*h = before + step
		}
		before = *h
	})
	most := 2 * t.size()
	if c.whole {
		most = maxMembers
	}
	members := t.listed(key, c)
	members = members[:min(len(members), most)]
	each(c, &members, most, func(m *named[K]) {
		key(&m.key)
		unsigned(c, &m.hash)
		c.u64(&m.count)
	})
	unsigned(c, &t.line)
	c.check(t.line > 0)
	c.bool(&t.sampled)
	bitmap := t.seen != nil
	if c.bool(&bitmap); bitmap {
		if t.seen == nil {
			t.seen = new(block)
		}
		for i := range t.seen {
			unsigned(c, &t.seen[i])
		}
	}
	c.count(&t.floor, math.MaxInt32)
	if !c.reading {
		return
	}
	t.members, t.hashes = map[K]member{}, map[uint32]bool{}
	for _, h := range hashes {
		c.check(!t.hashes[h])
		t.hashes[h] = true
	}
	for _, m := range members {
		_, twice := t.members[m.key]
		c.check(!twice)
		t.members[m.key] = member{m.hash, m.count}
	}
}

// named is a member with its key.
type named[K comparable] struct {
	key K
	member
}

// listed lists the members in the order of their hashes; those of one hash, of what is written of their keys. There may be more than are in
// hashes, those that a bitmap takes for old ones: the sample is cut as it always is.
func (t *tops[K]) listed(key func(*K), c *codec) []named[K] {
	all := make([]named[K], 0, len(t.members))
	for k, m := range t.members {
		all = append(all, named[K]{k, m})
	}
	text := func(k K) string {
		end := len(c.b)
		key(&k)
		s := string(c.b[end:])
		c.b = c.b[:end]
		return s
	}
	slices.SortFunc(all, func(a, b named[K]) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return strings.Compare(text(a.key), text(b.key))
	})
	return all
}

// maxMembers is how many members of a set a checkpoint has at most: where it began with a bitmap, there may be more than its size says.
const maxMembers = 1 << 24
