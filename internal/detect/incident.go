package detect

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"netlyra/internal/models"
)

// incidentKey says which evidence belongs together: a culprit (or, for what comes at somebody, a victim) and a kind.
type incidentKey struct {
	addr     models.Addr
	role     Role
	category models.Category
}

// incident is an alert that is being put together.
type incident struct {
	key      incidentKey
	entity   uint32
	id       string
	rev      int64
	opened   int64 // capture time
	last     int64 // of the last evidence
	emitted  int64 // of the last revision
	changed  bool
	count    uint64
	finding  finding
	ports    tops[portProto]
	peers    tops[models.Addr]
	srcPorts tops[uint16]
	protos   tops[models.Proto]
	others   tops[models.Addr] // who does the same to the same service
	received uint64            // the capture's counts when it began
	lost     uint64
	main     mainConn
	rivals   []rival // of an address that two claim
	accepted bool    // it has become the new normal
	worm     bool    // a sweep by a host that was itself swept for the same

	mac       models.MAC // of its entity, when it was saved
	unwatched int64      // of the time since the last evidence, how long nobody was watching
}

func newIncident() *incident { return &incident{ports: tops[portProto]{room: scanTops}} }

type portProto struct {
	port  uint16
	proto models.Proto
}

func comparePorts(a, b portProto) int {
	return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.proto, b.proto))
}

// finding is why an entity is over the line.
type finding struct {
	category models.Category
	severity models.Severity
	score    float64
	raw      float64 // the trees' score, 0 where they did not look
	vector   vector
	lead     lead
	reasons  []models.Reason
	learned  bool     // by the trees, not by a limit
	pair     mainConn // whose connection it is about; zero: the entity's as a whole
	since    int64    // when what it is about began, where that is known
	hold     int64    // silence that closes it, if longer than the limits' own
	text     string   // a name in the sentence
	calls    int64    // of a beacon
	old      bool     // it has been there from the start
}

// lead is the value that crossed its limit.
type lead struct {
	feature string
	unit    string
	value   float64
	limit   float64
}

// tops counts the members of a set: all of them while they are few, then those with the smallest hashes. Such a sample is the
// same whatever the order in which the members came, its counts are exact (who is in it at the end was in it from the
// start), and the largest hash in it tells how many there are in all (Bar-Yossef et al., 2002) to 3 %.
type tops[K comparable] struct {
	room    int // how many are known one by one; 0 means maxTops
	members map[K]member
	hashes  map[uint32]bool // of all that were seen, those of before the incident too, whose names are not known
	line    uint32          // hashes above it are out
	sampled bool
	seen    *block // of before the incident, as a bitmap, where they are not known one by one
	floor   int    // how many those are
}

type member struct {
	hash  uint32
	count uint64
}

const (
	maxTops  = 1024
	scanTops = 4096 // a scan is told by its ports
	topTen   = 10
)

func (t *tops[K]) add(k K, hash uint32, n uint64) {
	hash = max(hash, 1)
	t.see(hash)
	if hash > t.line {
		return
	}
	m := t.members[k]
	t.members[k] = member{hash, m.count + n}
}

// atLeast takes a member that has been counted elsewhere, n times.
func (t *tops[K]) atLeast(k K, hash uint32, n uint64) {
	t.add(k, hash, 0)
	if m, ok := t.members[k]; ok {
		t.members[k] = member{m.hash, max(m.count, n)}
	}
}

// see notes that there was a member with this hash.
func (t *tops[K]) see(hash uint32) {
	if t.members == nil {
		t.members, t.hashes = map[K]member{}, map[uint32]bool{}
		t.line = math.MaxUint32
	}
	if hash > t.line || t.seen != nil && t.seen.has(hash) {
		return
	}
	t.hashes[hash] = true
	if len(t.hashes) > 2*t.size() {
		t.prune()
	}
}

// seed takes what a window has seen before the incident.
func (t *tops[K]) seed(halves *[2]sketch, p *blocks) {
	first, exact := halves[0].values(p)
	second, alsoExact := halves[1].values(p)
	if !exact || !alsoExact {
		t.seen = halves[0].bitmap(&halves[1], p)
		t.floor = t.seen.estimate()
		return
	}
	for _, vs := range [2][]uint32{first, second} {
		for _, v := range vs {
			if v != 0 {
				t.see(v)
			}
		}
	}
}

func (t *tops[K]) size() int { return cmp.Or(t.room, maxTops) }

// prune cuts the sample to size.
func (t *tops[K]) prune() {
	room := t.size()
	if len(t.hashes) <= room {
		return
	}
	hashes := slices.Sorted(maps.Keys(t.hashes))
	t.line = hashes[room-1]
	t.sampled = true
	for _, h := range hashes[room:] {
		delete(t.hashes, h)
	}
	for k, m := range t.members {
		if m.hash > t.line {
			delete(t.members, k)
		}
	}
}

