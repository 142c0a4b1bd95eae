package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"netlyra/internal/models"
)

const (
	watchEvery = time.Second // between two looks at the files
	maxAsides  = 3           // damaged databases that one run sets aside: beyond that it is the disk
)

// maySetAside says whether a damaged database may still be set aside.
func (w *writer) maySetAside() bool { return w.asides < maxAsides }

// keepOpen sees to it that the database is open, is the one that stands at its path, and is sound as far as is known. An error means
// that it cannot be written now.
func (w *writer) keepOpen(ctx context.Context) error {
	w.hearVerdict(ctx)
	if w.damage != nil && w.maySetAside() {
		w.asides++
		why := w.damage
		w.check.stop()
		if err := w.setAside(why.Error()); err != nil {
			return err
		}
		w.damage = nil
		w.showPast(models.StoreDamaged, w.opts.Path+" was damaged and has been set aside; a new database is in use")
	}
	if w.write == nil {
		if err := w.reopen(ctx); err != nil {
			return err
		}
	}
	if time.Since(w.watched) < min(watchEvery, w.opts.RetainEvery) {
		return nil
	}
	w.watched = time.Now()
	w.watchDescriptors(ctx)
	if w.unchecked || w.suspect.Swap(false) {
		w.unchecked = false
		w.check.start(ctx, w.Store)
	}
	if err := w.present(); err != nil {
		return w.replace(ctx, err)
	}
	return nil
}

// reopen opens the database after it could not be opened, or is gone.
func (w *writer) reopen(ctx context.Context) error {
	err := w.open(ctx)
	if err != nil && !transient(err) {
		err = errors.Join(err, w.closeFiles())
	}
	if err == nil {
		w.forget()
		w.log.LogAttrs(ctx, slog.LevelInfo, "database is open", slog.String("path", w.opts.Path))
	}
	return err
}

// replace goes on in a new file, or in the one that stands now at the path, after the open one has been deleted, moved or replaced.
func (w *writer) replace(ctx context.Context, why error) error {
	w.log.LogAttrs(ctx, slog.LevelError, "database has been deleted, moved or replaced while it was open", slog.String("path", w.opts.Path),
		slog.String("error", why.Error()))
	w.showPast(models.StoreGone, w.opts.Path+" was deleted, moved or replaced while it was open; what is stored from then on is in the file that is there now")
	w.check.stop()
	w.foldLog(ctx)
	if err := w.closeFiles(); err != nil {
		w.log.LogAttrs(ctx, slog.LevelDebug, "the database that is gone was not closed in order", slog.Any("error", err))
	}
	return w.reopen(ctx)
}

// foldLog writes what the write-ahead log holds into the database that it belongs to, wherever that is now, and takes the log's name away
// where another database has taken its place: SQLite would take the log for that one's.
func (w *writer) foldLog(ctx context.Context) {
	if r := w.readers.Swap(nil); r != nil {
		_ = r.db.Close() // so that nobody holds the log
	}
	_, err := w.write.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	if err != nil {
		w.log.LogAttrs(ctx, slog.LevelError, "write-ahead log of the database that is gone could not be saved", slog.Any("error", err))
	}
	if info, e := os.Stat(w.opts.Path); e == nil && os.SameFile(info, w.files[0].info) {
		return
	}
	for _, f := range w.files[1:] {
		if info, e := os.Stat(f.path); e == nil && os.SameFile(info, f.info) {
			_ = os.Remove(f.path)
		}
	}
}

// showPast shows for some time what has happened to the database.
func (w *writer) showPast(code, text string) {
	w.health.set(troublePast, code, fmt.Sprintf("%s (%s)", text, at(w.opts.Now())), w.opts.Now())
}

// watchDescriptors says when the process has no file descriptor left: then clients hang, and no file can be opened.
func (w *writer) watchDescriptors(ctx context.Context) {
	code, text := "", ""
	f, err := os.Open(os.DevNull)
	if err == nil {
		err = f.Close()
	}
	if noDescriptors(err) {
		code, text = problem(w.opts.Path, err)
	}
	if !w.health.set(troubleProcess, code, text, w.opts.Now()) {
		return
	}
	if text != "" {
		w.log.LogAttrs(ctx, slog.LevelError, "no file descriptors are left", slog.String("problem", text))
	} else {
		w.log.LogAttrs(ctx, slog.LevelInfo, "there are file descriptors again")
	}
}

// checker asks SQLite in the background whether the file is sound. It belongs to the writer.
type checker struct {
	cancel  context.CancelFunc
	done    sync.WaitGroup
	verdict chan error // holds one
}

// start begins a check, unless one is under way.
func (c *checker) start(ctx context.Context, s *Store) {
	if c.cancel != nil {
		return
	}
	ctx, c.cancel = context.WithCancel(ctx)
	c.verdict = make(chan error, 1)
	c.done.Go(func() { c.verdict <- s.quickCheck(ctx) })
}

// stop ends a check without a verdict.
func (c *checker) stop() {
	if c.cancel != nil {
		c.cancel()
		c.done.Wait()
		c.cancel = nil
	}
}

// hearVerdict takes a check's verdict, if it has come.
func (w *writer) hearVerdict(ctx context.Context) {
	if w.check.cancel == nil {
		return
	}
	select {
	case err := <-w.check.verdict:
		w.check.stop()
		switch {
		case damaged(err):
			w.damage = err
			w.complain(ctx, err)
		case err != nil:
			w.log.LogAttrs(ctx, slog.LevelWarn, "database could not be checked", slog.String("path", w.opts.Path), slog.Any("error", err))
		}
	default:
	}
}

// quickCheck asks SQLite whether the file is sound (https://sqlite.org/pragma.html#pragma_quick_check).
func (s *Store) quickCheck(ctx context.Context) (err error) {
	start := time.Now()
	c, err := newConnector(s.dsn("ro", map[string][]string{"_pragma": {"busy_timeout(5000)", "cache_size(-8192)", "temp_store(MEMORY)"}}))
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("store: check database %s: %w", s.opts.Path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("store: check database %s: %w: %s", s.opts.Path, errDamaged, verdict)
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "database checked", slog.String("path", s.opts.Path), slog.Duration("took", time.Since(start)))
	return nil
}
