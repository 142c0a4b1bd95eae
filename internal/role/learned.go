package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/detect"
	"netlyra/internal/state"
	"netlyra/internal/telemetry"
)

// Learned keeps what a detector has learned, on disk.
type Learned struct {
	file    *state.File
	log     *slog.Logger
	aside   []state.Aside
	unsaved *telemetry.Limiter     // the line about what is not saved
	problem atomic.Pointer[string] // of the last attempt to save; nil: it went well
}

// OpenLearned takes the state at path for this program.
func OpenLearned(path string, log *slog.Logger) (*Learned, error) {
	file, err := state.Open(path)
	if err != nil {
		return nil, err
	}
	return &Learned{file: file, log: log, unsaved: telemetry.NewLimiter(time.Minute)}, nil
}

// Close gives the file up.
func (m *Learned) Close() error { return m.file.Close() }

// Restore gives load what was saved last that can be used. Nothing of what it finds is a reason not to start.
func (m *Learned) Restore(load func([]byte) error) (err error) {
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

// Save keeps a state.
func (m *Learned) Save(b []byte) error {
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

// Problem is why the last attempt to save failed; nil: it went well.
func (m *Learned) Problem() error {
	if problem := m.problem.Load(); problem != nil {
		return errors.New(*problem)
	}
	return nil
}

// Health lists what is wrong with it.
func (m *Learned) Health() (reasons []api.Reason) {
	if problem := m.problem.Load(); problem != nil {
		reasons = append(reasons, api.Reason{Code: "state_failing", Message: "What has been learned is not saved: " + *problem})
	}
	for _, a := range m.aside {
		reasons = append(reasons, api.Reason{Code: "state_set_aside", Message: fmt.Sprintf("What was learned could not be used and has been set aside as %s: %v", a.File, a.Err)})
	}
	return reasons
}