func (t *tops[K]) total() int {
	t.prune()
	n := len(t.hashes)
	if t.sampled {
		n = int(math.Round(float64(n-1) / (float64(t.line) / math.MaxUint32)))
	}
	if t.seen != nil { // some of the new ones were taken for old ones: as many as the bitmap is full
		n = t.floor + int(math.Round(float64(n)/(1-t.seen.fill())))
	}
	return n
}

// about says whether total is an estimate.
func (t *tops[K]) about() bool { return t.sampled || t.seen != nil }

// most lists the ten most frequent, ties in the order of less.
func (t *tops[K]) most(less func(a, b K) int, name func(K) string) []models.Count {
	t.prune()
	best := make([]K, 0, topTen+1)
	compare := func(a, b K) int { return cmp.Or(cmp.Compare(t.members[b].count, t.members[a].count), less(a, b)) }
	for k := range t.members {
		if len(best) == topTen && compare(k, best[topTen-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, k, compare)
		best = slices.Insert(best, at, k)
		best = best[:min(len(best), topTen)]
	}
	counts := make([]models.Count, len(best))
	for i, k := range best {
		counts[i] = models.Count{Name: name(k), Count: t.members[k].count}
	}
	return counts
}

// first is the most frequent member.
func (t *tops[K]) first(less func(a, b K) int) (best K) {
	found := false
	for k, m := range t.members {
		if c := t.members[best].count; !found || m.count > c || m.count == c && less(k, best) < 0 {
			best, found = k, true
		}
	}
	return best
}

// raise opens the incident of key or brings what is known of it up to date. It returns nil if too many are open.
func (j *Judge) raise(key incidentKey, entity uint32, f finding) *incident {
	in := j.incidents[key]
	if !f.learned && j.options.Without&Absolute != 0 {
		return nil
	}
	if in == nil {
		main := f.pair
		if main == (mainConn{}) {
			main = j.roles[key.role].entities.slab[entity].main
		}
		if !j.place(j.worthOf(key, main.peer, &f), key, &main, &f) {
			return nil
		}
		in = newIncident()
		in.key, in.entity, in.opened, in.finding = key, entity, j.end, f
		began := j.end - 2*windowSeconds*secondMicros
		if f.since > 0 {
			began = min(began, f.since)
		}
		in.received, in.lost = j.losses.before(began)
		in.id = j.incidentID(key)
		j.incidents[key] = in
		j.raised[key.role][entity] = append(j.raised[key.role][entity], in)
		st := &j.roles[key.role]
		e := &st.entities.slab[entity]
		in.main = e.main
		e.incidents++
		if f.pair == (mainConn{}) && f.category != models.CategoryARPSpoofing {
			in.begin(e, &st.entities.blocks)
		}
		j.turns++
		if f.learned {
			j.learnedAlerts++
		} else {
			j.limitAlerts++
		}
		if key.category == models.CategoryHostSweep {
			if len(j.sweeps) == maxSweeps {
				j.sweeps = slices.Delete(j.sweeps, 0, 1)
			}
			j.sweeps = append(j.sweeps, in)
		}
		in.worm = key.category == models.CategoryHostSweep && j.caught(key.addr, in)
	}
	if f.score >= in.finding.score {
		in.finding = f
	}
	in.last, in.unwatched = j.end, 0
	in.changed = true
	return in
}

// begin takes over what the window has seen, this slot included. The victim of a flood may have been asked for other ports before: only
// its sources count. Of who sends what was not asked for the window tells nothing.
func (in *incident) begin(e *entity, p *blocks) {
	if in.key.category == models.CategoryAmplification {
		return
	}
	in.peers.seed(&e.peers, p)
	if in.key.role == Source {
		in.ports.seed(&e.ports, p)
	}
	switch in.key.category {
	case models.CategoryPortScan, models.CategoryHostSweep:
		in.count = uint64(e.opened())
	case models.CategoryFlood:
		in.count = uint64(e.failed())
		switch in.finding.lead.feature {
		case leadPackets:
			in.count = uint64(e.now.silent)
		case leadICMP:
			in.count = uint64(e.now.icmp)
		case leadOpened:
			in.count = uint64(e.opened())
		}
		if in.finding.lead.feature == leadSources { // the window is of other things, too; but each source has made a connection
			in.count = uint64(max(e.recentlyFailed(), int(in.finding.lead.value)))
		}
	default:
	}
}

// incidentID is the same whenever the same capture is judged: of who, what and when.
func (j *Judge) incidentID(key incidentKey) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%d|%s|%d", j.options.Sensor, key.addr, key.role, key.category, j.end))
	return hex.EncodeToString(sum[:8])
}

// open lists the open incidents in a fixed order.
func (j *Judge) open() []*incident {
	all := make([]*incident, 0, len(j.incidents))
	for _, in := range j.incidents {
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b *incident) int { return cmp.Compare(a.id, b.id) })
	return all
}

// gather adds a slot's new connections to the incidents of their source and destination.
func (j *Judge) gather(parts []*Accumulator) {
	for _, a := range parts {
		for i := range a.slots {
			s := &a.slots[i]
			for r := range numRoles {
				e := a.rows[r][a.rowOf[r][i]].entity
				if j.roles[r].entities.slab[e].incidents > 0 {
					j.gatherOne(r, e, s)
				}
			}
		}
	}
}

