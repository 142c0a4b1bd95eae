package detect

import (
	"cmp"
	"math"
	"slices"

	"netlyra/internal/models"
)

// pairKey is a client and the service that it uses.
type pairKey struct {
	client, server models.Addr
	port           uint16
	proto          models.Proto
}

// pair is what one client does with one service: when it comes, how much it carries, whether its visits are all alike.
type pair struct {
	start    int64 // of the last connection, or of the last after a pause
	first    int64 // capture time of the first connection that got through
	met      int64 // time judged until then
	new      bool  // it began after the time of learning
	minute   int64
	visits   [2]uint32 // short connections in this minute and the one before
	up, down moments   // of their payload
	period   int64
	sent     [2]uint64 // bytes uploaded in this period of uploadSeconds and the one before
	told     uint64    // the most that there has been an alert about: as much again is no news
	gapped   int       // gaps so far
	gaps     [pairGaps]uint32
}

const (
	maxPairs   = 1 << 17
	maxRetries = 1 << 13
	maxPeers   = 1 << 16
	maxPorts   = 1 << 14
	pairGaps   = 24

	// A beacon calls at regular times. Exponential gaps, those of independent events, lie within 15 % of their median in 10 of 100
	// cases, within 60 % in 43: that 11 of 12, or 22 of 24, do is less likely than one in a million. Since a call is over only after minGap,
	// spreads are of what is beyond it: the rest of an exponential gap is one, too.
	minGap      = 500_000 // microseconds; connections that open together are one call
	tightGaps   = 12
	tightSpread = 0.15
	wideSpread  = 0.6
	retryGaps   = 24  // where nobody answers: programs try again for a while
	oldGaps     = 120 // of what has been here from the start
	maxCV       = 0.6 // of the calls' sizes
	beaconHold  = 600 * secondMicros

	// Somebody who tries passwords comes often, for a short time, and is answered the same.
	shortMicros   = 60 * secondMicros
	shortUp       = 16_000 // bytes
	shortDown     = 64_000
	tries         = 20   // in one to two minutes
	outsideFactor = 3    // at a server outside, and in the time of learning
	webFactor     = 3    // clients of the web open many short connections
	datagramTries = 60   // without a connection, a question is one visit
	alike         = 0.75 // coefficient of variation of what goes up, and of what comes down: one to five tries a visit have 0.47

	// Who takes data away uploads much more than it downloads.
	uploadStep   = 1 << 20
	uploadRatio  = 5
	uploadUsual  = 10_000_000 // bytes in uploadSeconds to twice that, on a port that others use too
	uploadOdd    = 2_000_000  // on another
	toldFactor   = 2          // of what there has been an alert about
	uploadFactor = 4          // of what this host usually uploads

	// A remote-control session stays.
	sessionMicros = 120 * secondMicros
	sessionBytes  = 2_000
	tickMicros    = 30 * secondMicros
)

// moments are the running mean and variance of Welford (1962).
type moments struct {
	n        float64
	mean, m2 float64
}

func (m *moments) add(v float64) {
	m.n++
	d := v - m.mean
	m.mean += d / m.n
	m.m2 += d * (v - m.mean)
}

// cv is the coefficient of variation.
func (m *moments) cv() float64 {
	if m.n < 2 || m.mean <= 0 {
		return 0
	}
	return math.Sqrt(m.m2/(m.n-1)) / m.mean
}

// telling says whether a slot is one that its connection's pair hears of: it gets through or ends, uploads another step, has lasted
// another tick, or answers an echo with something else.
func telling(s *models.ConnSlot) bool {
	return s.Completed || s.New && leases(s) || s.Finished || s.TotalUp/uploadStep != (s.TotalUp-s.Up.Payload)/uploadStep ||
		s.Before-s.Start >= 0 && !s.New && ticks(s.Last, s.Start) != ticks(s.Before, s.Start) || echoes(s)
}

func ticks(t, start int64) int64 { return max(t-start, 0) / tickMicros }

