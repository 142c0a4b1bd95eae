package role

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"netlyra/internal/bus"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
)

// PublisherOptions configure a Publisher.
type PublisherOptions struct {
	Sensor         string
	Boot           uint64 // random at each start, so that readers tell starts apart
	Packets, Slots bool   // that are published beside alerts, connections, hosts and seconds
	Wait           bool   // for room in the broker's buffers rather than drop what there is none for: a file can wait
}

// PublisherDeps are what a Publisher needs.
type PublisherDeps struct {
	Bus    bus.Bus         // of this process: connections, hosts and seconds are read from it
	To     bus.Producer    // of the broker: takes all but alerts
	Broker Deliverer       // takes alerts
	Outbox Outbox          // of the database: alerts are read from it; nil: none are published
	Posted Signal          // set when there is something new in the outbox
	Stored <-chan struct{} // closed when all alerts of this run are in it
	Until  context.Context // ends when the program has been asked to end: nothing waits for the broker any more
	Log    *slog.Logger
}

// Deliverer takes records for readers elsewhere. A broker's bus is one.
type Deliverer interface {
	// Deliver hands records over, in their order, and waits until each has been acknowledged or refused for good. It goes on trying while
	// the broker is away. The errors are those of the records, nil for one that has been acknowledged; of one that will never be taken
	// it is bus.ErrRecord. When ctx ends first, the others have its error: they may or may not have been taken.
	Deliver(ctx context.Context, rs []bus.Record) []error
}

// Outbox has the alerts that are to be published. A store.Store is one.
type Outbox interface {
	Outbox(ctx context.Context, limit int) ([]store.Outgoing, error)
	Published(ctx context.Context, sent []store.Outgoing) error
	Waiting(ctx context.Context) (int64, error)
}

// Publisher hands on what the roles of this process say to readers elsewhere: connections, hosts and seconds from the bus, alerts from the
// outbox of the database.
type Publisher struct {
	options PublisherOptions
	deps    PublisherDeps
	outlet  outlet
	rest    bus.Consumer
	moving  map[int64]models.Connection // the present state of connections that have moved since sent
	sent    models.Micros               // capture time at which they were handed on last
	failing *telemetry.Limiter          // the line about alerts that are not published
	refused *telemetry.Limiter          // and about those that never will be
	lost    prometheus.Counter
}

// NewPublisher joins the bus.
func NewPublisher(o PublisherOptions, deps PublisherDeps) (*Publisher, error) {
	p := &Publisher{
		options: o, deps: deps, outlet: outlet{o, deps.To, deps.Until}, moving: map[int64]models.Connection{}, failing: telemetry.NewLimiter(time.Minute), refused: telemetry.NewLimiter(time.Minute),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "netlyra_outbox_refused_total", Help: "Revisions of alerts that the broker will never take; they stay in the database.",
		}),
	}
	var err error
	p.rest, err = deps.Bus.Consumer("publisher", bus.TopicConnections, bus.TopicHosts, bus.TopicSensors)
	return p, err
}

// Register gives the metrics of the outbox to a registry.
func (p *Publisher) Register(r prometheus.Registerer) error {
	if p.deps.Outbox == nil {
		return nil
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "netlyra_outbox_alerts", Help: "Alerts that are still to be published.",
	}, func() float64 {
		n, err := p.deps.Outbox.Waiting(context.Background())
		if err != nil {
			return -1 // the database cannot be read
		}
		return float64(n)
	})
	return errors.Join(r.Register(p.lost), r.Register(waiting))
}

// Readers are the parts that go on until all that is to be published has been handed over.
func (p *Publisher) Readers() []Part {
	parts := []Part{PartFunc(p.forward)}
	if p.deps.Outbox != nil {
		parts = append(parts, PartFunc(p.alerts))
	}
	return parts
}

// forward hands on what the bus has until that is closed and empty.
func (p *Publisher) forward(ctx context.Context) error {
	for {
		records, err := p.rest.Poll(ctx)
		for _, r := range records {
			if c, ok := r.Value.(bus.Connections); ok {
				c, due := p.slower(c)
				if !due {
					continue
				}
				r.Value = c
			}
			p.outlet.hand(r)
		}
		if err == nil {
			err = p.rest.Commit(ctx)
		}
		switch {
		case errors.Is(err, bus.ErrClosed), errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return fmt.Errorf("publisher: %w", err)
		}
	}
}

const (
	movingEvery = 1_000_000 // µs of capture time
	maxMoving   = 4096      // connections
)

// slower hands on what connections of others have done at once, and the present state of those that move once a second: a page within the
// process has it with each slot, which elsewhere would be most of what is sent. due is false where there is nothing to hand on yet.
func (p *Publisher) slower(c bus.Connections) (_ bus.Connections, due bool) {
	for i := range c.Moving {
		if _, there := p.moving[c.Moving[i].ID]; there || len(p.moving) < maxMoving {
			p.moving[c.Moving[i].ID] = c.Moving[i]
		}
	}
	for i := range c.Changed { // which says it better
		delete(p.moving, c.Changed[i].ID)
	}
	c.Moving = nil
	due = len(c.Changed) > 0
	if since := c.Now - p.sent; since >= movingEvery || since < 0 || c.Ended {
		due = true
		c.Moving = slices.Collect(maps.Values(p.moving))
		clear(p.moving)
		p.sent = c.Now
	}
	return c, due
}

