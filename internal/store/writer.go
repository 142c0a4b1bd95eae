package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"netlyra/internal/models"
)

const (
	jobRows   = 512  // rows of alerts in one transaction, about
	flushRows = 2000 // other rows in one transaction: an alert waits for one of them at most
	// rowsOfBytes is the part of the database's size limit, in bytes, that there is for each row of a flush.
	rowsOfBytes = 20_000

	// roomPieces bounds what is deleted after a transaction of alerts.
	roomPieces = 8

	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second // between two attempts while writing fails
)

// SaveAlert saves one alert, as SaveAlerts does.
func (s *Store) SaveAlert(ctx context.Context, a *models.Alert) error {
	return s.SaveAlerts(ctx, []*models.Alert{a})
}

// SaveAlerts saves revisions of alerts. nil means that every one of them, or a higher revision, is on the disk, and Triage
// and HiddenBy of each say what holds for it there. While the database cannot be written it waits and the writer tries
// again, until ctx ends; then the error names the problem, and the alerts may or may not be stored. What a person has
// decided about an alert that is there already stays. After Run has ended: ErrClosed.
func (s *Store) SaveAlerts(ctx context.Context, alerts []*models.Alert) error {
	b := alertBatch{alerts: make([]models.Alert, len(alerts)), rows: make([][]any, len(alerts)), held: make([]decision, len(alerts))}
	now := s.opts.Now().UnixMicro()
	for i, a := range alerts {
		row := &b.alerts[i]
		*row = *a
		row.Triage, row.HiddenBy, row.Decided, row.DecidedAt, row.DecidedBy, row.InsertedAt = "", "", "", 0, "", now
		args, err := s.tables.alerts.args(nil, row)
		if err != nil {
			return fmt.Errorf("store: alert %s: %w", a.ID, err)
		}
		b.rows[i] = args
	}
	err := s.queue.do(ctx, len(b.rows), func(ctx context.Context, tx *sql.Tx) error { return s.putAlerts(ctx, tx, &b) })
	if err != nil {
		return s.explain(err)
	}
	for i, d := range b.held {
		alerts[i].Triage, alerts[i].HiddenBy = d.triage, d.hiddenBy
	}
	return nil
}

// alertBatch is what one call saves; the writer fills in held.
type alertBatch struct {
	alerts []models.Alert
	rows   [][]any
	held   []decision // what holds for each
}

// putAlerts writes a batch. One row that the database rejects does not keep the others from it.
func (s *Store) putAlerts(ctx context.Context, tx *sql.Tx, b *alertBatch) error {
	rs, err := s.rulesIn(ctx, tx)
	if err != nil {
		return err
	}
	known, upsert, post := tx.StmtContext(ctx, s.stmts.known), tx.StmtContext(ctx, s.stmts.alert), tx.StmtContext(ctx, s.stmts.post)
	var refused []error
	hits := hits{}
	for i := range b.rows {
		was, is, err := s.putAlert(ctx, known, upsert, post, rs, &b.alerts[i], b.rows[i])
		if rejected(err) {
			refused = append(refused, fmt.Errorf("store: alert %s: %w", b.alerts[i].ID, err))
			continue
		}
		if err != nil {
			return err
		}
		b.held[i] = is
		s.moved = s.moved || was.triage != is.triage
		hits.count(was, is)
	}
	if err := hits.save(ctx, tx); err != nil {
		return err
	}
	return errors.Join(refused...)
}

// putAlert writes a revision with what holds for it, unless there is a higher one, and returns what has held and what holds. A new
// alert has been nowhere: it leaves no list.
func (s *Store) putAlert(ctx context.Context, known, upsert, post *sql.Stmt, rs *rules, a *models.Alert, row []any) (was, is decision, err error) {
	rev := int64(-1)
	err = known.QueryRowContext(ctx, a.ID).Scan(&rev, &was.triage, &was.hiddenBy, &a.Decided, &a.DecidedAt, &a.DecidedBy)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return was, is, err
	}
	if rev >= a.Rev {
		return was, was, nil
	}
	is = rs.decide(a, s.opts.Now())
	if rev < 0 {
		was.triage = is.triage
	}
	row[s.tables.alerts.position("triage")], row[s.tables.alerts.position("hidden_by")] = string(is.triage), is.hiddenBy
	if _, err = upsert.ExecContext(ctx, row...); err != nil || !s.opts.Outbox {
		return was, is, err
	}
	_, err = post.ExecContext(ctx, a.ID)
	s.posted = true
	return was, is, err
}

