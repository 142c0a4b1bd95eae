package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
)

// recordOverhead is what a record takes in memory beside its key and value, its headers, its place in a batch and what is kept for its fate included: 240 bytes,
// measured, and what larger headers add.
const recordOverhead = 320

// stream gives the records of one topic to the broker, in order. It has a client of its own: a topic that stands still holds up no other.
type stream struct {
	bus     *Bus
	spec    spec
	headers []kgo.RecordHeader
	room    room
	pending atomic.Int64 // records that wait for their fate

	mu       sync.RWMutex // held for writing while the client is made or replaced
	client   *kgo.Client  // nil until there is something to produce
	ended    bool
	renewing atomic.Bool  // the client's records go to the next one
	renewed  atomic.Int64 // when that was last, in nanoseconds since 1970

	againMu sync.Mutex
	again   []*parcel
}

// parcel is a record with what is to be done once its fate is known.
type parcel struct {
	record kgo.Record
	stream *stream
	size   int
	count  int
	done   func(error) // nil: nobody waits
}

// settle is called when the fate of the record is known.
func (p *parcel) settle(_ *kgo.Record, err error) { p.stream.settle(p, err) }

func newStream(b *Bus, s spec) *stream {
	bound := b.options.TopicBytes[s.topic]
	if bound == 0 {
		bound = b.options.BufferBytes
	}
	return &stream{bus: b, spec: s, headers: s.headers(), room: room{bound: bound}}
}

// options are those of the stream's client: nothing is ever given up, so that the order holds and nothing comes twice while the process lives.
func (s *stream) options() []kgo.Opt {
	return append(slices.Clip(s.bus.common),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(s.spec.compression), kgo.ProducerBatchMaxBytes(s.spec.maxBytes),
		kgo.ProducerLinger(s.spec.linger), kgo.MaxBufferedRecords(1<<30), kgo.UnknownTopicRetries(-1), kgo.ProduceRequestTimeout(requestTimeout),
	)
}

// parcels makes the records of a value.
func (s *stream) parcels(r *bus.Record) (ps []*parcel, size int, err error) {
	pieces, err := pieces(r)
	if err != nil {
		return nil, 0, err
	}
	key := []byte(r.Key)
	ps = make([]*parcel, len(pieces))
	for i, p := range pieces {
		headers := s.headers
		if p.headers != nil {
			headers = append(slices.Clip(headers), p.headers...)
		}
		n := len(key) + len(p.data) + recordOverhead
		ps[i] = &parcel{record: kgo.Record{Topic: string(s.spec.topic), Key: key, Value: p.data, Headers: headers}, stream: s, size: n, count: p.count}
		size += n
	}
	return ps, size, nil
}

// errRenewing: the client is being replaced.
var errRenewing = errors.New("kafka: the topic is being opened anew")

// send hands records for which there is room to the client; if it fails, the room is given back. It waits while the client is being replaced, if it may.
func (s *stream) send(ps []*parcel, wait bool) (err error) {
	defer func() {
		if err != nil {
			for i := range ps {
				s.room.give(ps[i].size, false)
			}
		}
	}()
	if err := s.lock(wait); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	s.pending.Add(int64(len(ps)))
	for i := range ps {
		s.produce(ps[i])
	}
	return nil
}

// lock locks the stream for reading once it has a client.
func (s *stream) lock(wait bool) error {
	for {
		if wait {
			s.mu.RLock()
		} else if !s.mu.TryRLock() {
			return errRenewing
		}
		switch {
		case s.ended:
			s.mu.RUnlock()
			return bus.ErrClosed
		case s.client != nil:
			return nil
		}
		s.mu.RUnlock()
		if err := s.open(); err != nil {
			return err
		}
	}
}

func (s *stream) produce(p *parcel) { s.client.Produce(context.Background(), &p.record, p.settle) }

// settle gives a record's room back, or keeps it for the next client.
func (s *stream) settle(p *parcel, err error) {
	if err != nil && (s.renewing.Load() || !final(err)) {
		s.againMu.Lock()
		s.again = append(s.again, p)
		first := len(s.again) == 1 // all that follow fare the same
		s.againMu.Unlock()
		if first && !s.renewing.Load() {
			s.failed(err)
		}
		return
	}
	s.pending.Add(-1)
	s.room.give(p.size, err == nil)
	if err != nil {
		s.bus.losses.Add(s.spec.topic, DropUndelivered, uint64(p.count))
		if !errors.Is(err, kgo.ErrClientClosed) {
			s.bus.refused(s.spec.topic, err)
		}
	}
	if p.done != nil {
		p.done(err)
	}
}

// failed has the client replaced: at once, unless that was done a moment ago.
func (s *stream) failed(err error) {
	if !errors.Is(err, kerr.UnknownTopicID) {
		s.bus.untaken(s.spec.topic, err)
	}
	if time.Since(time.Unix(0, s.renewed.Load())) > checkAgain {
		s.bus.wake()
	}
}

// final says whether an error is the last word on a record: the broker does not take it, or there is no time left. Every other is a matter of the client, which does
// not get over it: its topic was made anew, or the broker, while it started, gave it no number as a producer.
func final(err error) bool {
	for _, last := range []error{
		kgo.ErrClientClosed, kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.PolicyViolation,
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.InvalidTopicException,
	} {
		if errors.Is(err, last) {
			return true
		}
	}
	return false
}

func (s *stream) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil || s.ended {
		return nil
	}
	var err error
	s.client, err = kgo.NewClient(s.options()...)
	return err
}

const closeWait = 5 * time.Second // for the fate of records whose client has been closed: it needs no broker

