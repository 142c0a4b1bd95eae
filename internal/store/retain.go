package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// The steps of the series, in seconds, and how long their points are kept, in seconds of capture time.
const (
	stepSecond = 1
	stepMinute = 60
	keepSecond = 3600
	keepMinute = 30 * 24 * 3600
)

const (
	retainRows       = 2000 // rows of one deletion: it holds up the writer for some 10 ms
	checkpointChunks = 10   // deletions between two truncations of the write-ahead log
	vacuumPages      = 500  // pages given back to the file system at a time
	busyCheckpoint   = 20   // ms that a checkpoint waits for readers; the next one will do
	busyWrite        = 1000 // ms that the writer waits for another program's lock, before it tries again
)

// retention deletes what is too old or too much in small pieces between the writer's other work, at most half of the
// time: one large deletion of 300,000 of a million rows made an insert wait for 3.6 s, these pieces for 0.2 s.
type retention struct {
	next    time.Time // not before, on the real clock: it paces work, whatever the wall clock says
	chunks  int       // since the last truncation
	deleted int64     // since the last pause
}

// retainStep deletes one piece, if it is time to, and says whether it did.
func (w *writer) retainStep(ctx context.Context) (worked bool, err error) {
	start := time.Now()
	if start.Before(w.retain.next) {
		return false, nil
	}
	n, err := w.deleteChunk(ctx)
	if err != nil {
		w.retain.next = start.Add(w.opts.RetainEvery)
		return true, err
	}
	if n > 0 {
		w.retain.chunks++
		w.retain.deleted += n
	}
	if w.retain.chunks > 0 && (n == 0 || w.retain.chunks >= checkpointChunks) {
		w.retain.chunks = 0
		err = w.giveBack(ctx)
	}
	if n > 0 {
		w.retain.next = time.Now().Add(time.Since(start))
		return true, err
	}
	if w.retain.deleted > 0 {
		w.log.LogAttrs(ctx, slog.LevelInfo, "old rows deleted", slog.Int64("rows", w.retain.deleted))
		w.retain.deleted = 0
	}
	w.retain.next = time.Now().Add(w.opts.RetainEvery)
	return true, err
}

// deleteChunk deletes up to retainRows rows of the first kind that has too many; 0: there is nothing to delete.
func (w *writer) deleteChunk(ctx context.Context) (int64, error) {
	now := w.opts.Now()
	connections := now.Add(-w.opts.ConnectionAge).UnixMicro()
	for _, d := range []struct {
		sql  string
		args []any
	}{
		{`DELETE FROM connections WHERE id IN
			(SELECT id FROM connections WHERE inserted_at < ? ORDER BY inserted_at LIMIT ?)`, []any{connections, retainRows}},
		{
			`DELETE FROM alerts WHERE id IN
			(SELECT id FROM alerts WHERE inserted_at < ? ORDER BY inserted_at LIMIT ?)`,
			[]any{now.Add(-w.opts.AlertAge).UnixMicro(), retainRows},
		},
		{ // expired, and what they have hidden has had its time too
			`DELETE FROM exceptions WHERE expires <> 0 AND expires < ?`,
			[]any{now.Add(-w.opts.AlertAge).UnixMicro()},
		},
		{
			`DELETE FROM hosts WHERE ip IN
			(SELECT ip FROM hosts WHERE inserted_at < ? AND last_ts < ? ORDER BY inserted_at LIMIT ?)`,
			[]any{connections, connections, retainRows},
		},
		{`DELETE FROM hosts WHERE ip IN (SELECT ip FROM hosts ORDER BY inserted_at LIMIT
			max(0, min(?, (SELECT count(*) FROM hosts) - ?)))`, []any{retainRows, w.opts.MaxHosts}},
		seriesChunk(stepSecond, keepSecond, now),
		seriesChunk(stepMinute, keepMinute, now),
	} {
		n, err := w.deleteRows(ctx, d.sql, d.args)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return w.deleteOversize(ctx)
}

// seriesChunk deletes points by capture time, counted from the newest one: a capture replayed with its old times keeps
// its points. A newest point in the future counts as now, so that one packet with a bad clock does not delete the rest.
func seriesChunk(step, keep int64, now time.Time) (d struct {
	sql  string
	args []any
},
) {
	d.sql = `DELETE FROM series_points WHERE step = ?1 AND ts IN
		(SELECT ts FROM series_points WHERE step = ?1 AND ts <
			min(?3, (SELECT max(ts) FROM series_points WHERE step = ?1)) - ?2 ORDER BY ts LIMIT ?4)`
	d.args = []any{step, keep, now.Unix(), retainRows}
	return d
}

// deleteOversize deletes the oldest rows while the database is too large: connections first, alerts when none are left.
func (w *writer) deleteOversize(ctx context.Context) (int64, error) {
	used, err := usedBytes(ctx, w.write)
	if err != nil || used <= w.opts.MaxBytes {
		return 0, err
	}
	for _, q := range []string{
		`DELETE FROM connections WHERE id IN (SELECT id FROM connections ORDER BY inserted_at LIMIT ?)`,
		`DELETE FROM alerts WHERE id IN (SELECT id FROM alerts ORDER BY inserted_at LIMIT ?)`,
	} {
		n, err := w.deleteRows(ctx, q, []any{retainRows})
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

func (w *writer) deleteRows(ctx context.Context, query string, args []any) (int64, error) {
	res, err := w.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("store: retention: %w", err)
	}
	return res.RowsAffected()
}

// giveBack folds the write-ahead log into the database and shortens both files.
func (w *writer) giveBack(ctx context.Context) error {
	for _, q := range []string{
		fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumPages),
		fmt.Sprintf("PRAGMA busy_timeout = %d", busyCheckpoint),
		"PRAGMA wal_checkpoint(TRUNCATE)",
		fmt.Sprintf("PRAGMA busy_timeout = %d", busyWrite),
	} {
		if _, err := w.write.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("store: %s: %w", q, err)
		}
	}
	return nil
}