func (j *Judge) gatherOne(r Role, e uint32, s *models.ConnSlot) {
	peer := s.Resp
	if r == Destination {
		peer = s.Orig
	}
	for _, in := range j.raised[r][e] {
		category := in.key.category
		if !slices.Contains(limitCategories(), category) {
			continue
		}
		n := uint64(1)
		if in.byPacket() {
			n = uint64(s.Up.Packets)
		}
		switch {
		case in.byPacket() && j.end-in.last <= secondMicros: // the limit is one a second
		case in.last != j.end && category != models.CategoryAnomaly:
			continue
		case category == models.CategoryAmplification:
			n = uint64(s.Up.Packets)
			if !unasked(s) && !fragments(s) {
				continue
			}
		case !s.Opens(), s.Completed && in.ofFailures():
			continue
		}
		if in.opened < j.end || category == models.CategoryAmplification || category == models.CategoryAnomaly {
			in.count += n // begin has counted those of the first slot
		}
		in.ports.add(portProto{s.RespPort, s.Proto}, hashPort(s.RespPort, s.Proto), n)
		in.peers.add(peer, hashAddr(peer), n)
		in.protos.add(s.Proto, hashPort(0, s.Proto), n)
		in.srcPorts.add(s.OrigPort, hashPort(s.OrigPort, 0), n)
	}
}

// byPacket says whether a flood is one of packets, and not of connections.
func (in *incident) byPacket() bool {
	return in.key.category == models.CategoryFlood && (in.finding.lead.feature == leadPackets || in.finding.lead.feature == leadICMP)
}

// emit sends the revisions that are due.
func (j *Judge) emit() {
	for _, in := range j.open() {
		if in.changed {
			j.send(in)
		}
	}
}

// send sends a revision if one is due: the first at once, later ones at most once a second.
func (j *Judge) send(in *incident) {
	if in.rev == 0 || j.end-in.emitted >= secondMicros {
		j.out = append(j.out, j.alert(in, models.AlertOpen))
	}
}

func (j *Judge) closeSilent(now int64) {
	for _, in := range j.open() {
		if now-in.last >= max(j.options.Limits.CloseAfterSeconds*secondMicros, in.finding.hold)+in.unwatched {
			j.close(in)
		}
	}
}

// lower takes a closed incident off its entity.
func (j *Judge) lower(in *incident) {
	of := j.raised[in.key.role]
	if of[in.entity] = slices.DeleteFunc(of[in.entity], func(o *incident) bool { return o == in }); len(of[in.entity]) == 0 {
		delete(of, in.entity)
	}
}

// caught says whether a host that sweeps was swept for the same port before, by another: then it spreads.
func (j *Judge) caught(addr models.Addr, in *incident) bool {
	hash := max(hashAddr(addr), 1)
	for _, o := range j.sweeps {
		if o != in && o.key.addr != addr && o.peers.hashes[hash] && o.swept() == in.swept() {
			return true
		}
	}
	return false
}

// swept is the port that a sweep is for.
func (in *incident) swept() portProto {
	if len(in.ports.members) > 0 {
		return in.ports.first(comparePorts)
	}
	return portProto{in.main.respPort, in.main.proto}
}

const maxSweeps = 32 // that are remembered, the latest

func (j *Judge) close(in *incident) {
	j.out = append(j.out, j.alert(in, models.AlertClosed))
	j.roles[in.key.role].entities.slab[in.entity].incidents--
	delete(j.incidents, in.key)
	j.lower(in)
	j.turns++
}

// confidence is the share of the packets that were not lost since what the incident is about began: with the window in which a limit was
// crossed.
func (j *Judge) confidence(in *incident) float64 { return j.confidenceSince(in.received, in.lost) }

func (j *Judge) confidenceSince(receivedBefore, lostBefore uint64) float64 {
	received, lost := j.received-receivedBefore, j.lost-lostBefore
	if received+lost == 0 {
		return 1
	}
	return round(1 - float64(lost)/float64(received+lost))
}

// severityOf ranks by how far a limit is exceeded; what looks around or knocks at doors has not done any harm yet.
func severityOf(c models.Category, score float64) models.Severity {
	harmless := false
	switch c {
	case models.CategoryPortScan, models.CategoryHostSweep, models.CategoryBruteForce, models.CategoryBeacon, models.CategoryTunnel:
		harmless = true
	default:
	}
	switch {
	case score >= 0.95 && !harmless:
		return models.SeverityCritical
	case score >= 0.85:
		return models.SeverityHigh
	}
	return models.SeverityMedium
}

// limitScore is at least 0.81, and rises with how far the limit is exceeded: 0.9 at twice, 0.98 at ten times.
func limitScore(value, limit float64) float64 {
	return round(max(0.81, 1-0.2*limit/math.Max(value, limit)))
}
