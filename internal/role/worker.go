package role

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/models"
	"netlyra/internal/telemetry"
)

// WorkerOptions configure a Worker.
type WorkerOptions struct {
	Group   string // of detectors that share the sensors
	Version string // of the program
	Boot    uint64 // random at each start
	Remote  RemoteOptions
}

// WorkerDeps are what a Worker needs.
type WorkerDeps struct {
	Broker *kafka.Bus
	Log    *slog.Logger
}

// Worker detects for sensors elsewhere: it reads TopicSlots as a member of a group, has a RemoteDetector for each partition that is its own, and puts alerts, checkpoints and
// signs of life on the broker.
type Worker struct {
	options  WorkerOptions
	deps     WorkerDeps
	producer bus.Producer
	member   bus.Consumer
	refused  *telemetry.Limiter // the line about records that the broker does not take
	lost     prometheus.Counter
	stats    *prometheus.Desc

	mu         sync.Mutex // of what follows: partitions come by a goroutine of the bus
	partitions map[int32]*RemoteDetector
	before     RemoteCounts // of partitions that others have now
}

const (
	signEvery = time.Second
	pollWait  = 250 * time.Millisecond // for records, before signs of life are given all the same
	giveUp    = 2 * time.Second        // for the last checkpoints of a partition that is another's; after one that has taken so long, the others have none
)

// NewWorker joins the group, as soon as there is a broker.
func NewWorker(o WorkerOptions, deps WorkerDeps) (_ *Worker, err error) {
	w := &Worker{
		options: o, deps: deps, refused: telemetry.NewLimiter(time.Minute), partitions: map[int32]*RemoteDetector{},
		lost:  prometheus.NewCounter(prometheus.CounterOpts{Name: "netlyra_detect_refused_total", Help: "Alerts and checkpoints that the broker will never take."}),
		stats: prometheus.NewDesc("netlyra_detect_total", "What the detectors of all partitions have done since the start, by kind.", []string{"kind"}, nil),
	}
	if _, err := NewRemoteDetector(o.Remote, RemoteDeps{}); err != nil { // so that wrong options are known at once
		return nil, err
	}
	if w.producer, err = deps.Broker.Producer(); err != nil {
		return nil, err
	}
	w.member, err = deps.Broker.Member(o.Group, bus.TopicSlots, kafka.Handover{Assigned: w.assigned, Revoked: w.revoked})
	return w, err
}

// Run detects until ctx ends, then leaves checkpoints for those that go on.
func (w *Worker) Run(ctx context.Context) error {
	next := time.Time{}
	for {
		limited, stop := context.WithTimeout(ctx, pollWait)
		records, err := w.member.Poll(limited)
		stop()
		for i := range records {
			if err := w.take(ctx, &records[i]); err != nil {
				return w.stop(ctx, err)
			}
		}
		switch {
		case ctx.Err() != nil, errors.Is(err, bus.ErrClosed):
			return w.leave(ctx)
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("detect: %w", err)
		case err == nil:
			if err := w.member.Commit(ctx); err != nil {
				return w.stop(ctx, err)
			}
		}
		if now := time.Now(); now.After(next) {
			next = now.Add(signEvery)
			w.sign(now)
		}
	}
}

// stop leaves the group. The error that made it is no more where the program is to end.
func (w *Worker) stop(ctx context.Context, cause error) error {
	err := w.leave(ctx)
	if ctx.Err() == nil && !errors.Is(cause, bus.ErrClosed) {
		err = errors.Join(cause, err)
	}
	return err
}

func (w *Worker) take(ctx context.Context, r *bus.Record) error {
	e, ok := r.Value.(bus.Encoded)
	d := w.of(r.Partition)
	if !ok || d == nil { // given away meanwhile
		return nil
	}
	return d.Take(ctx, Entry{Sensor: r.Key, Offset: r.Offset, Record: e.Data})
}

