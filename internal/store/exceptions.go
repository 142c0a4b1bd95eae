package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"gorm.io/gorm"

	"netlyra/internal/models"
)

const (
	sweepRows   = 500 // alerts looked at in one transaction of a sweep
	previewRows = 500 // alerts read at a time for a preview
)

// Exceptions lists all exceptions, also those that have expired, the oldest first.
func (s *Store) Exceptions(ctx context.Context) ([]models.Exception, error) {
	all := []models.Exception{}
	err := s.query(ctx, func(db *gorm.DB) error { return db.Order("created, id").Find(&all).Error })
	return all, err
}

// AddException stores an exception under a new id. From then on it hides the incidents that match it; the past ones are hidden
// before AddException returns, unless ctx ends before: then they are soon after. The error is a *models.FieldError, a
// *models.DuplicateException, models.ErrTooManyExceptions, or as SaveAlerts'.
func (s *Store) AddException(ctx context.Context, e models.Exception, by models.Actor) (models.Exception, error) {
	if err := e.Normalize(); err != nil {
		return models.Exception{}, err
	}
	if err := models.NormalizeReason(&e.Reason); err != nil {
		return models.Exception{}, err
	}
	if err := s.checkExpiry(e.Expires); err != nil {
		return models.Exception{}, err
	}
	e.ID, e.Created, e.Hits = newExceptionID(), at(s.opts.Now()), 0
	args, err := s.tables.exceptions.args(nil, &e)
	if err != nil {
		return models.Exception{}, fmt.Errorf("store: exception: %w", err)
	}
	full, same := false, ""
	err = s.changeExceptions(ctx, func(ctx context.Context, tx *sql.Tx) (bool, error) {
		id, err := sameException(ctx, tx, &e) // not the caller's err: it may have given up by now
		if same = id; err != nil || same != "" {
			return false, err
		}
		if err := tx.QueryRowContext(ctx, "SELECT count(*) >= ? FROM exceptions", models.MaxExceptions).Scan(&full); err != nil || full {
			return false, err
		}
		if _, err := tx.ExecContext(ctx, s.tables.exceptions.upsert, args...); err != nil {
			return false, err
		}
		return true, s.record(ctx, tx, by, models.ActionExceptionAdded, e.ID, describe(e))
	})
	if err != nil {
		return models.Exception{}, err
	}
	if same != "" {
		return models.Exception{}, &models.DuplicateException{ID: same}
	}
	if full {
		return models.Exception{}, fmt.Errorf("store: %w: there are %d", models.ErrTooManyExceptions, models.MaxExceptions)
	}
	return s.exception(ctx, e)
}

