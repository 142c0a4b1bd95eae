// Package traffic makes labelled network traffic: an office at work, attacks and benign look-alikes, as real frames with a
// capture time, the same for the same seed. It is what the detector is measured with; it knows nothing of the detector.
//
// Every behaviour is a script (see proc): straight-line code that sends and sleeps in capture time. Scripts run as coroutines
// and are resumed in the order of their times by one heap, so that the stream is in order, needs no memory for its length and
// comes out the same whoever reads it. Frames are as a switch's mirror port would show them: padded to 60 bytes, with
// lengths, checksums, sequence numbers and application payloads that a packet analyser accepts.
//
// Times are capture time in microseconds since the Unix epoch, sizes bytes. Domain names end in ".example" and ".test"
// (RFC 2606); addresses outside are arbitrary, since nothing is sent.
package traffic

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"netlyra/internal/models"
)

// DefaultStart is when a stream begins unless told: Monday, 2 March 2026, 09:00 UTC. The office lives in UTC.
const DefaultStart = 1_772_442_000_000_000

// Options describe a stream.
type Options struct {
	Seed       uint64        // of everything
	Start      int64         // capture time of the beginning; 0 means DefaultStart
	Duration   time.Duration // must be positive
	Hosts      int           // of the office; 0 means 25
	Changing   bool          // hosts join, move and leave and new services appear as the days pass
	PeerToPeer bool          // one host runs a file-sharing client
	NoOffice   bool          // nobody is at work: only Plays send
	Plays      []Play
}

// Play puts one family on the stage.
type Play struct {
	Family string        // the name of one of Families
	At     time.Duration // from the stream's start
	Seed   uint64        // of its parameters: culprit, victim, rate, duration
}

const (
	defaultHosts = 25
	minHosts     = 12
	maxHosts     = 120 // leaves addresses for those who come
	batchFrames  = 256
	arenaBytes   = batchFrames*1514 + arenaSpare
	arenaSpare   = 64 << 10
)

// Stream is the traffic. It is for one reader; Close may be called from another goroutine.
type Stream struct {
	options Options
	end     int64
	now     int64
	heap    []event
	serial  uint64
	batch   *models.Batch
	owners  []uint16
	arena   []byte
	acts    []*activity
	bodies  bodies
	scratch []byte // for one message; what a script writes there is its own until it sleeps
	world   *world
	closed  atomic.Bool
}

// New makes the office and schedules everything; nothing runs before the first Read.
func New(o Options) (*Stream, error) {
	if o.Start == 0 {
		o.Start = DefaultStart
	}
	if o.Hosts == 0 {
		o.Hosts = defaultHosts
	}
	if o.Duration <= 0 {
		return nil, fmt.Errorf("traffic: a duration of %v: must be positive", o.Duration)
	}
	if o.Hosts < minHosts || o.Hosts > maxHosts {
		return nil, fmt.Errorf("traffic: %d hosts: must be %d to %d", o.Hosts, minHosts, maxHosts)
	}
	s := &Stream{
		options: o, now: o.Start, end: o.Start + o.Duration.Microseconds(),
		arena: make([]byte, 0, arenaBytes), scratch: make([]byte, 0, 4096),
	}
	rng := rand.New(rand.NewPCG(o.Seed, 1))
	s.bodies = newBodies(rng)
	s.world = newWorld(rng, &o)
	office := s.activity(Family{Name: "office"})
	if !o.NoOffice {
		s.world.open(s, office, rng)
	}
	for i, p := range o.Plays {
		f, ok := family(p.Family)
		if !ok {
			return nil, fmt.Errorf("traffic: family %q: `netlyra bench office --help` lists them", p.Family)
		}
		a := s.activity(f)
		seeds := rand.New(rand.NewPCG(p.Seed, o.Seed+uint64(i)<<32))
		s.spawn(o.Start+p.At.Microseconds(), a, seeds, func(p *proc) { f.run(&play{proc: p, w: s.world}) })
	}
	return s, nil
}

// Read brings the next frames, and at the end io.EOF. Their bytes are valid until the next Read.
func (s *Stream) Read(b *models.Batch) error {
	b.Frames, s.owners, s.arena, s.batch = b.Frames[:0], s.owners[:0], s.arena[:0], b
	for s.room() {
		if len(s.heap) == 0 || s.heap[0].at > s.end || s.closed.Load() {
			s.stop()
			b.Watermark = s.end
			return io.EOF
		}
		e := s.pop()
		s.now = e.at
		if _, more := e.p.next(); more {
			s.push(e.p)
		}
	}
	b.Watermark = s.now
	return nil
}

// Owners tells for each frame of the last Read whose it is: the index of its play, from 1, or 0 for the office.
func (s *Stream) Owners() []uint16 { return s.owners }

// Close makes the next Read the last.
func (s *Stream) Close() error {
	s.closed.Store(true)
	return nil
}

// room says whether the batch takes more frames.
func (s *Stream) room() bool {
	return len(s.batch.Frames) < batchFrames && cap(s.arena)-len(s.arena) > arenaSpare
}

// alloc takes n bytes of the arena for one frame. What a script sends without sleeping may exceed the arena: then there is a new one.
func (s *Stream) alloc(n int) []byte {
	if cap(s.arena)-len(s.arena) < n {
		s.arena = make([]byte, 0, arenaBytes)
	}
	at := len(s.arena)
	s.arena = s.arena[:at+n]
	return s.arena[at : at+n : at+n]
}
