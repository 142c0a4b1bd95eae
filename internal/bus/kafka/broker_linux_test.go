package kafka_test

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"netlyra/internal/bus"
	"netlyra/internal/bus/bustest"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/bus/kafka/kafkatest"
)

// deleteTopics removes topics, and whatever groups have committed of them.
func deleteTopics(ctx context.Context, t testing.TB, c *kgo.Client, names ...string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(patience.Milliseconds())
	for _, name := range names {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = new(name)
		req.Topics = append(req.Topics, topic)
		req.TopicNames = append(req.TopicNames, name)
	}
	resp, err := req.RequestWith(ctx, c)
	must(t, err)
	for _, topic := range resp.Topics {
		if err := kerr.ErrorForCode(topic.ErrorCode); err != nil && topic.ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Fatalf("delete %s: %v", *topic.Topic, err)
		}
	}
	there := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = new(name)
		there.Topics = append(there.Topics, topic)
	}
	eventually(t, "the topics are still there", func() bool { // the controller answers before the broker knows
		resp, err := there.RequestWith(ctx, c)
		return err == nil && !slices.ContainsFunc(resp.Topics, func(topic kmsg.MetadataResponseTopic) bool {
			return topic.ErrorCode != kerr.UnknownTopicOrPartition.Code
		})
	})
}

func TestBusOnABrokerConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	broker := kafkatest.Start(t)
	admin := client(t, broker.Addr)
	clean := func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		deleteTopics(ctx, t, admin, topics()...)
	}
	bustest.Run(t, bustest.Harness{
		Open: func(t *testing.T) bus.Bus {
			clean(t)
			return open(t, kafka.Options{Brokers: []string{broker.Addr}, Partitions: 4})
		},
		OpenStalled: func(t *testing.T) (bus.Bus, func()) {
			clean(t)
			b := open(t, kafka.Options{Brokers: []string{broker.Addr}, Partitions: 4, BufferBytes: 64 << 10})
			release := sync.OnceFunc(func() {
				if err := broker.Signal(syscall.SIGCONT); err != nil {
					t.Error(err)
				}
			})
			t.Cleanup(release)
			if err := broker.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			return b, release
		},
	})
}
