package main

import (
	"context"
	"log/slog"
	"time"

	"netlyra/internal/capture"
	"netlyra/internal/models"
)

// linksOf are the interfaces of all rings, each once: its state, and what the kernel has counted in all of them.
func linksOf(rings []*capture.Ring) []models.Interface {
	all := rings[0].Links()
	for _, r := range rings[1:] { // each has the same interfaces
		for i, l := range r.Links() {
			all[i].Received += l.Received
			all[i].Dropped += l.Dropped
		}
	}
	return all
}

const linkEvery = 500 * time.Millisecond

// watchLinks logs every change of an interface until ctx ends.
func (w *watcher) watchLinks(ctx context.Context) error {
	before := map[string]string{}
	for _, l := range w.links() {
		before[l.Name] = l.Link
	}
	tick := time.NewTicker(linkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, l := range w.links() {
			if before[l.Name] == l.Link {
				continue
			}
			level := slog.LevelInfo
			if l.Link == "down" || l.Link == "gone" {
				level = slog.LevelWarn
			}
			w.log.LogAttrs(ctx, level, "interface changed",
				slog.String("interface", l.Name), slog.String("link", l.Link), slog.String("before", before[l.Name]))
			before[l.Name] = l.Link
		}
	}
}
