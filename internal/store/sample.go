package store

import "netlyra/internal/models"

const (
	sampleBurst = 10_000  // unanswered connections that are stored one by one
	sampleRate  = 200     // further ones a second of capture time
	sampleIDs   = 1 << 16 // of these, how many that are still open are remembered
)

// sample chooses which connections are stored of those that nobody has answered: all of them, unless they are a flood. The others are
// counted: what there is to say about a flood says its incident.
type sample struct {
	tokens   float64
	ts       models.Micros
	admitted map[int64]struct{} // open connections that are stored, and so will be their next states
}

func newSample() sample { return sample{tokens: sampleBurst, admitted: map[int64]struct{}{}} }

// leavesOut says whether a connection is not to be stored. crowded: the queue is half full, and the rest is for those that were answered.
func (s *sample) leavesOut(c *models.Connection, crowded bool) bool {
	_, known := s.admitted[c.ID]
	over := c.End != models.ConnOpen
	if over && known {
		delete(s.admitted, c.ID)
	}
	if c.PacketsDown > 0 || known {
		return false
	}
	s.refill(c.LastTS)
	if s.tokens < 1 || crowded {
		return true
	}
	s.tokens--
	if !over {
		if len(s.admitted) >= sampleIDs {
			for id := range s.admitted {
				delete(s.admitted, id)
				break
			}
		}
		s.admitted[c.ID] = struct{}{}
	}
	return false
}

// refill grants tokens for the capture time that has passed, for a second at most: a time that jumps is worth no more.
func (s *sample) refill(now models.Micros) {
	if now > s.ts {
		s.tokens = min(sampleBurst, s.tokens+min(float64(now-s.ts)/1e6, 1)*sampleRate)
	}
	if now > s.ts || now < s.ts-10_000_000 {
		s.ts = now
	}
}
