package store

import "netlyra/internal/models"

const (
	sampleBurst = 10_000 // unanswered rows that are stored one by one
	sampleRate  = 200    // further ones a second of capture time
	forgetLooks = 16
	sampleKnown = 1 << 16 // rows that were let in and may come again are remembered, at most
)

// sample chooses which rows of a kind are stored of those that nobody has answered: connections, or hosts. All of them are, unless they
// are a flood. The others are counted: what there is to say about a flood says its incident.
type sample[K comparable] struct {
	tokens float64
	ts     models.Micros
	known  map[K]bool // rows that are stored, and so will be their next states; true: somebody has answered
}

func newSample[K comparable]() sample[K] {
	return sample[K]{tokens: sampleBurst, known: map[K]bool{}}
}

// leavesOut says whether an unanswered row that is not known is not to be stored. now is its capture time. crowded: the queue is half full,
// and the rest is for rows that were answered.
func (s *sample[K]) leavesOut(now models.Micros, crowded bool) bool {
	s.refill(now)
	if s.tokens < 1 || crowded {
		return true
	}
	s.tokens--
	return false
}

// remember keeps in mind that the row with this key is stored. Where there is no room, one that nobody has answered is forgotten, of some that are looked
// at; else any.
func (s *sample[K]) remember(key K, answered bool) {
	if _, known := s.known[key]; !known && len(s.known) >= sampleKnown {
		looks := 0
		for other, answered := range s.known {
			if looks++; !answered || looks == forgetLooks {
				delete(s.known, other)
				break
			}
		}
	}
	s.known[key] = answered
}

// refill grants tokens for the capture time that has passed, for a second at most: a time that jumps is worth no more.
func (s *sample[K]) refill(now models.Micros) {
	if now > s.ts {
		s.tokens = min(sampleBurst, s.tokens+min(float64(now-s.ts)/1e6, 1)*sampleRate)
	}
	if now > s.ts || now < s.ts-10_000_000 {
		s.ts = now
	}
}

// leavesOutConnection says whether a connection is not to be stored.
func (q *queue) leavesOutConnection(c *models.Connection) bool {
	s := &q.sampleConnections
	_, known := s.known[c.ID]
	over := c.End != models.ConnOpen
	if over && known {
		delete(s.known, c.ID)
	}
	if c.PacketsDown > 0 || known {
		return false
	}
	if s.leavesOut(c.LastTS, len(q.connections) >= maxConnections/2) {
		return true
	}
	if !over {
		s.remember(c.ID, false)
	}
	return false
}

// leavesOutHost says whether what a host has done is not to be stored. Who was answered once is known, for as long as there is room for all such.
func (q *queue) leavesOutHost(h *models.Host) bool {
	s := &q.sampleHosts
	answered := h.PacketsRecv > 0
	if was, known := s.known[h.IP]; known {
		if answered && !was {
			s.known[h.IP] = true
		}
		return false
	}
	if !answered && s.leavesOut(h.LastTS, len(q.hosts) >= maxHosts/2) {
		return true
	}
	s.remember(h.IP, answered)
	return false
}
