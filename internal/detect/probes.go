package detect

import (
	"math"
	"slices"

	"netlyra/internal/models"
)

// Scanning shows in what fails: many ports of one host, or one port of many hosts, in any time up to an hour. The limits over the window
// of 10 to 20 s see the fast scans at once; these lists see the slow ones, and the small.

// probeKey is one source and what it holds fixed: the host whose ports it tries, or the port that it tries on hosts.
type probeKey struct {
	source models.Addr
	host   models.Addr // zero: many hosts
	port   portProto   // zero: many ports
	here   bool        // any port of any host of the inside
}

// probes are the attempts that have not got through, and how many did.
type probes struct {
	tried   [maxTried]attempt
	n       uint8
	news    uint8  // new ones since the last alert
	told    bool   // there has been an alert about what was on the list
	fails   uint32 // since started, distinct as far as the list reaches
	through uint32 // since started
	started int64
	factor  uint32
	pair    mainConn
}

type attempt struct {
	hash   uint32
	port   uint16
	second uint32 // when it had failed, modulo 2^32
}

const (
	maxTried     = 40
	maxProbes    = 1 << 14
	probeSeconds = 3600
	probedPorts  = 20  // of one host
	probedHosts  = 25  // with one port
	probedHere   = 40  // ports of hosts of the inside
	probedKinds  = 2   // different ports among them
	floodSeconds = 180 // after a flood, in which connections to its victim fail
	scanSeconds  = 180 // after a fast scan, whose attempts fail one by one
	probedByARP  = 35  // addresses that nobody has, in arpSeconds: a sensor may see the questions but not the answers
	arpSeconds   = 60
	probeFactor  = 3  // so many more must fail than get through
	quietSeconds = 60 // without a connection to the outside that gets through, it is the way there that fails
	lossShare    = 20 // one packet in so many lost: absence says nothing
	outsideProbe = 9  // outside, where many that were there have gone
	probeHold    = 600 * secondMicros
)

// probe notes an attempt that has failed or been refused, or one that got through.
func (j *Judge) probe(s *models.ConnSlot) {
	if !s.Asks() || s.Proto == models.ProtoUDP && s.RespPort >= dynamicPort {
		return // answers to a group, and what finds the way (traceroute tries ports from 33434 on)
	}
	port := portProto{s.RespPort, s.Proto}
	keys := [3]probeKey{{source: s.Orig, host: s.Resp}, {source: s.Orig, port: port}, {source: s.Orig, here: true}}
	hashes := [3]uint32{hashPort(s.RespPort, s.Proto), hashAddr(s.Resp), hashPort(s.RespPort, s.Proto) ^ hashAddr(s.Resp)}
	switch {
	case s.Completed:
		if len(j.probes.cells) == 0 {
			return
		}
		for i, k := range keys {
			if p := j.probes.find(k); p != nil {
				p.succeeded(hashes[i], s.Last)
			}
		}
	case !s.Through && j.failureTells(s):
		for i, k := range keys {
			if i == 0 && !s.Proto.HasPorts() || i == 2 && !j.inside(s.Resp, s.RespMAC) {
				continue
			}
			j.attempt(k, hashes[i], pairOf(s))
		}
	}
}

// dynamicPort is where systems begin to give out ports to clients; RFC 6335 has 49152, Linux 32768.
const dynamicPort = 32768

// failureTells says whether a connection that fails tells of its source: not when packets are being lost, not when the way to the outside
// is down.
func (j *Judge) failureTells(s *models.ConnSlot) bool {
	if j.losing {
		return false
	}
	return s.Last-j.outside < quietSeconds*secondMicros || j.inside(s.Resp, models.MAC{})
}

// attempt notes a failure and holds its list against the limits.
func (j *Judge) attempt(k probeKey, hash uint32, pair mainConn) {
	p, fresh := j.probes.get(k)
	if fresh {
		p.started = j.end
	}
	p.turn(j.end)
	now := uint32(j.end / secondMicros)
	p.add(attempt{hash, pair.respPort, now})
	p.pair, p.factor = pair, probeFactor
	if !j.inside(pair.peer, models.MAC{}) {
		p.factor = outsideProbe
	}
	horizon := int32(probeSeconds)
	if k.port.proto == models.ProtoARP {
		horizon = arpSeconds
	}
	j.limitProbes(k, p, p.failed(now, horizon))
}

// add notes an attempt, which may have been known; when the list is full, the oldest goes.
func (p *probes) add(a attempt) {
	oldest := 0
	for i := range p.tried[:p.n] {
		t := &p.tried[i]
		if t.hash == a.hash {
			t.second = a.second
			return
		}
		if int32(t.second-p.tried[oldest].second) < 0 {
			oldest = i
		}
	}
	p.news = min(p.news+1, math.MaxUint8-1)
	p.fails++
	if p.n < maxTried {
		p.tried[p.n] = a
		p.n++
		return
	}
	p.tried[oldest] = a
}

