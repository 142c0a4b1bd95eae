package bus

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"

	"netlyra/internal/models"
)

// MemoryOptions sets up a Memory.
type MemoryOptions struct {
	BufferBytes int           // bound on what one topic keeps; 0 means 64 MiB. A single larger record fits into an empty topic
	TopicBytes  map[Topic]int // the same for topics that have a bound of their own
	Partitions  int           // of each topic; 0 means 1: what one process produces is read in that order, whatever the keys are
}

// pollRecords bounds what one Poll returns, so that a consumer can commit between.
const pollRecords = 256

// Memory is a Bus within the process. It hands values over by reference. A topic keeps a record until every group that
// ever joined it has committed it, and, without any group, until its buffer is full: a group whose members have all left
// therefore holds producers up, as it would otherwise lose records.
type Memory struct {
	opts MemoryOptions

	mu     sync.Mutex
	topics map[Topic]*topicLog
	closed bool
	done   chan struct{} // closed with it
	tails  int           // that were made

	losses Losses
}

// topicLog is one topic: its partitions, and the groups that read them.
type topicLog struct {
	parts  []partition
	bytes  int
	groups map[string]*group
	room   chan struct{} // closed and replaced when bytes falls, and on Close
}

// partition is the kept tail of a sequence of records; base is the offset of the first one kept.
type partition struct {
	base    int64
	records []Record
}

func (p *partition) end() int64 { return p.base + int64(len(p.records)) }

// group is a group's view of one topic.
type group struct {
	tail      bool              // it sees what is there, and keeps nothing
	members   []*memoryConsumer // in the order they joined
	position  []int64           // by partition: what Poll returns next
	committed []int64           // by partition
}

// NewMemory makes an empty bus.
func NewMemory(o MemoryOptions) *Memory {
	o.BufferBytes = cmp.Or(o.BufferBytes, 64<<20)
	o.Partitions = cmp.Or(o.Partitions, 1)
	m := &Memory{opts: o, topics: map[Topic]*topicLog{}, done: make(chan struct{})}
	for _, t := range Topics() {
		m.topics[t] = &topicLog{
			parts:  make([]partition, o.Partitions),
			groups: map[string]*group{},
			room:   make(chan struct{}),
		}
	}
	return m
}

// Producer makes a producer for all topics.
func (m *Memory) Producer() (Producer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return &memoryProducer{bus: m, done: make(chan struct{})}, nil
}

// Consumer joins a group on some topics.
func (m *Memory) Consumer(name string, topics ...Topic) (Consumer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.join(name, topics, false)
}

// Tail implements Bus. It keeps nothing: what the groups of a topic have committed is not seen any more by a tail that is behind. A topic that tails alone read fills up,
// as one does that nobody reads.
func (m *Memory) Tail(topics ...Topic) (Consumer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tails++
	return m.join(fmt.Sprint("\x00tail ", m.tails), topics, true) // no group has such a name
}

func (m *Memory) join(name string, topics []Topic, tail bool) (Consumer, error) {
	if m.closed {
		return nil, ErrClosed
	}
	for _, t := range topics {
		if m.topics[t] == nil {
			return nil, fmt.Errorf("bus: no topic %q", t)
		}
	}
	c := &memoryConsumer{
		bus: m, group: name, topics: slices.Clone(topics), tail: tail,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	for _, t := range topics {
		m.topics[t].join(c)
	}
	return c, nil
}

// Drops implements Bus.
func (m *Memory) Drops() []models.Drop { return m.losses.Drops() }

// Close ends the bus: nothing is accepted any more, calls that wait for room return ErrClosed, and consumers read what
// is left before they get it.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	close(m.done)
	for t := range maps.Values(m.topics) {
		t.wakeProducers()
		t.wakeConsumers()
	}
	return nil
}

// Done implements Bus.
func (m *Memory) Done() <-chan struct{} { return m.done }

// add appends r if there is room. The caller holds the lock.
func (m *Memory) add(r Record) bool {
	t := m.topics[r.Topic]
	size := r.Value.Size()
	if bound := cmp.Or(m.opts.TopicBytes[r.Topic], m.opts.BufferBytes); t.bytes > 0 && t.bytes+size > bound {
		return false
	}
	r.Partition = partitionOf(r.Key, len(t.parts))
	p := &t.parts[r.Partition]
	r.Offset = p.end()
	p.records = append(p.records, r)
	t.bytes += size
	t.wakeConsumers()
	return true
}

func partitionOf(key string, n int) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // a hash never fails
	return int32(h.Sum32() % uint32(n))
}

func (t *topicLog) wakeProducers() { close(t.room); t.room = make(chan struct{}) }

// wakeConsumers makes every waiting Poll look again. A consumer's wake holds one token: more would tell it nothing new.
func (t *topicLog) wakeConsumers() {
	for g := range maps.Values(t.groups) {
		for _, c := range g.members {
			select {
			case c.wake <- struct{}{}:
			default:
			}
		}
	}
}

// join adds c to its group, and gives it its share of the partitions.
func (t *topicLog) join(c *memoryConsumer) {
	g := t.groups[c.group]
	if g == nil {
		g = &group{tail: c.tail, position: make([]int64, len(t.parts)), committed: make([]int64, len(t.parts))}
		for i := range t.parts {
			from := t.parts[i].base
			if c.tail {
				from = t.parts[i].end()
			}
			g.position[i], g.committed[i] = from, from
		}
		t.groups[c.group] = g
	}
	t.reassign(g, func() { g.members = append(g.members, c) })
}

