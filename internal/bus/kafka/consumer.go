package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
)

const (
	pollRecords     = 2000                   // that one Poll returns at most, so that a consumer can commit between
	rebalanceWithin = 30 * time.Second       // a member that does not poll for so long loses its partitions
	fetchWait       = 500 * time.Millisecond // of a fetch for the first record: an end waits for it
	errorPause      = 250 * time.Millisecond // before the next try
	leaveWithin     = 2 * time.Second        // a broker that does not answer finds out by the session's time-out
)

// consumer is a member of a group, or reads what is new.
type consumer struct {
	bus     *Bus
	options []kgo.Opt
	tail    bool            // there is no group
	alone   string          // the group, that is to have no other member; "": none, or one that may
	ctx     context.Context // ends with Close, or with the bus
	stop    context.CancelFunc

	mu     sync.Mutex // held while the client is replaced or ended
	client *kgo.Client
	ended  bool
}

// Consumer joins a group, as soon as there is a broker. Partitions go to other members only between two calls of Poll.
func (b *Bus) Consumer(group string, topics ...bus.Topic) (bus.Consumer, error) {
	c := &consumer{bus: b, alone: group}
	if err := c.join(topics, grouped(group, b.options.Session)); err != nil {
		return nil, err
	}
	return c, nil
}

// Tail implements bus.Bus.
func (b *Bus) Tail(topics ...bus.Topic) (bus.Consumer, error) {
	c := &consumer{bus: b, tail: true}
	if err := c.join(topics, []kgo.Opt{kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd())}); err != nil {
		return nil, err
	}
	return c, nil
}

// grouped are the options of a member of a group.
func grouped(group string, session time.Duration) []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(session), kgo.HeartbeatInterval(session / 3), kgo.RebalanceTimeout(rebalanceWithin),
	}
}

// join opens the client, and makes the bus know it.
func (c *consumer) join(topics []bus.Topic, more []kgo.Opt) error {
	b := c.bus
	names := make([]string, len(topics))
	for i, t := range topics {
		if !slices.Contains(bus.Topics(), t) {
			return fmt.Errorf("kafka: no topic %q: there are %v", t, bus.Topics())
		}
		names[i] = string(t)
	}
	c.options = slices.Concat(b.common, []kgo.Opt{kgo.ConsumeTopics(names...), kgo.FetchMaxWait(fetchWait)}, more)
	c.ctx, c.stop = context.WithCancel(b.ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return bus.ErrClosed
	}
	var err error
	if c.client, err = kgo.NewClient(c.options...); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	b.consumers[c] = struct{}{}
	return nil
}

// Poll implements bus.Consumer.
func (c *consumer) Poll(ctx context.Context) ([]bus.Record, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	for {
		if c.ctx.Err() != nil {
			return nil, bus.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.client.AllowRebalance()
		fetches := c.client.PollRecords(wait, pollRecords)
		var records []bus.Record
		fetches.EachRecord(func(r *kgo.Record) { records = c.bus.read(r, records) })
		if len(records) > 0 {
			return records, nil
		}
		if err := c.recover(wait, fetches); err != nil {
			return nil, err
		}
	}
}

// recover does what can be done about errors of a fetch that the client does not get over.
func (c *consumer) recover(ctx context.Context, fetches kgo.Fetches) error {
	failed, gone := false, false
	fetches.EachError(func(topic string, _ int32, err error) {
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrClientClosed):
		case errors.Is(err, kerr.UnknownTopicID):
			gone = true
		default:
			failed = true
			c.bus.unread(bus.Topic(topic), err)
		}
	})
	if gone {
		return c.reopen()
	}
	if failed {
		select {
		case <-ctx.Done():
		case <-time.After(errorPause):
		}
	}
	return nil
}

// reopen joins the group anew: a topic was removed and made again, and a client stays with the one that it has seen first. What was not committed comes again.
func (c *consumer) reopen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return bus.ErrClosed
	}
	client, err := kgo.NewClient(c.options...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	leave(c.client)
	c.client = client
	return nil
}

// leave ends a member of a group.
func leave(c *kgo.Client) {
	c.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	_ = c.LeaveGroupContext(ctx) // the broker finds out otherwise
	c.CloseAllowingRebalance()
}

// read adds what r carries to records. What cannot be read goes to TopicDLQ, unless a newer program has written it.
func (b *Bus) read(r *kgo.Record, to []bus.Record) []bus.Record {
	t := bus.Topic(r.Topic)
	v, err := value(r)
	switch {
	case errors.Is(err, errTombstone):
		return to
	case errors.Is(err, bus.ErrVersion):
		b.losses.Add(t, DropNewerVersion, 1)
		b.newer(t, err)
		return to
	case err != nil:
		b.losses.Add(t, DropMalformed, 1)
		b.malformed(t, err)
		p := &producer{bus: b, ctx: b.ctx}
		p.TryProduce(bus.Record{Topic: bus.TopicDLQ, Key: string(r.Key), Value: bus.Rejected{
			Topic: t, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Reason: err.Error(), Data: r.Value,
		}})
		return to
	}
	rec := bus.Record{Topic: t, Key: string(r.Key), Value: v, Partition: r.Partition, Offset: r.Offset}
	if n := len(to); n > 0 && joins(&to[n-1], &rec) {
		return to
	}
	return append(to, rec)
}

// joins adds a connection to the record before it, where that is of the same sensor and time.
func joins(last, next *bus.Record) bool {
	a, ok := last.Value.(bus.Connections)
	b, also := next.Value.(bus.Connections)
	if !ok || !also || last.Key != next.Key || last.Partition != next.Partition || a.Now != b.Now || a.Boot != b.Boot || a.Ended {
		return false
	}
	a.Changed, a.Moving, a.Ended = append(a.Changed, b.Changed...), append(a.Moving, b.Moving...), b.Ended
	last.Value, last.Offset = a, next.Offset
	return true
}

// Commit implements bus.Consumer. While the broker cannot be reached it tries on. Where the group has given the partitions to others, nothing is left to be
// committed: their records come again.
func (c *consumer) Commit(ctx context.Context) error {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	for {
		if c.ctx.Err() != nil {
			return bus.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.tail {
			return nil
		}
		err := c.client.CommitUncommittedOffsets(wait)
		switch {
		case err == nil, errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.FencedInstanceID):
			return nil
		case wait.Err() == nil:
			c.bus.uncommitted(err)
		}
		select {
		case <-wait.Done():
		case <-time.After(errorPause):
		}
	}
}

// Close implements bus.Consumer.
func (c *consumer) Close() error {
	c.bus.mu.Lock()
	delete(c.bus.consumers, c)
	c.bus.mu.Unlock()
	c.end()
	return nil
}

// end leaves the group.
func (c *consumer) end() {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.ended = true
		leave(c.client)
	}
}