// events judges the slot's telling connections and those that have failed, in an order that does not depend on who accumulated them.
func (j *Judge) events(parts []*Accumulator) {
	j.told = j.told[:0]
	for _, a := range parts {
		for _, i := range a.telling {
			j.told = append(j.told, &a.slots[i])
		}
		for i := range a.failed {
			j.told = append(j.told, &a.failed[i])
		}
	}
	j.trim()
	slices.SortFunc(j.told, compareSlots)
	for told := j.told; len(told) > 0; {
		batch := told[:min(len(told), touchAhead)]
		j.touchPairs(batch)
		for i, s := range batch {
			j.event(s, j.hashes[i])
		}
		told = told[len(batch):]
	}
}

// touchPairs hashes the pairs of some slots and loads what event will look at for them.
func (j *Judge) touchPairs(batch []*models.ConnSlot) {
	for i, s := range batch {
		j.hashes[i] = j.pairs.hash(pairKeyOf(s))
	}
	for i := range batch {
		if c := j.pairs.ahead(j.hashes[i]); c != nil {
			j.sink += c.key.client.Lo + uint64(c.value.start) + c.value.told
		}
	}
}

func pairKeyOf(s *models.ConnSlot) pairKey { return pairKey{s.Orig, s.Resp, s.RespPort, s.Proto} }

// trim cuts the telling connections of a flood, which fail and no more, to a bounded number: those with the smallest hashes.
func (j *Judge) trim() {
	if len(j.told) <= maxTelling {
		return
	}
	before := len(j.told)
	line := uint32(float64(maxTelling) / float64(before) * math.MaxUint32)
	j.told = slices.DeleteFunc(j.told, func(s *models.ConnSlot) bool {
		return !s.Through && hashAddr(s.Orig)^hashAddr(s.Resp)^hashPort(s.RespPort, s.Proto) > line
	})
	j.untold += uint64(before - len(j.told))
}

const maxTelling = 1 << 13

func compareSlots(a, b *models.ConnSlot) int {
	if a.First != b.First { // nearly always: the rest is not looked at
		return cmp.Compare(a.First, b.First)
	}
	return cmp.Or(compareAddr(a.Orig, b.Orig), compareAddr(a.Resp, b.Resp),
		cmp.Compare(a.RespPort, b.RespPort), cmp.Compare(a.OrigPort, b.OrigPort), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Start, b.Start),
		cmp.Compare(a.ICMPType, b.ICMPType), cmp.Compare(a.ICMPCode, b.ICMPCode), cmp.Compare(a.Last, b.Last))
}

// visit is one telling connection of a pair, and who its ends are.
type visit struct {
	s    *models.ConnSlot
	pair *pair
	j    *Judge
}

func (v *visit) client() bool { return v.j.inside(v.s.Orig, v.s.OrigMAC) }
func (v *visit) server() bool { return v.j.inside(v.s.Resp, v.s.RespMAC) }

// users is how many clients the server's network is known to have; renownUsers stands for more.
func (v *visit) users() int {
	if r := v.j.peers.find(network(v.s.Resp)); r != nil {
		return int(r.n)
	}
	return 0
}

// common says whether the port is one that others use, too, or that was in use from the start.
func (v *visit) common() bool {
	r := v.j.ports.find(portProto{v.s.RespPort, v.s.Proto})
	return r != nil && r.common()
}

// strangers says whether a host of the inside talks to somebody outside whom it did not know when everything was usual and whom nobody
// else knows.
func (v *visit) strangers() bool {
	return v.pair.new && v.j.elapsed-v.pair.met < newMicros && v.users() == 1 && v.client() && !v.server()
}

// newMicros is how long what is new stays so, in time judged: what goes on for longer is the new normal.
const newMicros = 72 * hourMicros

