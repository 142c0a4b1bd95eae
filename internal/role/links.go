package role

import (
	"context"
	"log/slog"
	"time"
)

const linkEvery = 500 * time.Millisecond

// watchLinks logs every change of an interface until ctx ends.
func (s *Sensor) watchLinks(ctx context.Context) {
	before := map[string]string{}
	for _, l := range s.deps.Links() {
		before[l.Name] = l.Link
	}
	tick := time.NewTicker(linkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, l := range s.deps.Links() {
			if before[l.Name] == l.Link {
				continue
			}
			level := slog.LevelInfo
			if l.Link == "down" || l.Link == "gone" {
				level = slog.LevelWarn
			}
			s.deps.Log.LogAttrs(ctx, level, "interface changed",
				slog.String("interface", l.Name), slog.String("link", l.Link), slog.String("before", before[l.Name]))
			before[l.Name] = l.Link
		}
	}
}
