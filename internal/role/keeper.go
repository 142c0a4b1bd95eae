package role

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/models"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"

	"github.com/prometheus/client_golang/prometheus"
)

// keeper takes alerts from the bus, stores them, and then shows those that are not hidden: what a client has seen survives a power cut.
// While the database cannot be written, alerts are shown after a short wait all the same, and stored as soon as they can be: hidden are then
// those that the exceptions hide as they were read last, and the incidents that were hidden when they were stored last. From a broker, which delivers again what is
// not committed, nothing more is taken until those are stored.
type keeper struct {
	store   *store.Store
	show    func(*models.Alert)
	log     *slog.Logger
	ending  func() bool                // the program has been asked to end
	closed  <-chan struct{}            // with the bus
	unsaved *telemetry.Limiter         // the line about alerts that are not stored
	again   bool                       // what is not committed comes again with the next start: nothing more is taken while some is not stored
	failed  bool                       // the last attempt to store
	pending map[string]pending         // not stored yet, by id
	logged  map[string]models.Severity // of open incidents: the severity that the log has for them
	unseen  map[string]bool            // open incidents that were hidden when they were stored last
	stored  atomic.Uint64              // revisions, as are the others
	hidden  atomic.Uint64
	lost    atomic.Uint64
	raised  *prometheus.CounterVec // incidents
	wrote   prometheus.Histogram   // times to store
}

func newKeeper(s *store.Store, show func(*models.Alert), log *slog.Logger, ending func() bool, closed <-chan struct{}, again bool) *keeper {
	k := &keeper{
		store: s, show: show, log: log, ending: ending, closed: closed, again: again,
		unsaved: telemetry.NewLimiter(time.Minute), pending: map[string]pending{}, logged: map[string]models.Severity{}, unseen: map[string]bool{},
		raised: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netlyra_alerts_total", Help: "Incidents raised, hidden ones included, by category and the severity at first.",
		}, []string{"category", "severity"}),
		wrote: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "netlyra_store_write_duration_seconds", Help: "Time to store alerts, failed attempts included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
	}
	for _, c := range models.Categories() { // from 0, so that a rule sees the first rise
		for _, s := range models.Severities() {
			k.raised.WithLabelValues(string(c), string(s))
		}
	}
	return k
}

// register gives the metrics of alerts and their database to a registry.
func (k *keeper) register(r prometheus.Registerer) error {
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "netlyra_store_database_bytes", Help: "Size of the database on the disk, its log included.",
	}, func() float64 { return float64(k.store.FileBytes()) })
	return errors.Join(r.Register(k.raised), r.Register(k.wrote), r.Register(size))
}

// pending is the newest revision of an alert, and how many it stands for.
type pending struct {
	*models.Alert
	revisions uint64
}

var errStillFailing = errors.New("the database could not be written a moment ago")

const (
	saveWait   = 2 * time.Second // for the database, before an alert is shown without it
	retryEvery = 2 * time.Second
	maxPending = 10_000
)