// sameException finds one that says the same as e and has not expired; "" for none.
func sameException(ctx context.Context, tx *sql.Tx, e *models.Exception) (id string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id FROM exceptions WHERE host = ? AND peer = ? AND port = ? AND proto = ? AND category = ? AND sensor = ?
		AND (expires = 0 OR expires > ?) ORDER BY created, id LIMIT 1`,
		e.Host, e.Peer, e.Port, e.Proto, string(e.Category), e.Sensor, int64(e.Created)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

func newExceptionID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Store) checkExpiry(t models.Micros) error {
	if t != 0 && t <= at(s.opts.Now()) {
		return &models.FieldError{Field: "expires", Problem: t.String() + " is past: use a time to come, or none for never"}
	}
	return nil
}

// exception reads e again, with its hits; as it was written if that does not work, as it is stored all the same.
func (s *Store) exception(ctx context.Context, e models.Exception) (models.Exception, error) {
	var stored models.Exception
	if err := s.query(ctx, func(db *gorm.DB) error { return db.Take(&stored, "id = ?", e.ID).Error }); err != nil {
		return e, nil //nolint:nilerr // what was asked for is done
	}
	return stored, nil
}

// ChangeException changes what is set in c. Otherwise as AddException; models.ErrNotFound if there is none with this id.
func (s *Store) ChangeException(ctx context.Context, id string, c models.ExceptionChange, by models.Actor) (models.Exception, error) {
	if c.Reason != nil {
		reason := *c.Reason
		if err := models.NormalizeReason(&reason); err != nil {
			return models.Exception{}, err
		}
		c.Reason = &reason
	}
	if c.Expires != nil {
		if err := s.checkExpiry(*c.Expires); err != nil {
			return models.Exception{}, err
		}
	}
	err := s.changeExceptions(ctx, func(ctx context.Context, tx *sql.Tx) (bool, error) {
		changed, err := affected(tx.ExecContext(ctx, "UPDATE exceptions SET reason = coalesce(?, reason), expires = coalesce(?, expires) WHERE id = ?",
			c.Reason, c.Expires, id))
		if err != nil || !changed {
			return false, err
		}
		return true, s.record(ctx, tx, by, models.ActionExceptionChanged, id, describeChange(c))
	})
	if err != nil {
		return models.Exception{}, err
	}
	return s.Exception(ctx, id)
}

// Exception reads one exception; models.ErrNotFound if there is none with this id.
func (s *Store) Exception(ctx context.Context, id string) (models.Exception, error) {
	var e models.Exception
	err := s.query(ctx, func(db *gorm.DB) error { return db.Take(&e, "id = ?", id).Error })
	return e, err
}

// RemoveException ends an exception: what it has hidden appears again, unless another one or a person hides it. Otherwise as
// AddException; models.ErrNotFound if there is none with this id.
func (s *Store) RemoveException(ctx context.Context, id string, by models.Actor) error {
	found := false
	err := s.changeExceptions(ctx, func(ctx context.Context, tx *sql.Tx) (_ bool, err error) {
		found, err = affected(tx.ExecContext(ctx, "DELETE FROM exceptions WHERE id = ?", id))
		if err != nil || !found {
			return false, err
		}
		return true, s.record(ctx, tx, by, models.ActionExceptionRemoved, id, "")
	})
	if err == nil && !found {
		err = fmt.Errorf("store: exception %s: %w", id, models.ErrNotFound)
	}
	return err
}

func affected(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// changeExceptions changes the table of exceptions, and if do says that it has, waits until all alerts have been looked at again, or
// ctx has ended. What is stored stays stored: giving up that wait is no error.
func (s *Store) changeExceptions(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) (changed bool, err error)) error {
	swept, changed := make(chan struct{}), false
	err := s.queue.do(ctx, 1, func(ctx context.Context, tx *sql.Tx) (err error) {
		if changed, err = do(ctx, tx); changed {
			s.rules = nil
			s.sweep.start(swept)
		}
		return err
	})
	if err != nil || !changed {
		return s.explain(err)
	}
	select {
	case <-swept:
	case <-ctx.Done():
	}
	return nil
}

// sweep looks at all stored alerts again, after exceptions have changed or expired, in pieces between the writer's other
// work. It decides anew what holds for each, so that it may start again at any time: after a crash it does. It belongs to
// the writer.
type sweep struct {
	below   int64                      // rows before this one are still to be looked at; 0: there is nothing to do
	waiting map[chan struct{}]struct{} // closed at the end
}

// start begins from the newest alert. done, if it is not nil, is closed when all have been looked at.
func (sw *sweep) start(done chan struct{}) {
	sw.below = math.MaxInt64
	if done != nil {
		if sw.waiting == nil {
			sw.waiting = map[chan struct{}]struct{}{}
		}
		sw.waiting[done] = struct{}{}
	}
}

// end lets go of those who wait.
func (sw *sweep) end() {
	for c := range sw.waiting {
		close(c)
	}
	clear(sw.waiting)
}

// startSweep begins a sweep where there is anything that an exception hides or may hide: expiry goes on while the program
// does not run, and an earlier sweep may have been cut off.
func (s *Store) startSweep(ctx context.Context) error {
	var any bool
	err := s.write.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM exceptions)
		OR EXISTS (SELECT 1 FROM alerts WHERE hidden_by <> '')`).Scan(&any)
	if err != nil {
		return fmt.Errorf("store: exceptions: %w", err)
	}
	if any {
		s.sweep.start(nil)
	}
	return nil
}

