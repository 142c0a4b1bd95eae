package kafka_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"netlyra/internal/bus"
	"netlyra/internal/bus/bustest"
	"netlyra/internal/bus/kafka"
)

// patience bounds every wait: it is how long a hang takes to be called one.
const patience = 60 * time.Second

// open makes a bus that runs until the test ends, and is closed then.
func open(t testing.TB, o kafka.Options) *kafka.Bus {
	t.Helper()
	b, err := kafka.New(o, kafka.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	run(t, b)
	return b
}

func run(t testing.TB, b *kafka.Bus) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// fake is a broker within the process.
func fake(t testing.TB, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SleepOutOfOrder()}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// topics are the names of all topics.
func topics() (names []string) {
	for _, t := range bus.Topics() {
		names = append(names, string(t))
	}
	return names
}

func TestBusOnAFakeBrokerConforms(t *testing.T) {
	bustest.Run(t, bustest.Harness{
		Open: func(t *testing.T) bus.Bus {
			return open(t, kafka.Options{Brokers: fake(t, kfake.SeedTopics(4, topics()...)).ListenAddrs()})
		},
		OpenStalled: func(t *testing.T) (bus.Bus, func()) {
			c := fake(t, kfake.SeedTopics(4, topics()...))
			go1 := make(chan struct{})
			release := sync.OnceFunc(func() { close(go1) })
			t.Cleanup(release)
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				c.SleepControl(func() { <-go1 })
				return nil, nil, false
			})
			return open(t, kafka.Options{Brokers: c.ListenAddrs(), BufferBytes: 64 << 10}), release
		},
	})
}