// run keeps alerts until the bus has been closed and is empty.
func (k *keeper) run(ctx context.Context, consumer bus.Consumer) error {
	for {
		alerts, err := k.poll(ctx, consumer)
		if err == nil {
			k.save(ctx, alerts)
			if len(k.pending) == 0 || !k.again {
				err = consumer.Commit(ctx)
			}
		}
		switch {
		case errors.Is(err, bus.ErrClosed), errors.Is(err, context.Canceled):
			k.save(ctx, nil)
			if !k.again {
				for _, p := range k.pending {
					k.lost.Add(p.revisions)
				}
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// poll waits for alerts, but not for ever while some wait to be stored.
func (k *keeper) poll(ctx context.Context, consumer bus.Consumer) ([]*models.Alert, error) {
	wait := ctx
	if len(k.pending) > 0 && k.again {
		retry := time.NewTimer(retryEvery)
		defer retry.Stop()
		select {
		case <-retry.C:
			return nil, nil
		case <-k.closed:
		case <-ctx.Done():
		}
	} else if len(k.pending) > 0 {
		var stop context.CancelFunc
		wait, stop = context.WithTimeout(ctx, retryEvery)
		defer stop()
	}
	records, err := consumer.Poll(wait)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	alerts := make([]*models.Alert, 0, len(records))
	for _, r := range records {
		if a, ok := r.Value.(bus.Alert); ok {
			own := *a.Alert // other consumers may have the record too, and the store writes what holds for an alert into it
			alerts = append(alerts, &own)
		}
	}
	return alerts, err
}

// save stores alerts, those that wait first, and shows those that are not hidden.
func (k *keeper) save(ctx context.Context, alerts []*models.Alert) {
	batch := make([]*models.Alert, 0, len(k.pending)+len(alerts))
	for _, p := range k.pending {
		batch = append(batch, p.Alert)
	}
	batch = append(batch, alerts...)
	if len(batch) == 0 {
		return
	}
	err := errStillFailing
	if !k.failed || !k.ending() || len(alerts) == 0 { // at the end, one wait for a database that fails is enough, and one last attempt
		limited, stop := context.WithTimeout(ctx, saveWait)
		start := time.Now()
		err = k.store.SaveAlerts(limited, batch)
		k.wrote.Observe(time.Since(start).Seconds())
		stop()
	}
	k.failed = err != nil
	if err == nil {
		k.count(alerts)
		clear(k.pending)
	} else {
		k.keep(alerts)
		k.unsaved.Log(ctx, k.log, slog.LevelError, "alerts not stored yet", slog.Int("alerts", len(k.pending)), slog.Any("error", err))
	}
	for _, a := range alerts {
		if a.Rev == 1 {
			k.raised.WithLabelValues(string(a.Category), string(a.Severity)).Inc()
		}
		if !k.hides(a) {
			k.show(a)
			k.logAlert(ctx, a)
		} else if a.State == models.AlertClosed {
			delete(k.logged, a.ID)
		}
	}
}

// hides says whether an alert is hidden: as it is stored, or as far as that is known of one that could not be.
func (k *keeper) hides(a *models.Alert) bool {
	hidden := a.Triage == models.TriageHidden
	if _, shown := k.logged[a.ID]; k.failed {
		hidden = k.unseen[a.ID] || !shown && k.store.Hides(a) // what was shown before may have been taken out of an exception by a person
	}
	if hidden && a.State != models.AlertClosed {
		k.unseen[a.ID] = true
	} else {
		delete(k.unseen, a.ID)
	}
	return hidden
}

// count counts what has been stored: hidden or not.
func (k *keeper) count(alerts []*models.Alert) {
	of := map[bool]*atomic.Uint64{true: &k.hidden, false: &k.stored}
	for _, p := range k.pending {
		of[p.Triage == models.TriageHidden].Add(p.revisions)
	}
	for _, a := range alerts {
		of[a.Triage == models.TriageHidden].Add(1)
	}
}

// logAlert logs an incident when it is raised, whenever its severity has risen, and when it closes.
func (k *keeper) logAlert(ctx context.Context, a *models.Alert) {
	before, known := k.logged[a.ID]
	switch {
	case a.State == models.AlertClosed:
		delete(k.logged, a.ID)
		k.log.LogAttrs(ctx, slog.LevelInfo, "alert closed", alertAttrs(a)...)
	case a.Rev == 1:
		k.logged[a.ID] = a.Severity
		k.log.LogAttrs(ctx, slog.LevelWarn, "alert", alertAttrs(a)...)
	case !known: // raised before this program started
		k.logged[a.ID] = a.Severity
	case severityRank(a.Severity) > severityRank(before):
		k.logged[a.ID] = a.Severity
		k.log.LogAttrs(ctx, slog.LevelWarn, "alert escalated", append(alertAttrs(a), slog.String("severity_before", string(before)))...)
	}
}

// alertAttrs are the members of an alert's line in the log.
func alertAttrs(a *models.Alert) []slog.Attr {
	return []slog.Attr{
		slog.String("id", a.ID), slog.String("category", string(a.Category)), slog.String("severity", string(a.Severity)),
		slog.Float64("score", a.Score), slog.Uint64("count", a.Count),
		slog.String("src_ip", a.SrcIP), slog.Int("src_port", int(a.SrcPort)), slog.String("dst_ip", a.DstIP), slog.Int("dst_port", int(a.DstPort)),
		slog.String("proto", a.Proto), slog.String("sensor", a.Sensor), slog.String("summary", a.Summary),
	}
}

// severityRank orders severities.
func severityRank(s models.Severity) int {
	return slices.Index(models.Severities(), s)
}

// keep puts alerts by for later; a newer revision takes the place of an older one.
func (k *keeper) keep(alerts []*models.Alert) {
	for _, a := range alerts {
		before, there := k.pending[a.ID]
		if !there && len(k.pending) >= maxPending {
			k.lost.Add(1)
			continue
		}
		k.pending[a.ID] = pending{a, before.revisions + 1}
	}
}