// explain adds what is wrong with the database to the error of a caller that gave up waiting.
func (s *Store) explain(err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	if h := s.Health(); h.Problem != "" {
		return fmt.Errorf("store: not saved: %w: %s: %w", kindOf(h.Code, models.ErrUnwritable), h.Problem, err)
	}
	return err
}

// SetTriage records what a person has decided about an alert, which counts until an exception is made that matches it; hidden
// counts for good. models.ErrNotFound if there is none with this id.
func (s *Store) SetTriage(ctx context.Context, id string, t models.Triage, by models.Actor) error {
	if !slices.Contains(models.Triages(), t) {
		return fmt.Errorf("store: triage %q: %w: it is new, acknowledged or hidden", t, models.ErrBadQuery)
	}
	found := false
	err := s.queue.do(ctx, 1, func(ctx context.Context, tx *sql.Tx) (err error) {
		found, err = affected(tx.ExecContext(ctx, `UPDATE alerts SET triage = ?1, hidden_by = '', decided = ?1, decided_at = ?2, decided_by = ?3
			WHERE id = ?4`, string(t), s.opts.Now().UnixMicro(), by.Who, id))
		if err != nil || !found {
			return err
		}
		s.moved = true
		return s.record(ctx, tx, by, models.ActionTriage, id, string(t))
	})
	if err != nil {
		return s.explain(err)
	}
	if !found {
		return fmt.Errorf("store: alert %s: %w", id, models.ErrNotFound)
	}
	return nil
}

// OfferConnections queues connections in their present state for the next flush; one with the same id is replaced. It
// never waits: it returns how many it took, from the start of cs, and counts the others as dropped. cs may be reused.
func (s *Store) OfferConnections(cs []models.Connection) (accepted int) {
	return s.queue.offerConnections(cs)
}

// Room is how many connections OfferConnections would take now: for a caller that can wait.
func (s *Store) Room() int { return s.queue.room() }

// settlePause is between two looks at whether rows are written; the writer waits for company for longer.
const settlePause = 5 * time.Millisecond

// Settle waits until there is no row that was offered and is not written. The error is that of ctx: meanwhile others may offer rows, or the
// database cannot be written.
func (s *Store) Settle(ctx context.Context) error {
	for s.queue.unwritten() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settlePause):
		}
	}
	return nil
}

// OfferHosts queues what hosts have done since they were last offered: packets and bytes are added to what is stored,
// the times widen, and a MAC that is not empty replaces the one before. Otherwise as OfferConnections, but any of hs may
// be the one that is dropped.
func (s *Store) OfferHosts(hs []models.Host) (accepted int) { return s.queue.offerHosts(hs) }

// OfferSeries queues traffic to be added to the second that starts at each point's TS, and to its minute; Step is
// ignored. Otherwise as OfferHosts.
func (s *Store) OfferSeries(ps []models.SeriesPoint) (accepted int) { return s.queue.offerSeries(ps) }

// writer is the state of Run.
type writer struct {
	*Store
	batch   *rowBatch // taken, and not yet written
	due     bool      // rows have waited long enough
	pause   time.Duration
	retain  retention
	space   space
	toCome  map[*blocked]int // rows that have to come before there can be another block
	watched time.Time        // when the files were last looked at
	damage  error            // found in the database, which is to be set aside
	asides  int              // databases that were
	// closedOld: no connection of an earlier run is open any more.
	closedOld bool
	check     checker

	blocksNext time.Time // when it is time for blocks again
}

func newWriter(s *Store) *writer {
	return &writer{Store: s, batch: &rowBatch{}, toCome: map[*blocked]int{}}
}

// Run writes what callers hand in until ctx ends; then it writes what it has accepted so far, and returns nil. What the
// database does not take within DrainTimeout is not lost silently: SaveAlerts returns an error, the rest is counted.
func (s *Store) Run(ctx context.Context) error {
	w := newWriter(s)
	tick := time.NewTicker(s.opts.GroupCommit)
	defer tick.Stop()
	defer s.sweep.end() // what is left of it is done at the next start
	defer w.check.stop()
	for ctx.Err() == nil {
		worked, err := w.step(context.WithoutCancel(ctx))
		if err != nil {
			w.wait(ctx)
			continue
		}
		if worked {
			select { // rows have their turn, however much else there is to do
			case <-tick.C:
				w.due = true
			default:
			}
			continue
		}
		select {
		case <-s.queue.wake:
		case <-tick.C:
			w.due = true
		case <-ctx.Done():
		}
	}
	return w.drain(context.WithoutCancel(ctx))
}

