package role

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"netlyra/internal/bus"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/store"
)

// distant is a broker that can be away, and that refuses an alert.
type distant struct {
	mu     sync.Mutex
	away   bool
	refuse string // the key that is never taken
	got    []string
}

func (d *distant) setAway(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

func (d *distant) keys() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

func (d *distant) take(r bus.Record) (taken bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.away:
		return false, nil
	case r.Key == d.refuse:
		return true, fmt.Errorf("%w: too large", bus.ErrRecord)
	}
	a, ok := r.Value.(bus.Alert)
	if !ok {
		return true, bus.ErrRecord
	}
	d.got = append(d.got, fmt.Sprint(r.Key, "/", a.Rev))
	return true, nil
}

func (d *distant) Deliver(ctx context.Context, rs []bus.Record) []error {
	errs := make([]error, len(rs))
	for i := range rs {
		for {
			taken, err := d.take(rs[i])
			if errs[i] = err; taken {
				break
			}
			select {
			case <-time.After(5 * time.Millisecond):
				continue
			case <-ctx.Done():
				errs[i] = ctx.Err()
			}
			break
		}
	}
	return errs
}

// publishing is a store with an outbox and a publisher of its alerts that runs.
type publishing struct {
	*store.Store
	t         *testing.T
	publisher *Publisher
	stored    chan struct{}
	ended     chan error
	close     func()
}