// event judges a telling connection, whose pair has the given hash.
func (j *Judge) event(s *models.ConnSlot, hash uint32) {
	if leases(s) {
		j.lease(s)
	}
	if group(s) {
		return
	}
	if s.Completed || s.Finished || s.Failed {
		j.probe(s)
	}
	if !s.Through {
		j.retry(s)
		return
	}
	if !s.Proto.HasPorts() {
		if echoes(s) {
			j.limitEcho(s)
		}
		return
	}
	p, fresh := j.pairs.getHashed(pairKeyOf(s), hash)
	v := visit{s, p, j}
	if fresh {
		p.first, p.met, p.new = s.Start, j.elapsed, j.learned()
		j.meet(s)
		j.introduce(s)
		j.offer(&v)
	}
	if s.Completed {
		if !private(s.Resp) {
			j.outside = max(j.outside, s.Last)
		}
		j.call(&v)
	}
	if s.Proto == models.ProtoTCP && s.Finished || s.Proto == models.ProtoUDP && s.Completed {
		j.short(&v)
	}
	j.upload(&v)
	j.session(&v)
}

// retry is a connection from the inside to somebody outside who does not answer: a program whose control server is gone goes on calling.
// Its time is that at which it began.
func (j *Judge) retry(s *models.ConnSlot) {
	if s.Proto != models.ProtoTCP || !s.Asks() || !private(s.Orig) || private(s.Resp) {
		return
	}
	p, fresh := j.retries.get(pairKeyOf(s))
	if fresh {
		p.first, p.new = s.Start, j.learned()
	}
	j.call(&visit{s, p, j})
}

// introduce notes who uses a server's network and its port.
func (j *Judge) introduce(s *models.ConnSlot) {
	user := j.hostKeyOf(s.Orig, s.OrigMAC).hash()
	peer, fresh := j.peers.get(network(s.Resp))
	if fresh {
		peer.first, peer.seen = s.Start, !j.learned()
	}
	peer.meet(user)
	port, fresh := j.ports.get(portProto{s.RespPort, s.Proto})
	if fresh {
		port.first, port.seen = s.Start, !j.learned()
	}
	port.meet(user ^ hashAddr(s.Resp))
}

// network is the part of an address that one provider has: services move within it.
func network(a models.Addr) models.Addr {
	if a.Is4() {
		a.Lo &^= 0xff
		return a
	}
	return models.Addr{Hi: a.Hi &^ 0xffff}
}

// call is a connection that got through: does its client come at regular times?
func (j *Judge) call(v *visit) {
	p, s := v.pair, v.s
	gap := s.Start - p.start
	if p.start == 0 {
		p.start = s.Start
		return
	}
	if gap < minGap {
		return
	}
	p.start = s.Start
	p.gaps[p.gapped%pairGaps] = uint32(min(gap/1000, math.MaxUint32))
	p.gapped++
	if s.Proto == models.ProtoUDP && periodic(s.RespPort) || p.up.cv() > maxCV {
		return
	}
	if !s.Through && p.gapped < retryGaps {
		return
	}
	if period, spread, regular := p.regular(); regular && v.users() <= 1 && v.client() && !v.server() {
		j.beacon(v, period, spread)
	}
}

// periodic lists the datagram services whose clients come at regular times by design: DHCP, NTP, DNS.
func periodic(port uint16) bool { return port == 67 || port == 123 || port == portDNS }

const portDNS = 53

// regular says whether the gaps are alike: nearly all within spread of their median (milliseconds).
func (p *pair) regular() (period, spread float64, ok bool) {
	n := min(p.gapped, pairGaps)
	if n < tightGaps || !p.new && p.gapped < oldGaps {
		return 0, 0, false
	}
	sorted := p.gaps
	slices.Sort(sorted[:n])
	period = float64(sorted[n/2])
	if recent := p.last(tightGaps); within(recent[:], period, tightSpread) >= tightGaps-1 {
		return period, spreadOf(recent[:], period), true
	}
	if n == pairGaps && p.new && within(p.gaps[:], period, wideSpread) >= pairGaps-2 {
		return period, spreadOf(p.gaps[:], period), true
	}
	return 0, 0, false
}

// spreadOf is how far nine of ten gaps lie from the period at most, as a share of it.
func spreadOf(gaps []uint32, period float64) float64 {
	var far [pairGaps]float64
	for i, g := range gaps {
		far[i] = math.Abs(float64(g)-period) / period
	}
	slices.Sort(far[:len(gaps)])
	return round(far[len(gaps)*9/10])
}

