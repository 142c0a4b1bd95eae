package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// ExternalOptions configure an External.
type ExternalOptions struct {
	Sensor string
}

// ExternalDeps are what an External needs.
type ExternalDeps struct {
	Broker bus.Bus
	Log    *slog.Logger
	Now    func() time.Time // the wall clock; nil means time.Now
}

// External stands for the detector of a sensor that leaves detection to others: it reads their alerts from the broker, and hears whether one is
// at work.
type External struct {
	options ExternalOptions
	deps    ExternalDeps
	signs   bus.Consumer
	alerts  bus.Consumer

	mu     sync.Mutex
	heard  time.Time // of a detector, last
	state  models.DetectorStats
	silent bool // that has been logged
}

const (
	silentAfter = 10 * time.Second // without a sign of life
	oldSign     = time.Minute      // a sign of life that is older was in the topic before this program; the two clocks may differ by less
	lookEvery   = time.Second
)

// NewExternal joins the broker's bus.
func NewExternal(o ExternalOptions, deps ExternalDeps) (*External, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	e := &External{options: o, deps: deps, heard: deps.Now()}
	var err error
	if e.signs, err = deps.Broker.Tail(bus.TopicSensors); err != nil {
		return nil, err
	}
	alerts, err := deps.Broker.Consumer("netlyra-alerts-"+o.Sensor, bus.TopicAlerts)
	e.alerts = ownAlerts{alerts, o.Sensor}
	return e, err
}

// ownAlerts reads the alerts of one sensor.
type ownAlerts struct {
	bus.Consumer
	sensor string
}

// Poll may return no record: those that it has read are of other sensors.
func (c ownAlerts) Poll(ctx context.Context) ([]bus.Record, error) {
	records, err := c.Consumer.Poll(ctx)
	return slices.DeleteFunc(records, func(r bus.Record) bool {
		a, ok := r.Value.(bus.Alert)
		return !ok || a.Sensor != c.sensor
	}), err
}

// Fill adds what is known of the detector to the statistics of its sensor: nothing while none is heard.
func (e *External) Fill(s *models.Stats) {
	if e.Silence() > 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Detector = e.state
}

// Health says that no detector is heard.
func (e *External) Health() []api.Reason {
	silence := e.Silence()
	if silence == 0 {
		return nil
	}
	return []api.Reason{{Code: "detector_silent", Message: fmt.Sprintf("No detector has been heard for %d s, so nothing is judged. Start netlyra-engine or netlyra detect with the same brokers.", int(silence.Seconds()))}}
}

// Silence is how long no detector has given a sign of life; 0 while one does.
func (e *External) Silence() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if since := e.deps.Now().Sub(e.heard); since > silentAfter {
		return since
	}
	return 0
}

// Run listens to detectors until ctx ends, and logs when they fall silent and when one is heard again.
func (e *External) Run(ctx context.Context) error {
	for {
		limited, stop := context.WithTimeout(ctx, lookEvery)
		records, err := e.signs.Poll(limited)
		stop()
		for i := range records {
			e.hear(&records[i])
		}
		if err == nil {
			err = e.signs.Commit(ctx)
		}
		switch {
		case err == nil, errors.Is(err, context.DeadlineExceeded):
			e.tell(ctx)
		case errors.Is(err, bus.ErrClosed), errors.Is(err, context.Canceled):
			return nil
		default:
			return fmt.Errorf("signs of life of detectors: %w", err)
		}
	}
}

func (e *External) hear(r *bus.Record) {
	s, ok := r.Value.(bus.Sensor)
	if !ok || r.Key != e.options.Sensor || !slices.Contains([]bus.Role{bus.RoleDetector, bus.RoleEngine}, s.Role) {
		return
	}
	now := e.deps.Now()
	if now.Sub(time.UnixMicro(int64(s.TS))) < oldSign {
		e.mu.Lock()
		e.heard, e.state = now, s.Detector
		e.mu.Unlock()
	}
}

func (e *External) tell(ctx context.Context) {
	silence := e.Silence()
	if (silence > 0) == e.silent {
		return
	}
	e.silent = silence > 0
	sensor := slog.String("sensor", e.options.Sensor)
	if e.silent {
		e.deps.Log.LogAttrs(ctx, slog.LevelError, "no detector is heard: nothing is judged; start netlyra-engine or netlyra detect with the same brokers", sensor)
		return
	}
	e.deps.Log.LogAttrs(ctx, slog.LevelInfo, "a detector is heard", sensor)
}
