package traffic

import (
	"iter"
	"math"
	"math/rand/v2"

	"netlyra/internal/models"
)

// Capture time, in microseconds.
const (
	ms     = int64(1000)
	sec    = 1000 * ms
	minute = 60 * sec
	hour   = 60 * minute
	day    = 24 * hour
)

// proc is a running script: a coroutine with a time, random numbers of its own, and an activity in whose name it sends.
type proc struct {
	s     *Stream
	at    int64
	act   *activity
	rng   *rand.Rand
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// stopped unwinds a script when the stream ends: it is recovered where the script was started.
type stopped struct{}

// event is a proc that waits for its time. serial breaks ties: first come, first served.
type event struct {
	at     int64
	serial uint64
	p      *proc
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.serial < o.serial }

// spawn starts a script at a time, its random numbers drawn from those of whoever starts it.
func (s *Stream) spawn(at int64, a *activity, parent *rand.Rand, run func(*proc)) {
	p := &proc{s: s, at: max(at, s.now), act: a, rng: rand.New(rand.NewPCG(parent.Uint64(), parent.Uint64()))}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(stopped); !ok {
					panic(r)
				}
			}
		}()
		p.yield = yield
		run(p)
	})
	s.push(p)
}

// spawn starts a script beside this one, now.
func (p *proc) spawn(run func(*proc)) { p.s.spawn(p.at, p.act, p.rng, run) }

// sleep lets d microseconds of capture time pass.
func (p *proc) sleep(d int64) {
	p.at += max(d, 0)
	s := p.s
	if p.at <= s.end && s.room() && (len(s.heap) == 0 || p.at < s.heap[0].at) { // nobody else is due before: go on without a switch
		s.now = p.at
		return
	}
	if !p.yield(struct{}{}) {
		panic(stopped{})
	}
}

// until sleeps to a time; one that has passed is now.
func (p *proc) until(at int64) { p.sleep(at - p.at) }

// send stamps a frame that was built in the arena.
func (p *proc) send(frame []byte) {
	s := p.s
	s.batch.Frames = append(s.batch.Frames, models.Frame{TS: p.at, Data: frame, WireLen: uint32(len(frame)), Link: models.LinkEthernet})
	s.owners = append(s.owners, p.act.index)
	p.act.sent(p.at)
}

// stop ends every script.
func (s *Stream) stop() {
	for _, e := range s.heap {
		e.p.stop()
	}
	s.heap = nil
}

// push and pop keep the heap: of four children a node, which is shallower than a binary one and about a fifth faster here.
func (s *Stream) push(p *proc) {
	s.serial++
	s.heap = append(s.heap, event{p.at, s.serial, p})
	h, i := s.heap, len(s.heap)-1
	for i > 0 {
		parent := (i - 1) / 4
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (s *Stream) pop() event {
	h := s.heap
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	s.heap = h
	for i := 0; ; {
		least := i
		for c := 4*i + 1; c <= min(4*i+4, last-1); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if least == i {
			return top
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// Random numbers.

// between is uniform in [lo, hi].
func (p *proc) between(lo, hi int64) int64 { return lo + p.rng.Int64N(hi-lo+1) }

// about is uniform within a share of mean.
func (p *proc) about(mean int64, share float64) int64 {
	return mean + int64(float64(mean)*share*(2*p.rng.Float64()-1))
}

// expo is the time to the next event of a Poisson process.
func (p *proc) expo(mean int64) int64 { return int64(p.rng.ExpFloat64() * float64(mean)) }

// lognormal has a median and a spread: two thirds are within a factor of e^sigma.
func (p *proc) lognormal(median, sigma float64) float64 {
	return median * math.Exp(sigma*p.rng.NormFloat64())
}

// size is a heavy-tailed number of bytes, within bounds.
func (p *proc) size(median, sigma float64, least, most int) int {
	return max(least, int(min(p.lognormal(median, sigma), float64(most))))
}

// chance is true with a probability.
func (p *proc) chance(x float64) bool { return p.rng.Float64() < x }

func pick[T any](p *proc, from []T) T { return from[p.rng.IntN(len(from))] }