// last is the last gaps, in any order.
func (p *pair) last(n int) (g [tightGaps]uint32) {
	for i := range n {
		g[i] = p.gaps[(p.gapped-1-i)%pairGaps]
	}
	return g
}

func within(gaps []uint32, period, spread float64) (n int) {
	const least = minGap / 1000 // milliseconds
	for _, g := range gaps {
		if math.Abs(float64(g)-period) <= spread*(period-least) {
			n++
		}
	}
	return n
}

// deadCalls marks the calls of a beacon that nobody answers.
const deadCalls = "unanswered"

func (j *Judge) beacon(v *visit, period, spread float64) {
	p := v.pair
	f := finding{
		category: models.CategoryBeacon, score: limitScore(float64(p.gapped), tightGaps),
		lead:  lead{"interval", "s", period / 1000, 0},
		hold:  max(int64(4*period*1000), beaconHold),
		pair:  pairOf(v.s),
		since: p.first,
		calls: int64(p.gapped) + 1, old: !p.new,
	}
	if !v.s.Through {
		f.text = deadCalls
	}
	f.reasons = []models.Reason{
		{Feature: "interval_spread", Value: spread, Unit: "of the interval", Expected: models.Range{Low: wideSpread, High: 10}, Contribution: 0.6, Basis: models.BasisLimit},
		{Feature: "hosts_using_peer", Value: float64(v.users()), Unit: "hosts", Expected: models.Range{Low: 2, High: renownUsers}, Contribution: 0.2, Basis: models.BasisLimit},
		{Feature: "calls", Value: float64(p.gapped + 1), Unit: "connections", Expected: models.Range{High: tightGaps}, Contribution: 0.2, Basis: models.BasisLimit},
	}
	j.blame(v.s, f, uint64(p.gapped+1))
}

// short is a visit that is over: is it one of many that are alike?
func (j *Judge) short(v *visit) {
	p, s := v.pair, v.s
	up, down := s.TotalUp, s.TotalDown
	if s.Last-s.Start > shortMicros || up == 0 || down == 0 || up > shortUp || down > shortDown {
		return
	}
	p.turnMinute(s.Last / (60 * secondMicros))
	p.visits[0]++
	p.up.add(float64(up))
	p.down.add(float64(down))
	n := int(p.visits[0] + p.visits[1])
	if n < tries || s.Proto == models.ProtoUDP && (n < datagramTries || periodic(s.RespPort) || !v.server()) {
		return
	}
	limit := tries
	if s.Proto == models.ProtoUDP {
		limit = datagramTries
	}
	if !j.learned() || !v.server() {
		limit *= outsideFactor
	}
	if web(s.RespPort) {
		limit *= webFactor
	}
	if !p.new { // what has always been so may go on, and half as fast again
		usual := j.usualVisits(s, uint32(min(n, limit-1)))
		if j.learned() {
			limit = max(limit, 3*int(usual)/2)
		}
	}
	if n < limit || p.up.cv() > alike || p.down.cv() > alike {
		return
	}
	if _, _, regular := p.regular(); regular && !v.server() {
		return // it is a beacon
	}
	if j.incidents[incidentKey{s.Resp, Destination, models.CategoryFlood}] != nil {
		return // so many clients that each is one of a flood
	}
	f := finding{
		category: models.CategoryBruteForce, score: limitScore(float64(n), float64(limit)),
		lead: lead{"short_connections", "connections", float64(n), float64(limit)},
		pair: pairOf(s), since: p.first, hold: 300 * secondMicros,
	}
	f.reasons = []models.Reason{
		{Feature: "short_connections", Value: float64(n), Unit: "connections in 1 to 2 min", Expected: models.Range{High: float64(limit)}, Contribution: 0.6, Basis: models.BasisLimit},
		{Feature: "answer_size_variation", Value: round(p.down.cv()), Unit: "of the mean", Expected: models.Range{Low: alike, High: 2}, Contribution: 0.25, Basis: models.BasisLimit},
		{Feature: "request_size_variation", Value: round(p.up.cv()), Unit: "of the mean", Expected: models.Range{Low: alike, High: 2}, Contribution: 0.15, Basis: models.BasisLimit},
	}
	j.blame(s, f, 0)
}