// turn begins to count anew after an hour.
func (p *probes) turn(now int64) {
	if now-p.started > probeSeconds*secondMicros {
		p.fails, p.through, p.started = uint32(p.n), 0, now
	}
}

// succeeded takes an attempt off the list.
func (p *probes) succeeded(hash uint32, now int64) {
	p.turn(now)
	p.through++
	for i := range p.tried[:p.n] {
		if p.tried[i].hash == hash {
			p.n--
			p.tried[i] = p.tried[p.n]
			return
		}
	}
}

// failed counts the attempts of the time up to now that is horizon seconds long, and forgets older ones.
func (p *probes) failed(now uint32, horizon int32) int {
	for i := 0; i < int(p.n); {
		if int32(now-p.tried[i].second) > horizon {
			p.n--
			p.tried[i] = p.tried[p.n]
			continue
		}
		i++
	}
	return int(p.n)
}

// kinds is how many different ports the list has.
func (p *probes) kinds() int {
	var ports []uint16
	for _, t := range p.tried[:p.n] {
		if !slices.Contains(ports, t.port) {
			ports = append(ports, t.port)
		}
	}
	return len(ports)
}

// scans says whether a source is already known to scan, by another list or limit.
func (j *Judge) scans(source models.Addr) bool {
	sweep := j.incidents[incidentKey{source, Source, models.CategoryHostSweep}]
	return j.incidents[incidentKey{source, Source, models.CategoryPortScan}] != nil || sweep != nil && sweep.finding.lead.feature != leadTargets
}

// leadTargets is the value of a sweep that is told by ports of hosts, few of each.
const leadTargets = "failed_targets"

// slow says whether the attempts are spread over more than a minute.
func (p *probes) slow(now uint32) bool {
	for _, t := range p.tried[:p.n] {
		if int32(now-t.second) > 60 {
			return true
		}
	}
	return false
}

func (j *Judge) limitProbes(k probeKey, p *probes, failed int) {
	limit, category, l := probedHosts, models.CategoryHostSweep, lead{"failed_hosts", "hosts", float64(failed), probedHosts}
	switch {
	case k.host != (models.Addr{}):
		limit, category, l = probedPorts, models.CategoryPortScan, lead{"failed_ports", "ports", float64(failed), probedPorts}
	case k.here:
		if j.scans(k.source) {
			p.news, p.told = 0, true // it is that scan's
			return
		}
		if p.kinds() < probedKinds {
			return
		}
		limit, l = probedHere, lead{leadTargets, "ports of hosts", float64(failed), probedHere}
	case k.port.proto == models.ProtoARP:
		limit, l.limit = probedByARP, probedByARP
	}
	if failed < limit || p.fails/p.factor < p.through || j.packets < j.options.Limits.WarmupPackets {
		return
	}
	if victim := j.roles[Destination].entities.find(p.pair.peer); victim != nil && j.end-victim.flooded < floodSeconds*secondMicros {
		return
	}
	const goesOn = 3 // new attempts since the alert was last brought up to date
	source := j.roles[Source].entities.find(k.source)
	switch open := j.incidents[incidentKey{k.source, Source, category}] != nil; {
	case !open && source != nil && j.end-source.scanned < scanSeconds*secondMicros:
		p.news, p.told = 0, true // it has just been told by what it tried
		return
	case open && p.news < goesOn:
		p.told = true
		return
	case !open && p.told && int(p.news) < limit: // what there was an alert about makes no other
		return
	}
	p.news, p.told = 0, true
	st := &j.roles[Source]
	e := st.entities.get(k.source, hashAddr(k.source), j.turn)
	if e == noEntity {
		return
	}
	in := j.overPair(Source, st, e, category, l, p.pair)
	if in == nil {
		return
	}
	if p.slow(uint32(j.end / secondMicros)) {
		in.finding.hold = probeHold
	}
	in.main = p.pair
	in.count = max(in.count, uint64(failed))
	if category == models.CategoryPortScan {
		in.peers.atLeast(k.host, hashAddr(k.host), uint64(failed))
		for _, t := range p.tried[:p.n] {
			in.ports.see(max(t.hash, 1))
		}
		return
	}
	in.peers.add(p.pair.peer, hashAddr(p.pair.peer), 1)
	if k.here {
		in.ports.add(portProto{p.pair.respPort, p.pair.proto}, hashPort(p.pair.respPort, p.pair.proto), 1)
		return
	}
	in.ports.atLeast(k.port, hashPort(k.port.port, k.port.proto), uint64(failed))
	for _, t := range p.tried[:p.n] {
		in.peers.see(max(t.hash, 1))
	}
}
