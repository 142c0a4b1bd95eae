package capture

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"netlyra/internal/models"
)

const (
	pollMillis    = 8                      // a Read on an idle link returns after this
	statsInterval = 100 * time.Millisecond // between looks at the kernel's counters
	linkInterval  = 250 * time.Millisecond // between looks at the links
	goneInterval  = 20 * time.Millisecond  // the same while an interface is missing: what it carries is lost until then
)

// Ring is one worker's share of the packets of one or several interfaces. It holds a memory-mapped ring for each; a Read
// brings one block of one of them, in turn, without copying.
//
// An interface that goes down or vanishes is not an error: the ring waits until it is back, and takes up one that was
// made anew under its name. Links tells.
type Ring struct {
	sockets []*socket
	next    int     // the socket that is asked first
	held    *socket // its block is with the caller
	pfds    []unix.PollFd
	filter  filterFunc

	lastStats, lastLinks time.Time
	ending               time.Time // when Close was noticed

	frames, bytes atomic.Uint64

	mu     sync.Mutex // guards wake against use after it was closed
	wake   int        // eventfd that ends a poll; -1 once the ring has ended
	closed atomic.Bool
}

// OpenLive opens o.Workers rings over the interfaces. Each ring must be read until io.EOF by one goroutine. A connection's
// packets, both directions and fragments included, come to one ring: the kernel hashes addresses and ports
// (PACKET_FANOUT_HASH). Not together with their connection are ICMP errors, and a tunnel's two directions may part. The
// kernel is not asked to defragment before it hashes: it would then deliver whole datagrams in place of what was on the wire.
//
// The error wraps ErrPrivilege, with the remedy, where the process may not open packet sockets.
func OpenLive(o LiveOptions) ([]*Ring, error) {
	if len(o.Interfaces) == 0 {
		return nil, errors.New("capture: no interface to watch is named")
	}
	workers := max(o.Workers, 1)
	groups := make([]*fanout, len(o.Interfaces))
	if workers > 1 {
		for i := range groups {
			groups[i] = &fanout{}
		}
	}
	var rings []*Ring
	for range workers {
		r, err := openRing(o, groups)
		if err != nil {
			for _, r := range rings {
				r.teardown()
			}
			return nil, err
		}
		rings = append(rings, r)
	}
	return rings, nil
}

// CheckLive says whether OpenLive would succeed, by opening the smallest of rings and closing them: what is wrong with interfaces,
// filter or privilege is known before anything else is set up, while the real rings are opened last, as they fill from then on.
func CheckLive(o LiveOptions) error {
	o.Workers, o.RingBytes = 1, 2*blockBytes
	rings, err := OpenLive(o)
	for _, r := range rings {
		r.teardown()
	}
	return err
}

func openRing(o LiveOptions, groups []*fanout) (*Ring, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("capture: eventfd: %w", err)
	}
	size := o.RingBytes
	if size == 0 {
		size = defaultRingBytes
	}
	r := &Ring{wake: wake, filter: o.Filter, pfds: make([]unix.PollFd, len(o.Interfaces)+1)}
	for i, name := range o.Interfaces {
		s := &socket{name: name, index: uint16(i), group: groups[i], blocks: max(size/blockBytes, 2), fd: -1}
		r.sockets = append(r.sockets, s)
		if err := s.open(r.filter); err != nil {
			r.teardown()
			return nil, err
		}
	}
	return r, nil
}

// Read brings the frames of the next block. If there is none within 8 ms, it returns without a frame and with a
// watermark that follows the clock at a distance. After Close it brings what had come until then, and then io.EOF.
func (r *Ring) Read(b *models.Batch) error {
	b.Frames = b.Frames[:0]
	if r.held != nil {
		r.held.release()
		r.held = nil
	}
	for waited := false; ; waited = true {
		now := time.Now()
		r.keepHouse(now)
		if s := r.ready(now); s != nil {
			r.deliver(s, b)
			break
		}
		if r.drained(now) {
			r.readStats()
			r.teardown()
			return io.EOF
		}
		if waited {
			break
		}
		if err := r.poll(); err != nil {
			return err
		}
	}
	b.Watermark = r.watermark()
	return nil
}

