package detect

import "netlyra/internal/models"

// IncidentOf names the open incident that a connection belongs to, the one with the highest score, and that score; "" for none. It belongs to
// an incident of either end if it has the peer and the port that the incident is about. Where these are too many to be known one by
// one, all that could be among them are. completed: the responder has taken it up.
func (j *Judge) IncidentOf(orig, resp models.Addr, respPort uint16, proto models.Proto, completed bool) (id string, score float64) {
	if len(j.incidents) == 0 {
		return "", 0
	}
	port := portProto{respPort, proto}
	for r, ends := range [numRoles][2]models.Addr{Source: {orig, resp}, Destination: {resp, orig}} {
		e := j.roles[r].entities.indexOf(ends[0])
		if e == noEntity {
			continue
		}
		for _, in := range j.raised[r][e] {
			if in.finding.score > score && (!completed || !in.ofFailures()) && in.about(ends[1], port) {
				id, score = in.id, in.finding.score
			}
		}
	}
	return id, score
}

// ofFailures says whether the incident is a flood of what does not get through: ordinary clients go on coming to a host that is flooded.
func (in *incident) ofFailures() bool {
	return in.key.category == models.CategoryFlood && in.finding.lead.feature != leadOpened
}

// about says whether the incident is about what its entity does with a peer on a port.
func (in *incident) about(peer models.Addr, port portProto) bool {
	if p := in.finding.pair; p != (mainConn{}) {
		return p.peer == peer && (p.respPort == port.port && p.proto == port.proto || in.key.category == models.CategoryARPSpoofing)
	}
	return in.peers.mayHave(peer, hashAddr(peer)) && in.ports.mayHave(port, hashPort(port.port, port.proto))
}

// mayHave says whether k is a member, or may be one of those that are not known one by one.
func (t *tops[K]) mayHave(k K, hash uint32) bool {
	if t.sampled && max(hash, 1) > t.line {
		return true
	}
	_, ok := t.members[k]
	return ok
}
