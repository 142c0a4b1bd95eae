package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/models"
	"netlyra/internal/store"
)

// keeper takes alerts from the bus, stores them, and then shows them: what a client has seen survives a power cut. While the database
// cannot be written, alerts are shown after a short wait all the same, and stored as soon as it can be.
type keeper struct {
	store   *store.Store
	show    func(*models.Alert)
	log     *slog.Logger
	ending  func() bool              // the program has been asked to end
	failed  bool                     // the last attempt to store
	pending map[string]*models.Alert // not stored yet: the newest revision of each
	waiting uint64                   // revisions that stand behind pending
	stored  atomic.Uint64
	lost    atomic.Uint64
}

var errStillFailing = errors.New("the database could not be written a moment ago")

const (
	saveWait   = 2 * time.Second // for the database, before an alert is shown without it
	retryEvery = 2 * time.Second
	maxPending = 10_000
)

// run keeps alerts until the bus has been closed and is empty.
func (k *keeper) run(ctx context.Context, consumer bus.Consumer) error {
	k.pending = map[string]*models.Alert{}
	for {
		alerts, err := k.poll(ctx, consumer)
		if err == nil {
			k.save(ctx, alerts)
			err = consumer.Commit(ctx)
		}
		switch {
		case errors.Is(err, bus.ErrClosed), errors.Is(err, context.Canceled):
			k.save(ctx, nil)
			k.lost.Add(k.waiting)
			return nil
		case err != nil:
			return err
		}
	}
}

// poll waits for alerts, but not for ever while some wait to be stored.
func (k *keeper) poll(ctx context.Context, consumer bus.Consumer) ([]*models.Alert, error) {
	wait := ctx
	if len(k.pending) > 0 {
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
			alerts = append(alerts, a.Alert)
		}
	}
	return alerts, err
}

// save stores alerts, those that wait first, and shows them.
func (k *keeper) save(ctx context.Context, alerts []*models.Alert) {
	batch := make([]*models.Alert, 0, len(k.pending)+len(alerts))
	for _, a := range k.pending {
		batch = append(batch, a)
	}
	batch = append(batch, alerts...)
	if len(batch) == 0 {
		return
	}
	err := errStillFailing
	if !k.failed || !k.ending() || len(alerts) == 0 { // at the end, one wait for a database that fails is enough, and one last attempt
		limited, stop := context.WithTimeout(ctx, saveWait)
		err = k.store.SaveAlerts(limited, batch)
		stop()
	}
	k.failed = err != nil
	if err == nil {
		k.stored.Add(k.waiting + uint64(len(alerts)))
		k.waiting = 0
		clear(k.pending)
	} else {
		k.keep(alerts)
		k.log.LogAttrs(ctx, slog.LevelError, "alerts not stored yet", slog.Int("alerts", len(k.pending)), slog.Any("error", err))
	}
	for _, a := range alerts {
		k.show(a)
		k.tell(ctx, a)
	}
}

// tell writes the first and the last revision of an incident to the log.
func (k *keeper) tell(ctx context.Context, a *models.Alert) {
	attrs := []slog.Attr{
		slog.String("id", a.ID), slog.String("category", string(a.Category)), slog.String("severity", string(a.Severity)),
		slog.Float64("score", a.Score), slog.String("summary", a.Summary),
	}
	switch {
	case a.State == models.AlertClosed:
		k.log.LogAttrs(ctx, slog.LevelInfo, "alert closed", attrs...)
	case a.Rev == 1:
		k.log.LogAttrs(ctx, slog.LevelWarn, "alert", attrs...)
	}
}

// keep puts alerts by for later; a newer revision takes the place of an older one.
func (k *keeper) keep(alerts []*models.Alert) {
	for _, a := range alerts {
		if k.pending[a.ID] == nil && len(k.pending) >= maxPending {
			k.lost.Add(1)
			continue
		}
		k.pending[a.ID] = a
		k.waiting++
	}
}