func web(port uint16) bool { return port == 80 || port == 443 || port == 8080 || port == 8443 }

// turnMinute brings the counts of visits up to a minute. After two silent ones, sizes are learned anew.
func (p *pair) turnMinute(minute int64) {
	switch minute - p.minute {
	case 0:
		return
	case 1:
		p.visits = [2]uint32{0, p.visits[0]}
	default:
		p.visits = [2]uint32{}
		p.up, p.down = moments{}, moments{}
	}
	p.minute = minute
}

// usualVisits is the most visits that the service's clients made in the time of learning.
func (j *Judge) usualVisits(s *models.ConnSlot, n uint32) uint32 {
	u, _ := j.services.get(serviceKey{s.Resp, s.RespPort, s.Proto})
	if !j.learned() {
		*u = max(*u, n)
	}
	return *u
}

type serviceKey struct {
	server models.Addr
	port   uint16
	proto  models.Proto
}

const maxServices = 1 << 14

// upload adds what a connection has uploaded since it was last heard of, and holds it against what this host usually uploads.
func (j *Judge) upload(v *visit) {
	p, s := v.pair, v.s
	steps := s.TotalUp/uploadStep - (s.TotalUp-s.Up.Payload)/uploadStep
	bytes := steps * uploadStep
	if s.Finished {
		bytes += s.TotalUp % uploadStep
	}
	if bytes == 0 || s.TotalUp < uploadRatio*s.TotalDown || !v.client() || v.server() {
		return
	}
	h := j.hostOf(s.Orig, s.OrigMAC)
	h.upload(s.Last, bytes, !j.learned())
	switch period := s.Last / secondMicros / uploadSeconds; period - p.period {
	case 0:
	case 1:
		p.sent = [2]uint64{0, p.sent[0]}
		p.period = period
	default:
		p.sent = [2]uint64{}
		p.period = period
	}
	p.sent[0] += bytes
	limit := uint64(uploadUsual)
	if !v.common() {
		limit = uploadOdd
	}
	limit = max(limit, uploadFactor*h.peak)
	sent := p.sent[0] + p.sent[1]
	if j.incidents[incidentKey{s.Orig, Source, models.CategoryExfiltration}] == nil {
		limit = max(limit, toldFactor*p.told)
	}
	if !v.strangers() || sent < limit {
		return
	}
	p.told = max(p.told, sent)
	f := finding{
		category: models.CategoryExfiltration, score: limitScore(float64(sent), float64(limit)),
		lead: lead{"uploaded", "bytes", float64(sent), float64(limit)},
		pair: pairOf(s), since: p.first, hold: uploadSeconds * secondMicros,
	}
	f.reasons = []models.Reason{
		{Feature: "uploaded", Value: float64(sent), Unit: "bytes", Expected: models.Range{High: float64(max(h.peak, 1))}, Contribution: 0.5, Basis: models.BasisHost},
		{Feature: "upload_ratio", Value: round(float64(s.TotalUp) / float64(max(s.TotalDown, 1))), Unit: "bytes sent per byte received", Expected: models.Range{High: 1}, Contribution: 0.3, Basis: models.BasisLimit},
		{Feature: "hosts_using_peer", Value: float64(v.users()), Unit: "hosts", Expected: models.Range{Low: 2, High: renownUsers}, Contribution: 0.2, Basis: models.BasisLimit},
	}
	j.blame(s, f, 0)
}

