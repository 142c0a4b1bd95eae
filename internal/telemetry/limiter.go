package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Limiter logs an event that repeats at most once an interval. A line says how often the event has happened since the line before.
type Limiter struct {
	every time.Duration

	mu   sync.Mutex
	next time.Time
	held int
}

// NewLimiter makes a limiter for one kind of event.
func NewLimiter(every time.Duration) *Limiter { return &Limiter{every: every} }

// Log logs the event, or counts it.
func (l *Limiter) Log(ctx context.Context, log *slog.Logger, level slog.Level, msg string, attrs ...slog.Attr) {
	l.mu.Lock()
	now := time.Now()
	if now.Before(l.next) {
		l.held++
		l.mu.Unlock()
		return
	}
	held := l.held
	l.held, l.next = 0, now.Add(l.every)
	l.mu.Unlock()
	if held > 0 {
		attrs = append(attrs, slog.Int("repeated", held))
	}
	log.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // the message of the caller, a constant there
}
