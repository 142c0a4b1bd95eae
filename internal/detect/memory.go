package detect

import "netlyra/internal/models"

// memory is what a judge knows beside its models: what it takes with it over a restart (state.go). The windows of entities, some 20 s, are
// not of it.
type memory struct {
	packets       uint64 // seen so far
	elapsed       int64  // capture time judged, microseconds; a gap counts for maxStep at most
	end           int64  // the open slot's end: what "now" is
	outside       int64  // when a connection to the outside last got through
	learnedAlerts uint64 // opened by what has been learned
	limitAlerts   uint64 // opened by limits
	devices       newcomers
	offers        newcomers     // ports on which something is first offered
	lessors       []models.Addr // DHCP servers

	links    table[models.MAC, link]
	hosts    table[hostKey, host]
	habits   table[habitKey, habit]
	pairs    table[pairKey, pair]
	peers    table[models.Addr, renown]
	ports    table[portProto, renown]
	services table[serviceKey, uint32] // most visits of one client in the time of learning
	domains  table[domainKey, domain]
	probes   table[probeKey, probes]
}

func newMemory() memory {
	return memory{
		links: newTable[models.MAC, link](maxLinks), hosts: newTable[hostKey, host](maxHosts), habits: newTable[habitKey, habit](maxHabits),
		pairs: newTable[pairKey, pair](maxPairs), peers: newTable[models.Addr, renown](maxPeers), ports: newTable[portProto, renown](maxPorts),
		services: newTable[serviceKey, uint32](maxServices), domains: newTable[domainKey, domain](maxDomains),
		probes: newTable[probeKey, probes](maxProbes),
	}
}

const (
	seamless = secondMicros        // a shorter pause is none
	unwatch  = 3600 * secondMicros // an incident may go on behind a pause of so long
	backstep = 10 * secondMicros   // what is remembered may be so far ahead of the packets
)

// Gap tells that slots are missing before the next one. Where they are more than a second's, nobody was watching: what happened meanwhile is
// neither silence nor evidence.
func (j *Judge) Gap() { j.resumes = true }

// Restarted tells that the sensor has started anew: nobody was watching between the last slot and the next, and the capture's counts begin at 0.
func (j *Judge) Restarted() {
	j.Gap()
	for _, in := range j.incidents {
		in.received, in.lost = in.received-j.received, in.lost-j.lost // below zero, and round: only differences count
	}
	for _, s := range j.surplus {
		s.received, s.lost = s.received-j.received, s.lost-j.lost
	}
	j.received, j.lost, j.loss, j.losses = 0, 0, [2]uint64{}, lossLog{}
}

// resume is called with the first time after a state has been loaded, or after a gap. What happened in between is not known.
func (j *Judge) resume(t int64) {
	j.resumes = false
	off := t - j.end
	switch {
	case off < -backstep:
		j.setBack(t)
		return
	case off <= seamless:
		return
	}
	for r := range j.roles {
		j.roles[r].active = j.roles[r].active[:0] // the second that was being collected has not been seen whole
	}
	for i := range j.pairs.cells {
		j.pairs.cells[i].value.start = 0 // the next call ends no interval
	}
	if off <= unwatch {
		for _, in := range j.incidents {
			in.unwatched += off
		}
	}
}