// step does the most urgent thing there is to do: alerts, then a flush, then pieces of a sweep, of blocks and of retention. Retention and
// blocks have their turn after each flush, so that sizes and ages hold under load, and lists are searched fast.
func (w *writer) step(ctx context.Context) (worked bool, err error) {
	if err := w.keepOpen(ctx); err != nil {
		return true, w.note(ctx, err)
	}
	if jobs := w.queue.takeJobs(jobRows); len(jobs) > 0 {
		if err := w.note(ctx, w.commitJobs(ctx, jobs)); err != nil {
			return true, err
		}
		for range roomPieces {
			if wait, err := w.makeRoom(ctx); !wait || err != nil {
				return true, w.note(ctx, err)
			}
		}
		return true, nil
	}
	if w.due {
		if worked, err = w.makeRoom(ctx); worked || err != nil {
			return true, w.note(ctx, err)
		}
		if w.due, err = w.flush(ctx); w.due {
			if w.note(ctx, err) == nil {
				_, err = w.retainStep(ctx)
			}
			if w.note(ctx, err) == nil {
				_, err = w.blocksStep(ctx)
			}
			return true, w.note(ctx, err)
		}
	}
	if worked, err = w.sweepStep(ctx); worked {
		return true, w.note(ctx, err)
	}
	if worked, err = w.blocksStep(ctx); worked || err != nil {
		return true, w.note(ctx, err)
	}
	if worked, err = w.retainStep(ctx); err != nil {
		return true, w.note(ctx, err)
	}
	if w.pause > 0 && !worked { // nobody writes: find out whether it would work again
		return false, w.note(ctx, w.probe(ctx))
	}
	return worked, nil
}