const (
	outboxRows  = 500             // alerts delivered at a time
	outboxEvery = 2 * time.Second // between two attempts, and two looks at what nobody has told of
	lastAttempt = 2 * time.Second // for what is left in the outbox at the end; then the next start goes on
)

// alerts publishes what is in the outbox, until everything is stored and delivered, or for lastAttempt after everything is stored.
func (p *Publisher) alerts(ctx context.Context) error {
	limited, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-p.deps.Stored:
			t := time.NewTimer(lastAttempt)
			defer t.Stop()
			select {
			case <-t.C:
			case <-limited.Done():
			}
		case <-limited.Done():
		}
		stop()
	}()
	stored, ended := p.deps.Stored, false
	var sent []store.Outgoing // delivered, and still in the outbox
	for {
		more, err := p.deliver(limited, &sent)
		switch {
		case limited.Err() != nil, ended && err == nil && !more:
			return nil
		case err == nil && more:
			continue
		case err != nil:
			p.failing.Log(ctx, p.deps.Log, slog.LevelWarn, "alerts not published yet", slog.Any("error", err))
		}
		retry := time.NewTimer(outboxEvery)
		select {
		case <-p.deps.Posted:
		case <-retry.C:
		case <-stored:
			stored, ended = nil, true
		case <-limited.Done():
		}
		retry.Stop()
	}
}

// deliver hands some of the outbox to the broker and takes out what has been acknowledged. sent is what has been before, and could not be taken
// out: it is not delivered again. More says whether there may be more to do.
func (p *Publisher) deliver(ctx context.Context, sent *[]store.Outgoing) (more bool, err error) {
	if err := p.takeOut(ctx, sent); err != nil {
		return true, err
	}
	out, err := p.deps.Outbox.Outbox(ctx, outboxRows)
	if err != nil || len(out) == 0 {
		return false, err
	}
	records := make([]bus.Record, len(out))
	for i := range out {
		records[i] = bus.Record{Topic: bus.TopicAlerts, Key: out[i].ID, Value: bus.Alert{Alert: &out[i].Alert}}
	}
	var errs []error
	for i, err := range p.deps.Broker.Deliver(ctx, records) {
		switch {
		case errors.Is(err, bus.ErrRecord):
			p.lost.Inc()
			p.refused.Log(ctx, p.deps.Log, slog.LevelError, "alert cannot be published", slog.String("id", out[i].ID), slog.Any("error", err))
			fallthrough
		case err == nil:
			*sent = append(*sent, out[i])
		default:
			errs = append(errs[:0], err) // one says it
		}
	}
	return true, errors.Join(append(errs, p.takeOut(ctx, sent))...)
}

func (p *Publisher) takeOut(ctx context.Context, sent *[]store.Outgoing) error {
	if len(*sent) == 0 {
		return nil
	}
	if err := p.deps.Outbox.Published(ctx, *sent); err != nil {
		return err
	}
	*sent = nil
	return nil
}

// outlet is where records go.
type outlet struct {
	options PublisherOptions
	to      bus.Producer
	until   context.Context // after which nothing waits for the broker any more
}

// hand gives a record to the broker's buffers. What they have no room for is counted there.
func (o *outlet) hand(r bus.Record) {
	if o.options.Wait && o.to.Produce(o.until, r) == nil {
		return
	}
	o.to.TryProduce(r)
}

// PublishRecords is what a sensor gives its slots and packets to, so that they are published to the broker whose producer is to, as the options ask.
// When until ends, a file waits for the broker no more.
func PublishRecords(until context.Context, o PublisherOptions, to bus.Producer) (pipeline.Records, error) {
	var r pipeline.Records
	out := outlet{o, to, until}
	put := func(t bus.Topic, kind bus.SlotKind, data []byte) {
		out.hand(bus.Record{Topic: t, Key: o.Sensor, Value: bus.Encoded{Kind: kind, Data: data}})
	}
	if o.Slots {
		enc, err := bus.NewSlotEncoder(o.Sensor, o.Boot)
		if err != nil {
			return r, err
		}
		r.Slots = func(_ context.Context, s *models.SensorSlot) error {
			return enc.Encode(s, func(kind bus.SlotKind, record []byte) error {
				put(bus.TopicSlots, kind, bytes.Clone(record))
				return nil
			})
		}
	}
	if o.Packets {
		marks := bus.NewPacketEncoder(o.Sensor)
		r.EncodePacket = bus.LineEncoder(o.Sensor)
		r.Packets = func(_ context.Context, s *models.SensorSlot, records [][]byte) error {
			for _, lines := range records {
				for line := range bytes.Lines(bytes.Clone(lines)) {
					put(bus.TopicPackets, "", line[:len(line)-1])
				}
			}
			put(bus.TopicPackets, "", marks.AppendWatermark(nil, bus.WatermarkOf(s)))
			return nil
		}
	}
	return r, nil
}