func newPublishing(t *testing.T, path string, to *distant) *publishing {
	t.Helper()
	posted := NewSignal()
	s, err := store.New(t.Context(), store.Options{Path: path, Outbox: true, Posted: posted.Set})
	if err != nil {
		t.Fatal(err)
	}
	p := &publishing{Store: s, t: t, stored: make(chan struct{}), ended: make(chan error, 1)}
	p.publisher, err = NewPublisher(PublisherOptions{Sensor: "s"}, PublisherDeps{
		Bus: bus.NewMemory(bus.MemoryOptions{}), Broker: to, Outbox: s, Posted: posted, Stored: p.stored, Until: t.Context(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	running := make(chan error, 1)
	go func() { running <- s.Run(ctx) }()
	go func() { p.ended <- p.publisher.alerts(ctx) }()
	var once sync.Once
	p.close = func() {
		once.Do(func() {
			stop()
			if err := errors.Join(<-running, s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(p.close)
	return p
}

func (p *publishing) save(id string, rev int64) {
	p.t.Helper()
	a := &models.Alert{ID: id, Rev: rev, TS: 1, SrcIP: "192.0.2.1", DstIP: "192.0.2.9", Sensor: "s", State: models.AlertOpen, Category: models.CategoryFlood, Severity: models.SeverityHigh}
	if err := p.SaveAlert(p.t.Context(), a); err != nil {
		p.t.Fatal(err)
	}
}

func (p *publishing) waiting() int64 {
	p.t.Helper()
	n, err := p.Waiting(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// What is stored while the broker is away is delivered when it is back, each once and in order; what the broker will never take is counted and
// holds nothing up; what is left at the end is delivered by the next start.
func TestAlertsArePublished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netlyra.db")
	to := &distant{away: true, refuse: "17"}
	p := newPublishing(t, path, to)
	reg := prometheus.NewPedanticRegistry()
	if err := p.publisher.Register(reg); err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) != 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	var want []string
	for i := range 700 { // more than are delivered at a time
		id := fmt.Sprint(i)
		p.save(id, 1)
		if id != to.refuse {
			want = append(want, id+"/1")
		}
	}
	if n := p.waiting(); n != 700 {
		t.Errorf("%d alerts wait, want 700", n)
	}
	to.setAway(false)
	until(t, "empty outbox", func() bool { return p.waiting() == 0 })
	if diff := cmp.Diff(want, to.keys()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := testutil.ToFloat64(p.publisher.lost); n != 1 {
		t.Errorf("%v alerts are said to be refused, want 1", n)
	}
	p.save("3", 2)
	until(t, "second revision", func() bool { return len(to.keys()) == 700 && p.waiting() == 0 })

	to.setAway(true)
	p.save("last", 1)
	close(p.stored)
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	p.close()
	to.setAway(false)
	p = newPublishing(t, path, to)
	until(t, "what the last start has left", func() bool { return p.waiting() == 0 })
	if got := to.keys()[699:]; !slices.Equal(got, []string{"3/2", "last/1"}) {
		t.Error(got)
	}
	p.save("4", 2) // at the end everything is delivered while the broker is there
	close(p.stored)
	if err := <-p.ended; err != nil || p.waiting() != 0 {
		t.Errorf("%d alerts are left: %v", p.waiting(), err)
	}
}

// A sensor's slots and packets are published as analyze --emit writes them, and what the broker has no room for holds up nothing unless
// the source is a file.
func TestRecordsOfASensor(t *testing.T) {
	remote := bus.NewMemory(bus.MemoryOptions{TopicBytes: map[bus.Topic]int{bus.TopicSlots: 1 << 30, bus.TopicPackets: 1 << 30}})
	to, err := remote.Producer()
	if err != nil {
		t.Fatal(err)
	}
	read := func(topic bus.Topic) bus.Consumer {
		c, err := remote.Consumer("reader", topic)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	slots, packets := read(bus.TopicSlots), read(bus.TopicPackets)
	local := bus.NewMemory(bus.MemoryOptions{})
	records, err := PublishRecords(t.Context(), PublisherOptions{Sensor: "s", Boot: 7, Packets: true, Slots: true}, to)
	if err != nil {
		t.Fatal(err)
	}
	producer, err := local.Producer()
	if err != nil {
		t.Fatal(err)
	}
	sensor, err := NewSensor(SensorOptions{Name: "s", Source: "sample", File: true, Workers: 2}, SensorDeps{Sources: []pipeline.Source{openSample(t)}, Bus: producer, Records: records, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := sensor.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := remote.Close(); err != nil {
		t.Fatal(err)
	}
	all := func(c bus.Consumer) (out []bus.Encoded) {
		for {
			rs, err := c.Poll(t.Context())
			if errors.Is(err, bus.ErrClosed) {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rs {
				if r.Key != "s" {
					t.Fatalf("key %q", r.Key)
				}
				e, ok := r.Value.(bus.Encoded)
				if !ok {
					t.Fatalf("a record of %T", r.Value)
				}
				out = append(out, e)
			}
		}
	}
	var stream bytes.Buffer
	for _, e := range all(slots) {
		if e.Kind == "" {
			t.Fatal("a record of slots without its kind")
		}
		stream.Write(e.Data)
	}
	r, err := bus.NewSlotReader(&stream)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	type mark struct {
		slot     int64
		received uint64
	}
	var closed, marks []mark
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		closed = append(closed, mark{s.N, s.Received})
	}
	n := uint64(0)
	for _, e := range all(packets) {
		var rec bus.PacketRecord
		if _, err := bus.DecodePacket(e.Data, &rec, nil); err != nil {
			t.Fatalf("%v: %s", err, e.Data)
		}
		if !rec.Watermark {
			n++
			continue
		}
		marks = append(marks, mark{rec.Mark.Slot, rec.Mark.Received})
	}
	if stats := sensor.Stats(); !slices.Equal(marks, closed) || len(marks) < 100 || n != stats.Decoded {
		t.Errorf("%d watermarks, %d slots, %d packets of %d", len(marks), len(closed), n, stats.Decoded)
	}
}

// Connections, hosts and seconds go on as they are on the bus. A file's wait for a broker that has no room until the program is to end.
func TestPublisherForwards(t *testing.T) {
	for _, wait := range []bool{false, true} {
		remote := bus.NewMemory(bus.MemoryOptions{TopicBytes: map[bus.Topic]int{bus.TopicHosts: 1}}) // room for one
		to, err := remote.Producer()
		if err != nil {
			t.Fatal(err)
		}
		reader, err := remote.Consumer("reader", bus.TopicConnections)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := remote.Consumer("nobody reads", bus.TopicHosts); err != nil {
			t.Fatal(err)
		}
		local := bus.NewMemory(bus.MemoryOptions{})
		producer, err := local.Producer()
		if err != nil {
			t.Fatal(err)
		}
		ending, end := context.WithCancel(t.Context())
		p, err := NewPublisher(PublisherOptions{Sensor: "s", Wait: wait}, PublisherDeps{Bus: local, To: to, Until: ending, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.forward(t.Context()) }()
		produce := func(topic bus.Topic, v bus.Value) {
			if err := producer.Produce(t.Context(), bus.Record{Topic: topic, Key: "s", Value: v}); err != nil {
				t.Fatal(err)
			}
		}
		want := bus.Connections{Now: 7, Changed: []models.Connection{{ID: 1}}}
		produce(bus.TopicConnections, want)
		got, err := reader.Poll(t.Context())
		if err != nil || len(got) != 1 || cmp.Diff(bus.Value(want), got[0].Value) != "" || got[0].Key != "s" {
			t.Errorf("%+v, %v", got, err)
		}
		for range 3 {
			produce(bus.TopicHosts, bus.Hosts{Now: 1, Hosts: []models.Host{{IP: "192.0.2.1"}}})
		}
		if err := local.Close(); err != nil {
			t.Fatal(err)
		}
		if wait {
			select {
			case err := <-ended:
				t.Errorf("a file did not wait: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if drops := remote.Drops(); len(drops) != 1 || drops[0].Stage != "bus.hosts" || drops[0].Count != 2 {
			t.Errorf("%+v", drops)
		}
	}
}
