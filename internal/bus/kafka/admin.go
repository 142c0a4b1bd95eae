package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"netlyra/internal/bus"
)

const lookWithin = 5 * time.Second

// broker looks whether the broker answers and has the topics.
func (b *Bus) broker(ctx context.Context) []Problem {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	for _, t := range b.options.Topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = new(string(t))
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, b.admin)
	if err != nil {
		return []Problem{b.unreachable(err)}
	}
	var found []Problem
	var absent []bus.Topic
	for i := range resp.Topics {
		topic := &resp.Topics[i]
		if topic.Topic == nil {
			continue
		}
		t := bus.Topic(*topic.Topic)
		switch err := kerr.ErrorForCode(topic.ErrorCode); {
		case err == nil:
			b.seen(t, topic.TopicID)
		case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
			absent = append(absent, t)
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			found = append(found, Problem{TopicRefused, fmt.Sprintf("The broker does not let the user see %s: add it to the broker's ACLs.", t)})
		default: // its leader is being chosen
		}
	}
	if b.options.NoCreate {
		for _, t := range absent {
			found = append(found, Problem{TopicMissing, fmt.Sprintf("The topic %s is not on the broker: make it.", t)})
		}
		return found
	}
	return append(found, b.create(ctx, absent)...)
}

// create makes topics.
func (b *Bus) create(ctx context.Context, topics []bus.Topic) (found []Problem) {
	if len(topics) == 0 {
		return nil
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(lookWithin.Milliseconds())
	for _, t := range topics {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic = string(t)
		topic.NumPartitions = b.options.Partitions
		topic.ReplicationFactor = -1
		if b.options.Replication > 0 {
			topic.ReplicationFactor = b.options.Replication
		}
		s := specOf(t)
		for name, v := range s.config(b.options.Retention[t]) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = name, new(v)
			topic.Configs = append(topic.Configs, c)
		}
		req.Topics = append(req.Topics, topic)
	}
	missing := func(t bus.Topic, why string) {
		found = append(found, Problem{TopicMissing, fmt.Sprintf("The topic %s is not on the broker and cannot be made (%s): make it, or let the user make it.", t, why)})
	}
	resp, err := req.RequestWith(ctx, b.admin)
	if err != nil {
		for _, t := range topics {
			missing(t, err.Error())
		}
		return found
	}
	for i := range resp.Topics {
		topic := &resp.Topics[i]
		err := kerr.ErrorForCode(topic.ErrorCode)
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			continue
		}
		why := err.Error()
		if topic.ErrorMessage != nil {
			why += ": " + *topic.ErrorMessage
		}
		missing(bus.Topic(topic.Topic), why)
	}
	return found
}

// shared looks whether other programs are in groups that are to have this one only. One that was killed is in its group until its session ends, and is none.
func (b *Bus) shared(ctx context.Context, now time.Time) (found []Problem) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	own := map[string]int{}
	b.mu.Lock()
	for c := range b.consumers {
		if c.alone != "" {
			own[c.alone]++
		}
	}
	b.mu.Unlock()
	if len(own) == 0 {
		return nil
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = slices.Sorted(maps.Keys(own))
	for _, shard := range b.admin.RequestSharded(ctx, req) {
		resp, ok := shard.Resp.(*kmsg.DescribeGroupsResponse)
		if !ok {
			continue // who may not ask is not told
		}
		for i := range resp.Groups {
			g := &resp.Groups[i]
			if len(g.Members) <= own[g.Group] {
				delete(b.crowded, g.Group)
				continue
			}
			if _, known := b.crowded[g.Group]; !known {
				b.crowded[g.Group] = now
			}
			if now.Sub(b.crowded[g.Group]) > 2*b.options.Session {
				found = append(found, Problem{GroupShared, fmt.Sprintf("Another program reads as %s too, so that each has a part of the records: give each a name of its own.", g.Group)})
			}
		}
	}
	return found
}

// seen notes a topic's identity. Where that has changed, the topic was removed and made anew: what is produced goes to the new one. Who reads it finds out by
// itself.
func (b *Bus) seen(t bus.Topic, id [16]byte) {
	b.mu.Lock()
	before, known := b.ids[t]
	b.ids[t] = id
	b.mu.Unlock()
	if s := b.streams[t]; known && before != id || s.waiting() > 0 {
		if err := s.renew(); err != nil {
			b.refused(t, err)
		}
	}
}