// closeOld closes some of the connections that an earlier run has left open, because it was killed: nobody will tell their end. It comes
// before the first rows of this run, piece by piece until closedOld.
func (w *writer) closeOld(ctx context.Context) error {
	var closed int64
	err := w.transact(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE connections SET "end" = ? WHERE id IN
			(SELECT id FROM connections INDEXED BY connections_open WHERE "end" = '' LIMIT ?)`, models.ConnCutOff, w.flushRows())
		if err != nil {
			return fmt.Errorf("store: close what was left open: %w", err)
		}
		closed, err = res.RowsAffected()
		return err
	})
	if err == nil && closed == 0 {
		w.closedOld = true
	}
	return err
}

// probe writes a page that changes nothing.
func (w *writer) probe(ctx context.Context) error {
	return w.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "PRAGMA user_version = 0")
		return err
	})
}

// note keeps Health up to date with the outcome of a write, and logs what changes. Deletions do not clear a problem:
// deleting nothing succeeds on a full disk.
func (w *writer) note(ctx context.Context, err error) error {
	switch {
	case err != nil:
		if damaged(err) {
			w.damage = err
		}
		if errors.Is(err, errGone) {
			w.watched = time.Time{} // look at once
		}
		w.complain(ctx, err)
	case w.damage == nil: // SQLite goes on inserting into a file in which it has found damage
		w.pause = 0
		if w.health.set(troubleWriting, "", "", w.opts.Now()) {
			w.log.LogAttrs(ctx, slog.LevelInfo, "database can be written again", slog.String("path", w.opts.Path))
		}
	}
	return err
}

// wait lets some time pass before the next attempt, longer each time.
func (w *writer) wait(ctx context.Context) {
	w.pause = min(max(2*w.pause, minPause), maxPause)
	t := time.NewTimer(w.pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// commitJobs writes jobs in one transaction and tells each how it went. An error means that none is written and all wait
// for another attempt.
func (w *writer) commitJobs(ctx context.Context, jobs []*job) error {
	own := make([]error, len(jobs)) // errors of a job's own, which another attempt would not mend
	err := w.transact(ctx, func(tx *sql.Tx) error {
		for i, j := range jobs {
			own[i] = j.run(ctx, tx)
			if own[i] != nil && !rejected(own[i]) {
				return own[i]
			}
		}
		return nil
	})
	if err == nil {
		err = w.present() // what is in a file that is gone is not acknowledged
	}
	if err != nil {
		w.forget()
	}
	if err != nil && (!damaged(err) || w.maySetAside()) {
		w.queue.putBack(jobs)
		return err
	}
	w.committed()
	for _, j := range jobs {
		w.toCome[w.blocked["alerts"]] -= j.rows
	}
	for i, j := range jobs {
		if err != nil {
			own[i] = err
		}
		j.done <- own[i]
	}
	return err
}

// transact runs do in a transaction.
func (w *writer) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := w.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	if err := do(tx); err != nil {
		// The transaction may be gone already: SQLite rolls back by itself on some errors, a full disk among them.
		_ = tx.Rollback()
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}

// flush writes up to flushRows queued rows, and says whether there were any. After an error the same rows are next. With
// little space left rows stay in their queues, which drop what is too much: the rest of the disk is for alerts.
func (w *writer) flush(ctx context.Context) (worked bool, err error) {
	if w.lowSpace(ctx) {
		return false, nil
	}
	if !w.closedOld && !w.opts.Fleet {
		if err := w.closeOld(ctx); err != nil || !w.closedOld {
			return true, err
		}
	}
	if w.batch.len() == 0 {
		w.batch = w.queue.takeRows(w.flushRows())
	}
	if w.batch.len() == 0 {
		return false, nil
	}
	lost := map[string]int{}
	err = w.transact(ctx, func(tx *sql.Tx) error {
		clear(lost)
		return w.writeBatch(ctx, tx, lost)
	})
	if err == nil {
		err = w.present()
	}
	if damaged(err) && !w.maySetAside() {
		lost = map[string]int{
			kindConnections: len(w.batch.connections), kindHosts: len(w.batch.hosts), kindSeries: len(w.batch.series),
		}
	} else if err != nil {
		return true, err
	}
	for kind, n := range lost {
		w.queue.countDrop(kind, dropRejected, n)
	}
	w.toCome[w.blocked["connections"]] -= len(w.batch.connections)
	w.batch = &rowBatch{}
	w.queue.written()
	return true, err
}

// writeBatch writes the batch's rows within tx. lost counts those that the database will never take.
func (w *writer) writeBatch(ctx context.Context, tx *sql.Tx, lost map[string]int) error {
	now := w.opts.Now().UnixMicro()
	var args []any
	put := func(kind string, stmt *sql.Stmt, t *table, row any) error {
		var err error
		args, err = t.args(args[:0], row)
		if err == nil {
			_, err = stmt.ExecContext(ctx, args...)
		}
		if rejected(err) {
			lost[kind]++
			return nil
		}
		return err
	}
	point := tx.StmtContext(ctx, w.stmts.point)
	for i := range w.batch.series {
		for _, step := range []int64{stepSecond, stepMinute} {
			p := w.batch.series[i]
			p.Step, p.TS = step, floor(p.TS, step)
			if err := put(kindSeries, point, &w.tables.series, &p); err != nil {
				return err
			}
		}
	}
	host := tx.StmtContext(ctx, w.stmts.host)
	for i := range w.batch.hosts {
		w.batch.hosts[i].InsertedAt = now
		if err := put(kindHosts, host, &w.tables.hosts, &w.batch.hosts[i]); err != nil {
			return err
		}
	}
	connection := tx.StmtContext(ctx, w.stmts.connection)
	for i := range w.batch.connections {
		w.batch.connections[i].InsertedAt = now
		if err := put(kindConnections, connection, &w.tables.connections, &w.batch.connections[i]); err != nil {
			return err
		}
	}
	return nil
}

// flushRows bounds a flush: less where the database may not be large, so that one transaction does not take a large share of it.
func (w *writer) flushRows() int { return int(max(100, min(flushRows, w.opts.MaxBytes/rowsOfBytes))) }

// floor is the start of the step that t falls into.
func floor(t, step int64) int64 { return t - ((t%step)+step)%step }

// drain writes what is left, and ends the queue.
func (w *writer) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.opts.DrainTimeout)
	defer cancel()
	for ctx.Err() == nil {
		if w.note(ctx, w.keepOpen(ctx)) != nil {
			if w.queue.closeIfEmpty() && w.batch.len() == 0 {
				return nil
			}
			w.wait(ctx)
			continue
		}
		if jobs := w.queue.takeJobs(jobRows); len(jobs) > 0 {
			if w.note(ctx, w.commitJobs(ctx, jobs)) != nil {
				w.wait(ctx)
			}
			continue
		}
		worked, err := w.flush(ctx)
		if worked && w.note(ctx, err) == nil {
			continue
		}
		if !worked && w.batch.len() == 0 && w.queue.closeIfEmpty() {
			return nil
		}
		w.wait(ctx)
	}
	w.queue.countDrop(kindConnections, dropShutdown, len(w.batch.connections))
	w.queue.countDrop(kindHosts, dropShutdown, len(w.batch.hosts))
	w.queue.countDrop(kindSeries, dropShutdown, len(w.batch.series))
	left := w.queue.waiting() + w.batch.len()
	w.queue.abandon(ErrClosed)
	w.log.LogAttrs(ctx, slog.LevelError, "database did not take everything before the end",
		slog.String("path", w.opts.Path), slog.Int("rows_lost", left))
	return nil
}