// sweepStep looks at the next alerts, if there is a sweep, and says whether it did.
func (w *writer) sweepStep(ctx context.Context) (worked bool, err error) {
	if w.rules != nil && w.rules.next != 0 && w.rules.next <= at(w.opts.Now()) {
		w.log.LogAttrs(ctx, slog.LevelInfo, "an exception has expired")
		w.rules = nil
		w.sweep.start(nil)
	}
	if w.sweep.below == 0 {
		return false, nil
	}
	var last int64
	err = w.transact(ctx, func(tx *sql.Tx) error {
		last, err = w.sweepChunk(ctx, tx)
		return err
	})
	if err != nil {
		w.forget()
		if damaged(err) { // another attempt would not mend it, and would hold up the other work
			w.sweep.below = 0
			w.sweep.end()
		}
		return true, err
	}
	w.committed()
	if w.sweep.below = last; last == 0 {
		w.sweep.end()
	}
	return true, nil
}

// sweepChunk decides anew about sweepRows alerts, and returns where to go on; 0: those were the last.
func (s *Store) sweepChunk(ctx context.Context, tx *sql.Tx) (last int64, err error) {
	rs, err := s.rulesIn(ctx, tx)
	if err != nil {
		return 0, err
	}
	alerts, last, err := s.readForSweep(ctx, tx)
	if err != nil {
		return 0, err
	}
	hits, err := s.decideAnew(ctx, tx.StmtContext(ctx, s.stmts.decide), rs, alerts)
	if err != nil {
		return 0, err
	}
	if len(alerts) < sweepRows {
		last = 0
	}
	return last, hits.save(ctx, tx)
}

// decideAnew writes what holds for alerts for which that is not what is stored.
func (s *Store) decideAnew(ctx context.Context, update *sql.Stmt, rs *rules, alerts []models.Alert) (hits, error) {
	now, hits := s.opts.Now(), hits{}
	for i := range alerts {
		a := &alerts[i]
		was, is := decision{a.Triage, a.HiddenBy}, rs.decide(a, now)
		if was == is {
			continue
		}
		if _, err := update.ExecContext(ctx, string(is.triage), is.hiddenBy, a.ID); err != nil {
			return nil, err
		}
		s.moved = s.moved || was.triage != is.triage
		hits.count(was, is)
	}
	return hits, nil
}