// ready finds a socket with a full block, in turn, and moves on the time of those that have none.
func (r *Ring) ready(now time.Time) *socket {
	var found *socket
	idle := now.Add(-idleMargin).UnixMicro()
	for i := range r.sockets {
		s := r.sockets[(r.next+i)%len(r.sockets)]
		switch {
		case !s.ready():
			s.advance(idle)
		case found == nil:
			found = s
		}
	}
	return found
}

func (r *Ring) deliver(s *socket, b *models.Batch) {
	var wire uint64
	b.Frames, wire = s.appendBlock(b.Frames)
	r.held = s
	r.next = int(s.index+1) % len(r.sockets)
	r.frames.Add(uint64(len(b.Frames)))
	r.bytes.Add(wire)
}

// watermark is the time up to which every interface has been delivered.
func (r *Ring) watermark() int64 {
	mark := r.sockets[0].high
	for _, s := range r.sockets[1:] {
		mark = min(mark, s.high)
	}
	return mark
}

// poll waits for a block, for Close, or for pollMillis.
func (r *Ring) poll() error {
	r.pfds[0] = unix.PollFd{Fd: int32(r.wake), Events: unix.POLLIN}
	if r.closed.Load() {
		r.pfds[0].Fd = -1 // it would end every poll
	}
	for i, s := range r.sockets {
		r.pfds[i+1] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	}
	if _, err := unix.Poll(r.pfds, pollMillis); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("capture: poll: %w", err)
	}
	for i, s := range r.sockets {
		if r.pfds[i+1].Revents&unix.POLLERR != 0 {
			s.takeError()
			r.lastLinks = time.Time{} // look at once
		}
	}
	return nil
}

// keepHouse does what is due beside reading.
func (r *Ring) keepHouse(now time.Time) {
	if now.Sub(r.lastStats) >= statsInterval {
		r.lastStats = now
		r.readStats()
	}
	switch {
	case !r.ending.IsZero():
	case r.closed.Load():
		r.ending = now
		for _, s := range r.sockets {
			s.mute()
		}
	case now.Sub(r.lastLinks) >= r.linkInterval():
		r.lastLinks = now
		for _, s := range r.sockets {
			s.follow(r.filter)
		}
	}
}

func (r *Ring) linkInterval() time.Duration {
	for _, s := range r.sockets {
		if s.link.Load() == linkGone {
			return goneInterval
		}
	}
	return linkInterval
}

// drained tells whether the last blocks have been delivered: since the sockets were muted, the kernel's timer must have
// handed over the one that was open.
func (r *Ring) drained(now time.Time) bool {
	return !r.ending.IsZero() && now.Sub(r.ending) >= idleMargin
}

func (r *Ring) readStats() {
	for _, s := range r.sockets {
		s.readStats()
	}
}

// teardown gives everything back to the kernel.
func (r *Ring) teardown() {
	for _, s := range r.sockets {
		s.close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed.Store(true)
	if r.wake >= 0 {
		_ = unix.Close(r.wake)
		r.wake = -1
	}
}

// Close ends the capture: no further packet is taken, Read brings those that had come and then io.EOF, and that Read
// frees the ring's memory, since only its caller knows that no frame is in use any more. It may be called from any
// goroutine and more than once.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Swap(true) || r.wake < 0 {
		return nil
	}
	if _, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("capture: wake the reader: %w", err)
	}
	return nil
}

// Stats sums the kernel's counters, at most 100 ms old, and what Read has delivered. They are exact once Read has
// returned io.EOF.
func (r *Ring) Stats() Stats {
	out := Stats{Frames: r.frames.Load(), Bytes: r.bytes.Load()}
	for _, s := range r.sockets {
		out.Received += s.received.Load()
		out.Dropped += s.dropped.Load()
		out.Freezes += s.freezes.Load()
	}
	return out
}

// Links gives the state of the interfaces, "up", "down" (no carrier, too) or "gone", and the kernel's counters of each in this ring.
func (r *Ring) Links() []models.Interface {
	var all []models.Interface
	for _, s := range r.sockets {
		all = append(all, models.Interface{Name: s.name, Link: s.linkState(), Received: s.received.Load(), Dropped: s.dropped.Load()})
	}
	return all
}
