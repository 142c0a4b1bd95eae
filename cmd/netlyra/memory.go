package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/state"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
)

// memory keeps what the detector has learned, on disk.
type memory struct {
	file    *state.File
	log     *slog.Logger
	aside   []state.Aside
	unsaved *telemetry.Limiter     // the line about what is not saved
	problem atomic.Pointer[string] // of the last attempt to save; nil: it went well
}

// openMemory takes the state at path for this program.
func openMemory(path string, log *slog.Logger) (*memory, error) {
	file, err := state.Open(path)
	if err != nil {
		return nil, err
	}
	return &memory{file: file, log: log, unsaved: telemetry.NewLimiter(time.Minute)}, nil
}

// options is what the pipeline needs of it; nil where nothing is kept.
func (m *memory) options(every time.Duration) *pipeline.Memory {
	if m == nil {
		return nil
	}
	return &pipeline.Memory{Restore: m.restore, Save: m.save, Every: every}
}

func (m *memory) close() error {
	if m == nil {
		return nil
	}
	return m.file.Close()
}

// restore gives load what was saved last that can be used. Nothing of what it finds is a reason not to start.
func (m *memory) restore(load func([]byte) error) (err error) {
	ctx := context.Background()
	m.aside, err = m.file.Load(detect.MaxStateBytes, load, foreign, time.Now())
	for _, a := range m.aside {
		m.log.LogAttrs(ctx, slog.LevelError, "what was learned cannot be used, set aside",
			slog.String("path", m.file.Path()), slog.String("set_aside", a.File), slog.Any("error", a.Err))
	}
	switch {
	case errors.Is(err, state.ErrNone):
		m.log.LogAttrs(ctx, slog.LevelInfo, "nothing has been learned yet", slog.String("path", m.file.Path()))
		return nil
	case err != nil:
		return err
	}
	m.log.LogAttrs(ctx, slog.LevelInfo, "goes on with what was learned", slog.String("path", m.file.Path()))
	return nil
}

// foreign says whether a state that is refused is sound, but for another program.
func foreign(err error) bool { return errors.Is(err, detect.ErrStateOther) }

func (m *memory) save(b []byte) error {
	err := m.file.Save(b)
	before := m.problem.Load()
	if err == nil {
		m.problem.Store(nil)
		if before != nil {
			m.log.LogAttrs(context.Background(), slog.LevelInfo, "what has been learned can be saved again", slog.String("path", m.file.Path()))
		}
		return nil
	}
	problem := err.Error()
	m.problem.Store(&problem)
	m.unsaved.Log(context.Background(), m.log, slog.LevelError, "what has been learned is not saved, tried again later", slog.Any("error", err))
	return err
}

// health lists what is wrong with it.
func (m *memory) health() (reasons []api.Reason) {
	if m == nil {
		return nil
	}
	if problem := m.problem.Load(); problem != nil {
		reasons = append(reasons, api.Reason{Code: "state_failing", Message: "What has been learned is not saved: " + *problem})
	}
	for _, a := range m.aside {
		reasons = append(reasons, api.Reason{Code: "state_set_aside", Message: fmt.Sprintf("What was learned could not be used and has been set aside as %s: %v", a.File, a.Err)})
	}
	return reasons
}

// statePath is where analyze keeps the state of a sensor: a file, or in a directory the sensor's.
func statePath(path, sensor string) string {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() || os.IsPathSeparator(path[len(path)-1]) {
		return state.Path(path, sensor)
	}
	return path
}

// cutOff are the alerts of a sensor that are open in the database but that nobody goes on with: the program ended before it could save
// what it knew. They come closed, at their own time.
func cutOff(ctx context.Context, s *store.Store, sensor string, goOn []string) (alerts []*models.Alert, err error) {
	going := map[string]bool{}
	for _, id := range goOn {
		going[id] = true
	}
	q := models.AlertQuery{State: models.AlertOpen, Triage: models.TriageAll, Limit: models.MaxPageLimit}
	for {
		page, err := s.Alerts(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			a := &page.Items[i]
			if a.Sensor != sensor || going[a.ID] {
				continue
			}
			a.Rev++
			a.State = models.AlertClosed
			a.Summary += " It is not known how this went on: the program ended."
			alerts = append(alerts, a)
		}
		if page.Next == "" {
			return alerts, nil
		}
		q.Cursor = page.Next
	}
}