// readForSweep reads of the next alerts what rules ask for, and the number of the last row.
func (s *Store) readForSweep(ctx context.Context, tx *sql.Tx) (alerts []models.Alert, last int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT rowid, id, src_ip, dst_ip, src_port, dst_port, proto, category, sensor, peers, triage,
		hidden_by, decided, decided_at FROM alerts WHERE rowid < ? ORDER BY rowid DESC LIMIT ?`, s.sweep.below, sweepRows)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var a models.Alert
		var peers []byte
		if err := rows.Scan(&last, &a.ID, &a.SrcIP, &a.DstIP, &a.SrcPort, &a.DstPort, &a.Proto, &a.Category, &a.Sensor, &peers, &a.Triage,
			&a.HiddenBy, &a.Decided, &a.DecidedAt); err != nil {
			return nil, 0, err
		}
		if json.Unmarshal(peers, &a.Peers) != nil {
			a.Peers.Top = []models.Count{{}} // somebody who is in no prefix
		}
		alerts = append(alerts, a)
	}
	return alerts, last, rows.Err()
}

// rulesIn are the exceptions as the transaction sees them. They are kept until one changes, or a transaction fails.
func (s *Store) rulesIn(ctx context.Context, tx *sql.Tx) (rs *rules, err error) {
	if s.rules != nil {
		return s.rules, nil
	}
	rows, err := tx.QueryContext(ctx, `SELECT id, created, host, peer, port, proto, category, sensor, expires FROM exceptions
		ORDER BY created, id`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []models.Exception
	for rows.Next() {
		var e models.Exception
		if err := rows.Scan(&e.ID, &e.Created, &e.Host, &e.Peer, &e.Port, &e.Proto, &e.Category, &e.Sensor, &e.Expires); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	s.rules, err = newRules(all, s.opts.Now())
	return s.rules, err
}

// Hides says whether one of the exceptions that were read last hides an alert: for one that cannot be stored now. What a person has decided
// about the alert only SaveAlerts knows. Before the first alert was stored or looked at there are none.
func (s *Store) Hides(a *models.Alert) bool {
	rs := s.known.Load()
	if rs == nil {
		return false
	}
	undecided := *a
	undecided.Decided, undecided.DecidedAt = "", 0
	return rs.decide(&undecided, s.opts.Now()).hiddenBy != ""
}

// hits counts, by exception, the incidents that it has come to hide.
type hits map[string]int

func (h hits) count(was, is decision) {
	if is.hiddenBy != "" && is.hiddenBy != was.hiddenBy {
		h[is.hiddenBy]++
	}
}

func (h hits) save(ctx context.Context, tx *sql.Tx) error {
	for id, n := range h {
		if _, err := tx.ExecContext(ctx, "UPDATE exceptions SET hits = hits + ? WHERE id = ?", n, id); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what was learned in a transaction that has failed.
func (s *Store) forget() { s.rules, s.moved, s.posted = nil, false, false }

// committed makes known what a transaction has read and done: the exceptions, that alerts have left the list or come back, and that some are to
// be published.
func (s *Store) committed() {
	if s.rules != nil {
		s.known.Store(s.rules)
	}
	if s.moved && s.opts.TriageChanged != nil {
		s.opts.TriageChanged()
	}
	if s.posted && s.opts.Posted != nil {
		s.opts.Posted()
	}
	s.moved, s.posted = false, false
}

// PreviewException tells which alerts that are in the list now an exception would hide; at most limit of them, the
// newest, come with all they have. The error is a *models.FieldError or that of a query.
func (s *Store) PreviewException(ctx context.Context, e models.Exception, limit int) (models.ExceptionPreview, error) {
	if err := e.Normalize(); err != nil {
		return models.ExceptionPreview{}, err
	}
	r, err := newRule(e)
	if err != nil {
		return models.ExceptionPreview{}, err
	}
	p := models.ExceptionPreview{Items: []models.Alert{}}
	var ids []string
	l := list{table: "alerts", filter: previewFilter(e), blocked: s.blocked["alerts"], order: order{keys: []string{"ts", "id"}}}
	for {
		var alerts []models.Alert
		var rows [][]any
		err := s.query(ctx, func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				if rows, err = l.find(tx, previewRows); err != nil {
					return err
				}
				return fetch(tx, l, "id, ts, src_ip, dst_ip, src_port, dst_port, proto, category, sensor, peers", rows, &alerts)
			})
		})
		if err != nil {
			return models.ExceptionPreview{}, err
		}
		for i := range alerts {
			if r.matches(&alerts[i], endsOf(&alerts[i])) {
				p.Count++
				if len(ids) < limit {
					ids = append(ids, alerts[i].ID)
				}
			}
		}
		if len(rows) < previewRows {
			break
		}
		l.after = rows[len(rows)-1]
	}
	if len(ids) > 0 {
		err = s.query(ctx, func(db *gorm.DB) error { return db.Order("ts DESC, id DESC").Find(&p.Items, "id IN ?", ids).Error })
	}
	return p, err
}

// previewFilter narrows what is read where SQL can tell that an alert does not match.
func previewFilter(e models.Exception) filter {
	var f filter
	f.listed()
	f.equal("proto", e.Proto)
	f.equal("category", string(e.Category))
	f.equal("sensor", e.Sensor)
	f.port(e.Port)
	return f
}