// session looks at a connection that has lasted: a stranger, on a port that nobody else uses or one that it does not speak the
// language of, to whom more goes than comes back, is a remote control.
func (j *Judge) session(v *visit) {
	s := v.s
	if s.Proto != models.ProtoTCP || s.Last-s.Start < sessionMicros || s.TotalUp < sessionBytes || s.TotalUp < s.TotalDown || !v.strangers() {
		return
	}
	const https = 443
	odd := !v.common() || s.RespPort == https && !s.Hello
	if !odd {
		return
	}
	seconds := float64(s.Last-s.Start) / secondMicros
	f := finding{
		category: models.CategoryRemoteAccess, score: limitScore(seconds, sessionMicros/secondMicros),
		lead: lead{"session_seconds", "s", seconds, sessionMicros / secondMicros},
		pair: pairOf(s), since: v.pair.first, hold: 4 * tickMicros,
	}
	f.reasons = []models.Reason{
		{Feature: "upload_ratio", Value: round(float64(s.TotalUp) / float64(max(s.TotalDown, 1))), Unit: "bytes sent per byte received", Expected: models.Range{High: 1}, Contribution: 0.3, Basis: models.BasisLimit},
		j.portReason(s),
		{Feature: "hosts_using_peer", Value: float64(v.users()), Unit: "hosts", Expected: models.Range{Low: 2, High: renownUsers}, Contribution: 0.2, Basis: models.BasisLimit},
		{Feature: "session_seconds", Value: round(seconds), Unit: "s", Expected: models.Range{High: sessionMicros / secondMicros}, Contribution: 0.2, Basis: models.BasisLimit},
	}
	j.blame(s, f, 0)
}

// portReason says what is odd about a session's port.
func (j *Judge) portReason(s *models.ConnSlot) models.Reason {
	r := models.Reason{Feature: "hosts_using_port", Unit: "hosts", Expected: models.Range{Low: renownUsers - 1, High: renownUsers}, Contribution: 0.3, Basis: models.BasisLimit}
	if p := j.ports.find(portProto{s.RespPort, s.Proto}); p != nil {
		r.Value = float64(p.n)
		if p.common() {
			return models.Reason{Feature: featureHellos, Expected: models.Range{Low: 1, High: 1}, Contribution: 0.3, Basis: models.BasisLimit}
		}
	}
	return r
}

const featureHellos = "tls_hellos"

// pairOf names a finding's connection.
func pairOf(s *models.ConnSlot) mainConn {
	return mainConn{peer: s.Resp, origPort: s.OrigPort, respPort: s.RespPort, proto: s.Proto}
}

// keyOf groups by culprit; when several try the same service, by the first of them.
func (j *Judge) keyOf(s *models.ConnSlot, c models.Category) incidentKey {
	k := incidentKey{s.Orig, Source, c}
	if c != models.CategoryBruteForce || j.incidents[k] != nil {
		return k
	}
	for _, in := range j.open() {
		if in.key.category == c && in.main.peer == s.Resp && in.main.respPort == s.RespPort {
			return in.key
		}
	}
	return k
}

// blame raises an incident for the client of a connection; count is how much evidence there has been, 0 for one piece more.
func (j *Judge) blame(s *models.ConnSlot, f finding, count uint64) {
	if j.packets < j.options.Limits.WarmupPackets || j.options.Without&Absolute != 0 {
		return
	}
	st := &j.roles[Source]
	e := st.entities.get(s.Orig, hashAddr(s.Orig), j.turn)
	if e == noEntity {
		return
	}
	if f.severity == "" {
		f.severity = severityOf(f.category, f.score)
	}
	f.vector = vectorOf(&st.entities.slab[e], &st.entities.blocks)
	f.raw = st.model.river(&f.vector)
	key := j.keyOf(s, f.category)
	other := key.addr != s.Orig
	if other {
		f.score = 0 // the incident's numbers stay those of its culprit
	}
	in := j.raise(key, e, f)
	if in == nil {
		return
	}
	if other {
		in.others.add(s.Orig, hashAddr(s.Orig), 1)
	}
	in.count = max(in.count+1, count)
	in.main = f.pair
	in.ports.add(portProto{s.RespPort, s.Proto}, hashPort(s.RespPort, s.Proto), 1)
	in.peers.add(s.Resp, hashAddr(s.Resp), 1)
	in.protos.add(s.Proto, hashPort(0, s.Proto), 1)
	in.srcPorts.add(s.OrigPort, hashPort(s.OrigPort, 0), 1)
}
