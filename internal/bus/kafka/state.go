package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"netlyra/internal/bus"
)

// Committed stands for the offset that the group has committed, or the oldest record where there is none.
const Committed int64 = -1

// Handover is how a member of a group takes partitions over, and gives them up. No function may call the consumer.
type Handover struct {
	// Assigned is called when a partition has become this member's, before any of its records are read: with the newest record of TopicState of each key that
	// falls into this partition, ordered by key. It returns the offset to begin with, or Committed. An error makes the member join anew. It is called by a
	// goroutine of the bus while records of other partitions may be processed; ctx ends when the group takes the partition away again.
	Assigned func(ctx context.Context, partition int32, checkpoints []bus.Record) (from int64, err error)
	// Revoked is called when partitions are another member's, or nobody's: between two calls of Poll, after which there is nothing of them any more.
	Revoked func(partitions []int32)
}

// Member joins a group that shares the partitions of one topic, as Consumer does, and takes part in handing them over. What a member has done of a partition is
// in the checkpoints that it puts into TopicState; Commit is for who watches the group.
func (b *Bus) Member(group string, t bus.Topic, h Handover) (bus.Consumer, error) {
	revoked := func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
		if own := ps[string(t)]; len(own) > 0 {
			h.Revoked(own)
		}
	}
	c := &consumer{bus: b}
	err := c.join([]bus.Topic{t}, append(grouped(group, b.options.Session),
		kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, from map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			err := b.assign(ctx, t, from[string(t)], h)
			if err != nil && ctx.Err() == nil {
				b.unread(bus.TopicState, err)
			}
			return from, err
		})))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// assign sets where a member begins.
func (b *Bus) assign(ctx context.Context, t bus.Topic, from map[int32]kgo.Offset, h Handover) error {
	if len(from) == 0 {
		return nil
	}
	n, err := b.partitions(ctx, t)
	if err != nil {
		return err
	}
	all, err := b.Newest(ctx, bus.TopicState)
	if err != nil {
		return err
	}
	for p := range from {
		own := slices.DeleteFunc(slices.Clone(all), func(r bus.Record) bool { return partitionOf(t, r.Key, n) != p })
		offset, err := h.Assigned(ctx, p, own)
		if err != nil {
			return err
		}
		if offset != Committed {
			from[p] = kgo.NewOffset().At(offset)
		}
	}
	return nil
}

// partitionOf is where records of a key go: Kafka's own way, which every client has.
func partitionOf(t bus.Topic, key string, n int) int32 {
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic(string(t)).Partition(&kgo.Record{Key: []byte(key)}, n))
}

// partitions is how many a topic has.
func (b *Bus) partitions(ctx context.Context, t bus.Topic) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = new(string(t))
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, b.admin)
	if err != nil {
		return 0, fmt.Errorf("kafka: partitions of %s: %w", t, err)
	}
	if len(resp.Topics) == 0 {
		return 0, fmt.Errorf("kafka: the broker says nothing of %s", t)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return 0, fmt.Errorf("kafka: partitions of %s: %w", t, err)
	}
	return len(resp.Topics[0].Partitions), nil
}

// Newest reads the newest record of each key of a topic, ordered by key: all that a compacted topic keeps in the end. It reads the whole topic as it is when
// it is called. Keys whose newest record is a tombstone are left out, as is what cannot be read. A partition that cannot be read to its end is an error: what
// were missing would look like a key that has no record.
func (b *Bus) Newest(ctx context.Context, t bus.Topic) ([]bus.Record, error) {
	n, err := b.partitions(ctx, t)
	if err != nil {
		return nil, err
	}
	begin, err := b.offsets(ctx, t, n, oldest)
	if err != nil {
		return nil, err
	}
	end, err := b.offsets(ctx, t, n, latest)
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for p := range int32(n) {
		if begin[p] < end[p] {
			from[p] = kgo.NewOffset().At(begin[p])
		} else {
			delete(end, p)
		}
	}
	newest := map[string]bus.Record{}
	if len(from) > 0 {
		client, err := kgo.NewClient(append(slices.Clone(b.common), kgo.FetchMaxWait(fetchWait), kgo.KeepControlRecords(), // the last one may be one
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{string(t): from}))...)
		if err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
		defer client.Close()
		if err := b.readTo(ctx, client, end, newest); err != nil {
			return nil, fmt.Errorf("kafka: read %s: %w", t, err)
		}
	}
	out := make([]bus.Record, 0, len(newest))
	for _, r := range newest {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b bus.Record) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

const newestWithin = 15 * time.Second // for the next records of a partition that is not at its end

// readTo reads the partitions of end up to there. It takes out of end those that are read.
func (b *Bus) readTo(ctx context.Context, client *kgo.Client, end map[int32]int64, newest map[string]bus.Record) error {
	for len(end) > 0 {
		wait, cancel := context.WithTimeout(ctx, newestWithin)
		fetches := client.PollFetches(wait)
		cancel()
		if errors.Is(fetches.Err0(), context.DeadlineExceeded) && ctx.Err() == nil {
			return fmt.Errorf("nothing comes within %v of partitions %v: is their leader there?", newestWithin, slices.Sorted(maps.Keys(end)))
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				b.keepNewest(newest, r)
			}
			if last, open := end[r.Partition]; open && r.Offset >= last-1 {
				delete(end, r.Partition)
			}
		})
	}
	return nil
}

// keepNewest puts a record in the place of the one before it.
func (b *Bus) keepNewest(newest map[string]bus.Record, r *kgo.Record) {
	switch read := b.read(r, nil); {
	case len(read) > 0:
		newest[string(r.Key)] = read[0]
	case r.Value == nil:
		delete(newest, string(r.Key))
	}
}

// What offsets are asked for (ListOffsets).
const (
	latest int64 = -1 // the one that the next record gets
	oldest int64 = -2
)

const offsetsWithin = 10 * time.Second

// offsets asks for an offset of each partition.
func (b *Bus) offsets(ctx context.Context, t bus.Topic, n int, which int64) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, offsetsWithin)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = string(t)
	for p := range int32(n) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, which
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	out := map[int32]int64{}
	for _, shard := range b.admin.RequestSharded(ctx, req) { // each broker has some
		resp, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if shard.Err != nil || !ok {
			return nil, fmt.Errorf("kafka: offsets of %s: %w", t, errors.Join(shard.Err, ctx.Err()))
		}
		for i := range resp.Topics {
			for _, p := range resp.Topics[i].Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("kafka: offsets of %s: %w", t, err)
				}
				out[p.Partition] = p.Offset
			}
		}
	}
	return out, nil
}
