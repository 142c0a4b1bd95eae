// Package role has the three parts that a NetLyra installation is made of, joined by the bus alone: the sensor turns packets into slots,
// connections, hosts and series; the detector slots into alerts; the console stores what they say, and serves it. In one process values
// are handed over as they are, and what a slot holds is handed to the detector by a call: it is reused when that returns (docs/adr/0008).
//
//	sensor ── slots ── detector ── alerts ──┐
//	   └── connections, hosts, series ──────┴─ bus ── console
//
// Each is made by New with Options and Deps, in the order of this picture, and runs until Run returns.
package role

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// Part is something that runs.
type Part interface {
	// Run goes on until it has nothing more to do, or ctx ends.
	Run(ctx context.Context) error
}

// PartFunc is a Part that is one function.
type PartFunc func(ctx context.Context) error

// Run calls f.
func (f PartFunc) Run(ctx context.Context) error { return f(ctx) }

// Run runs parts in the order in which data flows, and ends them in it. The first ones (sensor and detector) end by themselves, with ctx or
// when any part fails. Then b is closed; who reads it ends when it has read what is left. The last ones (database and server) are ended
// after those.
func Run(ctx context.Context, b bus.Bus, up, readers, last []Part) error {
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	run, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(failed, stop)
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	var first sync.Once
	var cause error // later ones may follow from it
	start := func(ctx context.Context, parts []Part, failed, ended func()) {
		var running sync.WaitGroup
		running.Add(len(parts))
		for _, p := range parts {
			g.Go(func() error {
				defer running.Done()
				err := p.Run(ctx)
				if err != nil {
					first.Do(func() { cause = err })
					failed()
				}
				return err
			})
		}
		g.Go(func() error {
			running.Wait()
			ended()
			return nil
		})
	}
	nothing := func() {}
	closeBus := func() { _ = b.Close() } // what it holds is still read
	produced := make(chan struct{})
	start(rest, last, nothing, nothing)
	start(rest, readers, closeBus, func() { // nobody may wait for room that one who has failed will not make
		<-produced
		stopRest()
	})
	start(run, up, nothing, func() {
		closeBus()
		close(produced)
	})
	_ = g.Wait() // it may know a later one
	return cause
}

// Signal wakes one reader: it says that something has happened, not how often.
type Signal chan struct{}

// NewSignal makes a signal.
func NewSignal() Signal { return make(Signal, 1) }

// Set wakes the reader, and never waits.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// AlertsTo hands alerts to the bus, each with its id as key: the revisions of an incident stay in order. It waits while there is no room.
func AlertsTo(p bus.Producer) func(ctx context.Context, alerts []models.Alert) error {
	return func(ctx context.Context, alerts []models.Alert) error {
		for i := range alerts {
			a := alerts[i]
			if err := p.Produce(ctx, bus.Record{Topic: bus.TopicAlerts, Key: a.ID, Value: bus.Alert{Alert: &a}}); err != nil {
				return err
			}
		}
		return nil
	}
}
