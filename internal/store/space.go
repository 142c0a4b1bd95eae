package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"netlyra/internal/models"
)

// spaceEvery is how often the free space is asked for.
const spaceEvery = time.Second

// space remembers how much there was when it was last asked for.
type space struct {
	asked time.Time
	low   bool
}

// lowSpace says whether the disk has less than MinFree left, and keeps Health up to date with it.
func (w *writer) lowSpace(ctx context.Context) bool {
	now := time.Now()
	if now.Sub(w.space.asked) < min(spaceEvery, w.opts.RetainEvery) {
		return w.space.low
	}
	w.space.asked = now
	free, err := freeBytes(filepath.Dir(w.opts.Path))
	if err != nil {
		w.space.low = false // not known: the write itself will tell
		return false
	}
	w.space.low = free < w.opts.MinFree
	text := ""
	if w.space.low {
		text = fmt.Sprintf("less than %d MB are free on the disk that holds %s: free space there; until then only alerts are stored",
			w.opts.MinFree/1_000_000, w.opts.Path)
	}
	if !w.health.set(troubleSpace, models.StoreLowSpace, text, w.opts.Now()) {
		return w.space.low
	}
	if w.space.low {
		w.log.LogAttrs(ctx, slog.LevelError, "disk is nearly full, only alerts are stored",
			slog.String("path", w.opts.Path), slog.Int64("free_bytes", free), slog.Int64("needed_bytes", w.opts.MinFree))
	} else {
		w.log.LogAttrs(ctx, slog.LevelInfo, "disk has space again", slog.Int64("free_bytes", free))
	}
	return w.space.low
}