// leave takes c out of its group.
func (t *topicLog) leave(c *memoryConsumer) {
	g := t.groups[c.group]
	t.reassign(g, func() {
		g.members = slices.DeleteFunc(g.members, func(m *memoryConsumer) bool { return m == c })
	})
	if c.tail {
		delete(t.groups, c.group)
	}
}

// reassign changes a group's members. A partition that gets another owner is read again from what was committed.
func (t *topicLog) reassign(g *group, change func()) {
	before := make([]*memoryConsumer, len(t.parts))
	for i := range t.parts {
		before[i] = g.owner(i)
	}
	change()
	for i := range t.parts {
		if g.owner(i) != before[i] {
			g.position[i] = g.committed[i]
		}
	}
	t.wakeConsumers()
}

// owner is the member that reads partition i; nil in a group without members.
func (g *group) owner(i int) *memoryConsumer {
	if len(g.members) == 0 {
		return nil
	}
	return g.members[i%len(g.members)]
}

// trim forgets what every group has committed.
func (t *topicLog) trim() {
	freed := 0
	for i := range t.parts {
		p := &t.parts[i]
		low := p.end()
		for g := range maps.Values(t.groups) {
			if !g.tail {
				low = min(low, g.committed[i])
			}
		}
		n := int(low - p.base)
		for _, r := range p.records[:n] {
			freed += r.Value.Size()
		}
		clear(p.records[:n])
		p.records = p.records[n:]
		p.base = low
	}
	if freed > 0 {
		t.bytes -= freed
		t.wakeProducers()
	}
}

type memoryProducer struct {
	bus    *Memory
	done   chan struct{}
	closed bool // under bus.mu
}

// Produce implements Producer.
func (p *memoryProducer) Produce(ctx context.Context, r Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	for {
		room, err := p.offer(ctx, r)
		if err != nil || room == nil {
			return err
		}
		select {
		case <-room:
		case <-p.done:
		case <-ctx.Done():
		}
	}
}

// offer adds r, or returns the channel that closes when there may be room for it.
func (p *memoryProducer) offer(ctx context.Context, r Record) (room <-chan struct{}, err error) {
	p.bus.mu.Lock()
	defer p.bus.mu.Unlock()
	switch {
	case p.closed || p.bus.closed:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case p.bus.add(r):
		return nil, nil
	}
	return p.bus.topics[r.Topic].room, nil
}

// TryProduce implements Producer.
func (p *memoryProducer) TryProduce(r Record) bool {
	if err := r.Check(); err != nil {
		panic(err)
	}
	p.bus.mu.Lock()
	defer p.bus.mu.Unlock()
	reason := DropClosed
	if !p.closed && !p.bus.closed {
		if p.bus.add(r) {
			return true
		}
		reason = DropFull
	}
	p.bus.losses.Add(r.Topic, reason, uint64(r.Value.Count()))
	return false
}

// Close implements Producer.
func (p *memoryProducer) Close() error {
	p.bus.mu.Lock()
	defer p.bus.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.done)
	}
	return nil
}

type memoryConsumer struct {
	bus    *Memory
	group  string
	topics []Topic
	tail   bool
	wake   chan struct{} // a token when there may be something to read
	done   chan struct{}
	closed bool // under bus.mu
	first  int  // the partition that the next Poll starts with, so that none starves
}

// Poll implements Consumer.
func (c *memoryConsumer) Poll(ctx context.Context) ([]Record, error) {
	for {
		records, err := c.take(ctx)
		if err != nil || len(records) > 0 {
			return records, err
		}
		select {
		case <-c.wake:
		case <-c.done:
		case <-ctx.Done():
		}
	}
}

// take returns what there is.
func (c *memoryConsumer) take(ctx context.Context) ([]Record, error) {
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var records []Record
	for _, name := range c.topics {
		records = c.bus.topics[name].read(c, records)
	}
	c.first++
	if len(records) == 0 && c.bus.closed {
		return nil, ErrClosed
	}
	return records, nil
}

// read appends what c has not seen of its partitions, up to pollRecords in all.
func (t *topicLog) read(c *memoryConsumer, to []Record) []Record {
	g := t.groups[c.group]
	for k := range t.parts {
		i := (c.first + k) % len(t.parts)
		if g.owner(i) != c {
			continue
		}
		p := &t.parts[i]
		g.position[i] = max(g.position[i], p.base)
		n := min(p.end()-g.position[i], int64(pollRecords-len(to)))
		from := g.position[i] - p.base
		to = append(to, p.records[from:from+n]...)
		g.position[i] += n
	}
	return to
}

// Commit implements Consumer.
func (c *memoryConsumer) Commit(ctx context.Context) error {
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.tail {
		return nil
	}
	for _, name := range c.topics {
		t := c.bus.topics[name]
		g := t.groups[c.group]
		for i := range t.parts {
			if g.owner(i) == c {
				g.committed[i] = g.position[i]
			}
		}
		t.trim()
	}
	return nil
}

// Close implements Consumer.
func (c *memoryConsumer) Close() error {
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	close(c.done)
	for _, name := range c.topics {
		c.bus.topics[name].leave(c)
	}
	return nil
}