func (w *Worker) of(partition int32) *RemoteDetector {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.partitions[partition]
}

// assigned takes a partition over.
func (w *Worker) assigned(ctx context.Context, partition int32, checkpoints []bus.Record) (from int64, err error) {
	d, err := NewRemoteDetector(w.options.Remote, RemoteDeps{Checkpoints: checkpointsTo{w}, Alerts: alertsTo{w}, Rejected: w.rejected(partition), Log: w.deps.Log})
	if err != nil {
		return 0, err
	}
	latest := map[string][]byte{}
	for _, c := range checkpoints {
		if b, ok := c.Value.(bus.Blob); ok {
			latest[c.Key] = b
		}
	}
	if from, err = d.Begin(ctx, latest); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partitions[partition] = d
	w.deps.Log.LogAttrs(ctx, slog.LevelInfo, "partition taken over", slog.Int("partition", int(partition)), slog.Int("sensors", len(latest)), slog.Int64("offset", from))
	return from, nil
}

// revoked leaves partitions to others, with what has been judged of them. It takes giveUp for those that the broker does not take, however many they are.
func (w *Worker) revoked(partitions []int32) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for _, p := range partitions {
		if !w.handOver(ctx, p) {
			stop()
		}
	}
}

// handOver leaves a partition to others. It returns false if its last checkpoints were not written.
func (w *Worker) handOver(ctx context.Context, partition int32) bool {
	w.mu.Lock()
	d := w.partitions[partition]
	delete(w.partitions, partition)
	if d != nil {
		w.before.add(d.Counts())
	}
	w.mu.Unlock()
	if d == nil {
		return true
	}
	limited, stop := context.WithTimeout(ctx, giveUp)
	defer stop()
	attrs := []slog.Attr{slog.Int("partition", int(partition))}
	if err := d.End(limited); err != nil { // a successor judges more again
		w.deps.Log.LogAttrs(ctx, slog.LevelWarn, "partition given up without its last checkpoints", append(attrs, slog.Any("error", err))...)
		return !errors.Is(err, context.DeadlineExceeded)
	}
	w.deps.Log.LogAttrs(ctx, slog.LevelInfo, "partition given up", attrs...)
	return true
}

// leave gives all partitions up, and leaves the group.
func (w *Worker) leave(ctx context.Context) error {
	w.mu.Lock()
	all := slices.Collect(maps.Keys(w.partitions))
	w.mu.Unlock()
	w.revoked(all)
	if err := w.member.Close(); err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	w.deps.Log.LogAttrs(ctx, slog.LevelInfo, "left the group", slog.String("group", w.options.Group))
	return nil
}

// sign gives a sign of life for each sensor that is followed.
func (w *Worker) sign(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.partitions {
		for sensor, s := range d.States() {
			w.producer.TryProduce(bus.Record{Topic: bus.TopicSensors, Key: sensor, Value: bus.Sensor{
				Role: bus.RoleDetector, Version: w.options.Version, Boot: w.options.Boot, TS: models.Micros(now.UnixMicro()), Source: w.options.Group, Detector: s,
			}})
		}
	}
}

// rejected puts what cannot be read aside.
func (w *Worker) rejected(partition int32) func(ctx context.Context, e Entry, reason error) error {
	return func(_ context.Context, e Entry, reason error) error {
		if !errors.Is(reason, bus.ErrVersion) { // that stays for a newer program
			w.producer.TryProduce(bus.Record{Topic: bus.TopicDLQ, Key: e.Sensor, Value: bus.Rejected{
				Topic: bus.TopicSlots, Partition: partition, Offset: e.Offset, Key: e.Sensor, Reason: reason.Error(), Data: bytes.Clone(e.Record),
			}})
		}
		return nil
	}
}

// alertsTo sends alerts to the broker, and waits until it has them: a slot has few.
type alertsTo struct{ w *Worker }