// close closes the client, and waits until all records that it had are settled or kept.
func (s *stream) close() {
	s.client.Close()
	for deadline := time.Now().Add(closeWait); s.pending.Load() > int64(s.waiting()) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// renew goes on with a new client, where the topic is a new one under the same name, or the client has failed: what waits goes to the new one, in order. A
// client stays with the topic that it has seen first: with kerr.UnknownTopicID it refuses everything for another one. A record whose fate the old client did
// not know may come twice, with the same id and rev.
func (s *stream) renew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil || s.ended {
		return nil
	}
	s.renewing.Store(true)
	s.renewed.Store(time.Now().UnixNano())
	s.close()
	s.renewing.Store(false)
	client, err := kgo.NewClient(s.options()...)
	if err != nil {
		return err
	}
	s.client = client
	s.againMu.Lock()
	again := s.again
	s.again = nil
	s.againMu.Unlock()
	for _, p := range again {
		s.produce(p)
	}
	return nil
}

func (s *stream) waiting() int {
	s.againMu.Lock()
	defer s.againMu.Unlock()
	return len(s.again)
}

// end gives what waits to the broker until ctx ends; the rest is counted.
func (s *stream) end(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.client == nil {
		return
	}
	_ = s.client.Flush(ctx) // what is left is counted when the client closes
	s.close()
	s.againMu.Lock()
	again := s.again
	s.again = nil
	s.againMu.Unlock()
	for _, p := range again {
		s.settle(p, kgo.ErrClientClosed)
	}
}

// producer is one of the bus's.
type producer struct {
	bus  *Bus
	ctx  context.Context // ends with Close, or with the bus
	stop context.CancelFunc
}

// Produce implements bus.Producer.
func (p *producer) Produce(ctx context.Context, r bus.Record) error { return p.deliver(ctx, &r, nil) }

// deliver produces r, and tells its fate to done unless that is nil: once, if it returns nil.
func (p *producer) deliver(ctx context.Context, r *bus.Record, done func(error)) error {
	if err := r.Check(); err != nil {
		return err
	}
	s := p.bus.streams[r.Topic]
	if err := ctx.Err(); err != nil {
		return err
	}
	ps, size, err := s.parcels(r)
	if err != nil {
		return err
	}
	if err := p.take(ctx, s, size); err != nil {
		return err
	}
	if done != nil {
		rest := receipt{left: len(ps), done: done}
		for i := range ps {
			ps[i].done = rest.settle
		}
		if len(ps) == 0 {
			done(nil)
		}
	}
	return s.send(ps, true)
}

// take waits for room, the end of ctx or that of the producer.
func (p *producer) take(ctx context.Context, s *stream, size int) error {
	if p.ctx.Err() != nil {
		return bus.ErrClosed
	}
	if s.room.take(size) {
		return nil
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	if err := s.room.wait(wait, size); err != nil {
		if p.ctx.Err() != nil {
			return bus.ErrClosed
		}
		return err
	}
	return nil
}

// TryProduce implements bus.Producer.
func (p *producer) TryProduce(r bus.Record) bool {
	if err := r.Check(); err != nil {
		panic(err)
	}
	s := p.bus.streams[r.Topic]
	lost := func(reason string) bool {
		p.bus.losses.Add(r.Topic, reason, uint64(r.Value.Count()))
		return false
	}
	if p.ctx.Err() != nil {
		return lost(bus.DropClosed)
	}
	ps, size, err := s.parcels(&r)
	if err != nil {
		return lost(DropUndelivered)
	}
	if !s.room.take(size) {
		return lost(bus.DropFull)
	}
	switch err := s.send(ps, false); {
	case err == nil:
		return true
	case errors.Is(err, errRenewing):
		return lost(bus.DropFull)
	default:
		return lost(bus.DropClosed)
	}
}

// Close implements bus.Producer.
func (p *producer) Close() error {
	p.stop()
	return nil
}

// receipt waits for the fate of the pieces of a record.
type receipt struct {
	mu   sync.Mutex
	left int
	err  error // of the first that was refused
	done func(error)
}

func (r *receipt) settle(err error) {
	r.mu.Lock()
	r.err = cmp.Or(r.err, err)
	r.left--
	last := r.left == 0
	r.mu.Unlock()
	if last {
		r.done(r.err)
	}
}

// Deliver puts records into their topics, in their order, and waits until the broker has each on all of its replicas, or has refused it for good:
// what an outbox, or a checkpoint, waits for. It goes on trying while the broker is away. The errors are those of the records: nil for one
// that has been acknowledged; bus.ErrRecord for one that no broker will ever take as it is; that of the broker for one that it has refused; that of ctx or bus.ErrClosed
// for one whose fate is not known: it may have been taken, or be taken yet.
func (b *Bus) Deliver(ctx context.Context, records []bus.Record) []error {
	p := &producer{bus: b, ctx: b.ctx}
	var mu sync.Mutex
	known := make([]bool, len(records))
	errs := make([]error, len(records))
	left := len(records)
	all := make(chan struct{})
	settle := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, kgo.ErrClientClosed):
			err = bus.ErrClosed
		case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.InvalidRecord):
			err = fmt.Errorf("%w: %w", bus.ErrRecord, err)
		}
		known[i], errs[i] = true, err
		if left--; left == 0 {
			close(all)
		}
	}
	if len(records) == 0 {
		return nil
	}
	for i := range records {
		if err := p.deliver(ctx, &records[i], func(err error) { settle(i, err) }); err != nil {
			settle(i, err)
		}
	}
	select {
	case <-all:
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	out := slices.Clone(errs)
	for i := range out {
		if !known[i] {
			out[i] = ctx.Err()
		}
	}
	return out
}
