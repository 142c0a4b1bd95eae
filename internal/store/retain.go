package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
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
	vacuumPages      = 2000 // pages given back to the file system at a time
	slackPages       = 256  // free pages that a file may keep for new rows, or
	slackShare       = 32   // this part of its pages
	busyCheckpoint   = 20   // ms that a checkpoint waits for readers; the next one will do
	busyWrite        = 1000 // ms that the writer waits for another program's lock, before it tries again
	shareWAL         = 8    // the write-ahead log may be this part of the size limit before it is folded into the database
	mostWritten      = 8e6  // bytes that one transaction adds to the log at most, where the size limit is not small
	shareReserved    = 2    // the part of the size limit that alerts keep, and answered connections the other
	sizesEvery       = 10 * time.Second
)

// retention deletes what is too old or too much in small pieces between the writer's other work, at most half of the
// time: one large deletion of 300,000 of a million rows made an insert wait for 3.6 s, these pieces for 0.2 s.
type retention struct {
	next    time.Time // not before, on the real clock: it paces work, whatever the wall clock says
	chunks  int       // since the last truncation
	deleted int64     // since the last pause

	sized      time.Time // when alertBytes was estimated
	alertBytes int64
}

// retainStep deletes one piece, or gives free pages back, if it is time to, and says whether it did.
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
	surplus := int64(0)
	if n == 0 || w.retain.chunks >= checkpointChunks {
		chunks := w.retain.chunks
		w.retain.chunks = 0
		if surplus, err = w.giveBack(ctx, chunks > 0); err != nil {
			w.retain.next = start.Add(w.opts.RetainEvery)
			return true, err
		}
	}
	if n > 0 || surplus > 0 {
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

// makeRoom deletes one piece of what gives way first while the database is larger than it may be, and folds a write-ahead log that is
// too large into it. It says whether rows have to wait: for the next piece, or for readers that hold the log.
func (w *writer) makeRoom(ctx context.Context) (wait bool, err error) {
	if info, err := os.Stat(w.opts.Path + "-wal"); err == nil && info.Size() > max(w.opts.MaxBytes/shareWAL, w.walBytes()) {
		if err := w.truncateLog(ctx); err != nil {
			return true, err
		}
		if info, err = os.Stat(w.opts.Path + "-wal"); err == nil && info.Size() > max(w.opts.MaxBytes/shareWAL, w.walBytes()) {
			w.due = false // until the next tick
			return true, nil
		}
	}
	n, err := w.deleteOversize(ctx)
	w.retain.deleted += n
	return n > 0, err
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
			`DELETE FROM hosts WHERE rowid IN
			(SELECT rowid FROM hosts WHERE inserted_at < ? AND last_ts < ? ORDER BY inserted_at LIMIT ?)`,
			[]any{connections, connections, retainRows},
		},
		{surplusHosts("WHERE packets_recv = 0"), []any{retainRows, w.opts.MaxHosts}},
		{surplusHosts(""), []any{retainRows, w.opts.MaxHosts}},
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

// surplusHosts deletes the oldest hosts, of those that are of a kind, while there are more hosts than there may be.
func surplusHosts(of string) string {
	return `DELETE FROM hosts WHERE rowid IN (SELECT rowid FROM hosts ` + of + ` ORDER BY inserted_at LIMIT
		max(0, min(?, (SELECT count(*) FROM hosts) - ?)))`
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

// maxUsed is how large the database itself may be: the size limit without the write-ahead log's share and what a transaction adds to it.
func (w *writer) maxUsed() int64 {
	share := w.opts.MaxBytes / shareWAL
	return w.opts.MaxBytes - share - min(share, mostWritten)
}

// deleteOversize deletes rows while the database is too large: first the oldest connections that nobody has answered, whatever is older
// otherwise; then hosts beyond their number, those that nobody has answered first; then, if alerts take more than their share, the oldest alerts; then the oldest connections.
func (w *writer) deleteOversize(ctx context.Context) (int64, error) {
	used, err := usedBytes(ctx, w.write)
	if err != nil || used <= w.maxUsed() {
		return 0, err
	}
	connections := `DELETE FROM connections WHERE id IN (SELECT id FROM connections ORDER BY inserted_at LIMIT ?)`
	alerts := `DELETE FROM alerts WHERE id IN (SELECT id FROM alerts ORDER BY inserted_at LIMIT ?)`
	order := []string{
		`DELETE FROM connections WHERE id IN (SELECT id FROM connections INDEXED BY connections_unanswered WHERE packets_down = 0
			ORDER BY inserted_at LIMIT ?)`,
		connections, alerts,
	}
	for i, q := range order {
		if i == 1 {
			for _, of := range []string{"WHERE packets_recv = 0", ""} {
				n, err := w.deleteRows(ctx, surplusHosts(of), []any{w.flushRows(), w.opts.MaxHosts})
				if n > 0 || err != nil {
					return n, err
				}
			}
			many, err := w.manyAlerts(ctx)
			if err != nil {
				return 0, err
			}
			if many {
				q, order[2] = alerts, connections
			}
		}
		n, err := w.deleteRows(ctx, q, []any{w.flushRows()})
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// manyAlerts says whether alerts take more than their share, by an estimate.
func (w *writer) manyAlerts(ctx context.Context) (bool, error) {
	if time.Since(w.retain.sized) > min(sizesEvery, w.opts.RetainEvery) {
		err := w.write.QueryRowContext(ctx, `SELECT CAST((SELECT count(*) FROM alerts) * COALESCE((SELECT avg(600 + length(features) + length(facts)
			+ length(reasons) + length(peers) + length(ports) + length(detector) + length(summary) + length(counterfactual))
			FROM (SELECT * FROM alerts ORDER BY rowid DESC LIMIT 200)), 0) AS INTEGER)`).Scan(&w.retain.alertBytes)
		if err != nil {
			return false, fmt.Errorf("store: size of the alerts: %w", err)
		}
		w.retain.sized = time.Now()
	}
	return w.retain.alertBytes > w.opts.MaxBytes/shareReserved, nil
}

func (w *writer) deleteRows(ctx context.Context, query string, args []any) (int64, error) {
	res, err := w.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("store: retention: %w", err)
	}
	return res.RowsAffected()
}

// giveBack gives pages that are free beyond some slack back to the file system, and shortens the write-ahead log, if either is
// needed. It returns how many pages are left to give back.
func (w *writer) giveBack(ctx context.Context, deleted bool) (surplus int64, err error) {
	var free, pages int64
	err = w.write.QueryRowContext(ctx, "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count").Scan(&free, &pages)
	if err != nil {
		return 0, fmt.Errorf("store: free pages: %w", err)
	}
	surplus = free - max(slackPages, pages/slackShare)
	if surplus <= 0 && !deleted {
		return 0, nil
	}
	if surplus > 0 {
		if _, err := w.write.ExecContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", min(surplus, vacuumPages))); err != nil {
			return 0, fmt.Errorf("store: give back free pages: %w", err)
		}
	}
	return max(0, surplus-vacuumPages), w.truncateLog(ctx)
}

// truncateLog folds the write-ahead log into the database and shortens it, unless readers hold it.
func (w *writer) truncateLog(ctx context.Context) error {
	for _, q := range []string{
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
