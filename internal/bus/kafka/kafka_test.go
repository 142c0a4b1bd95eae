package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"netlyra/internal/bus"
	"netlyra/internal/bus/bustest"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/models"
)

// patience bounds every wait: it is how long a hang takes to be called one.
const patience = 60 * time.Second

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open makes a bus that runs until the test ends, and is closed then.
func open(t testing.TB, o kafka.Options) *kafka.Bus {
	t.Helper()
	b, err := kafka.New(o, kafka.Deps{Log: discard()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, b)
	return b
}

// logged is open, with what the bus logs.
func logged(t testing.TB, o kafka.Options) (*kafka.Bus, *lines) {
	t.Helper()
	l := &lines{}
	b, err := kafka.New(o, kafka.Deps{Log: slog.New(slog.NewTextHandler(l, nil))})
	if err != nil {
		t.Fatal(err)
	}
	run(t, b)
	return b, l
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

// deliver says what has become of records.
func deliver(ctx context.Context, b *kafka.Bus, rs ...bus.Record) error {
	return errors.Join(b.Deliver(ctx, rs)...)
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

func client(t testing.TB, addr string, o ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(o, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// alert is revision rev of an incident.
func alert(id string, rev int64) bus.Record {
	return bus.Record{Topic: bus.TopicAlerts, Key: id, Value: bus.Alert{Alert: &models.Alert{
		ID: id, TS: 1, Rev: rev, Sensor: "s", Category: models.CategoryAnomaly, Severity: models.SeverityLow, State: models.AlertOpen,
	}}}
}

func producer(t testing.TB, b bus.Bus) bus.Producer {
	t.Helper()
	p, err := b.Producer()
	must(t, err)
	return p
}

func consumer(t testing.TB, b bus.Bus, group string, topics ...bus.Topic) bus.Consumer {
	t.Helper()
	c, err := b.Consumer(group, topics...)
	must(t, err)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until what is said of the bus holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", patience, what)
		}
	}
}

func has(b *kafka.Bus, code string) bool {
	return slices.ContainsFunc(b.Health(), func(p kafka.Problem) bool { return p.Code == code })
}

// lines are what a bus has logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// check says whether a problem was logged once.
func (l *lines) check(t testing.TB, code string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := strings.Count(l.text.String(), `msg="the bus has a problem" code=`+code); n != 1 {
		t.Errorf("%s was logged %d times:\n%s", code, n, l.text.String())
	}
}

// kept are the revisions of each incident that the broker has, in its order, as a client of its own reads them: until there are n, and there is no more.
func kept(t testing.TB, addr string, n int) map[string][]int64 {
	t.Helper()
	c := client(t, addr, kgo.ConsumeTopics(string(bus.TopicAlerts)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx := patient(t)
	out := map[string][]int64{}
	for read := 0; ; {
		wait := ctx
		if read >= n { // what comes now is too much
			var stop context.CancelFunc
			wait, stop = context.WithTimeout(ctx, time.Second)
			defer stop()
		}
		fetches := c.PollFetches(wait)
		fetches.EachRecord(func(r *kgo.Record) {
			a, err := bus.DecodeAlert(r.Value, time.Now())
			if err != nil || string(r.Key) != a.ID {
				t.Errorf("key %q: %v", r.Key, err)
				return
			}
			out[a.ID] = append(out[a.ID], a.Rev)
			read++
		})
		switch {
		case ctx.Err() != nil:
			t.Fatalf("the broker has %d alerts of %d", read, n)
		case wait.Err() != nil:
			return out
		}
	}
}

func sequence(n int64) (out []int64) {
	for i := range n {
		out = append(out, i+1)
	}
	return out
}