func (s alertsTo) Send(ctx context.Context, alerts []models.Alert) error {
	records := make([]bus.Record, len(alerts))
	for i := range alerts {
		a := alerts[i]
		records[i] = bus.Record{Topic: bus.TopicAlerts, Key: a.ID, Value: bus.Alert{Alert: &a}}
	}
	_, err := s.w.deliver(ctx, records)
	return err
}

func (alertsTo) Flush(context.Context) error { return nil }

// checkpointsTo keeps checkpoints on the broker.
type checkpointsTo struct{ w *Worker }

func (c checkpointsTo) Save(ctx context.Context, sensor string, b []byte) error {
	lost, err := c.w.deliver(ctx, []bus.Record{{Topic: bus.TopicState, Key: sensor, Value: bus.Blob(bytes.Clone(b))}})
	if err == nil && lost > 0 {
		err = ErrCheckpoint
	}
	return err
}

// Forget takes a sensor's checkpoint out.
func (c checkpointsTo) Forget(ctx context.Context, sensor string) error {
	_, err := c.w.deliver(ctx, []bus.Record{{Topic: bus.TopicState, Key: sensor, Value: bus.Blob(nil)}})
	return err
}

const againAfter = 2 * time.Second // for what the broker has refused, as it does while the user may not write to the topic

// deliver returns when the broker has all records, but for those that it will never take: they are counted, and the rest goes on without them.
func (w *Worker) deliver(ctx context.Context, records []bus.Record) (lost int, _ error) {
	for {
		var again []bus.Record
		for i, err := range w.deps.Broker.Deliver(ctx, records) {
			switch {
			case err == nil:
				continue
			case ctx.Err() != nil, errors.Is(err, bus.ErrClosed):
				return lost, err
			case errors.Is(err, bus.ErrRecord):
				lost++
				w.lost.Inc()
			default:
				again = append(again, records[i])
			}
			w.refused.Log(ctx, w.deps.Log, slog.LevelError, "the broker refuses a record", slog.String("topic", string(records[i].Topic)), slog.String("key", records[i].Key), slog.Any("error", err))
		}
		if records = again; len(records) == 0 {
			return lost, nil
		}
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return lost, ctx.Err()
		}
	}
}

func (c *RemoteCounts) add(o RemoteCounts) {
	for _, f := range []struct {
		to *uint64
		n  uint64
	}{
		{&c.Slots, o.Slots},
		{&c.Checkpoints, o.Checkpoints},
		{&c.Restarts, o.Restarts},
		{&c.Missing, o.Missing},
		{&c.Cut, o.Cut},
		{&c.Repeated, o.Repeated},
		{&c.Damaged, o.Damaged},
		{&c.Newer, o.Newer},
		{&c.Second, o.Second},
		{&c.Refused, o.Refused},
		{&c.Forgotten, o.Forgotten},
	} {
		*f.to += f.n
	}
}

// Counts is what all detectors have done since the start.
func (w *Worker) Counts() RemoteCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := w.before
	for _, d := range w.partitions {
		sum.add(d.Counts())
	}
	return sum
}

// Describe implements prometheus.Collector.
func (w *Worker) Describe(ch chan<- *prometheus.Desc) { ch <- w.stats; w.lost.Describe(ch) }

// Collect implements prometheus.Collector.
func (w *Worker) Collect(ch chan<- prometheus.Metric) {
	c := w.Counts()
	for kind, n := range map[string]uint64{
		"slots": c.Slots, "checkpoints": c.Checkpoints, "restarts": c.Restarts, "missing": c.Missing, "cut": c.Cut, "repeated": c.Repeated, "damaged": c.Damaged,
		"newer_version": c.Newer, "second_sensor": c.Second, "refused_sensor": c.Refused,
		"forgotten_sensor": c.Forgotten,
	} {
		ch <- prometheus.MustNewConstMetric(w.stats, prometheus.CounterValue, float64(n), kind)
	}
	w.lost.Collect(ch)
}
