package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// hostException is about one host.
func hostException(host string) models.Exception {
	return models.Exception{Host: host, Reason: "a test"}
}

// alertOf is an alert with this source.
func alertOf(id, src string) *models.Alert {
	a := testAlert(id, models.Micros(len(id)))
	a.SrcIP = src
	return a
}

func addException(t *testing.T, s *Store, e models.Exception) models.Exception {
	t.Helper()
	got, err := s.AddException(t.Context(), e, somebody)
	must(t, err)
	return got
}

// held is what holds for an alert: its triage, and what hides it.
func held(t *testing.T, s *Store, id string) decision {
	t.Helper()
	a, err := s.Alert(t.Context(), id)
	must(t, err)
	return decision{a.Triage, a.HiddenBy}
}

func hitsOf(t *testing.T, s *Store, id string) uint64 {
	t.Helper()
	all, err := s.Exceptions(t.Context())
	must(t, err)
	for _, e := range all {
		if e.ID == id {
			return e.Hits
		}
	}
	t.Fatalf("there is no exception %s", id)
	return 0
}

func check(t *testing.T, s *Store, id string, want decision) {
	t.Helper()
	if got := held(t, s, id); got != want {
		t.Errorf("alert %s: %+v, want %+v", id, got, want)
	}
}

// TestExceptionHidesPastAndComing, and what it hides is stored and counted all the same.
func TestExceptionHidesPastAndComing(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), alertOf("past", "10.0.0.1")))
	must(t, s.SaveAlert(t.Context(), alertOf("other", "10.0.0.2")))
	e := addException(t, s, models.Exception{Host: "10.0.0.1/32", Reason: " the backup ", Hits: 99, ID: "mine"})
	if e.ID == "" || e.ID == "mine" || e.Created == 0 || e.Host != "10.0.0.1" || e.Reason != "the backup" || e.Hits != 1 {
		t.Errorf("stored as %+v", e)
	}
	hidden := decision{models.TriageHidden, e.ID}
	check(t, s, "past", hidden)
	check(t, s, "other", decision{models.TriageNew, ""})

	coming := alertOf("coming", "10.0.0.1")
	must(t, s.SaveAlert(t.Context(), coming))
	if coming.Triage != models.TriageHidden || coming.HiddenBy != e.ID {
		t.Errorf("who saves it is told %q by %q", coming.Triage, coming.HiddenBy)
	}
	check(t, s, "coming", hidden)
	for rev := range int64(3) { // revisions are no further hits
		coming.Rev = rev + 2
		must(t, s.SaveAlert(t.Context(), coming))
	}
	if n := hitsOf(t, s, e.ID); n != 2 {
		t.Errorf("%d hits, want 2", n)
	}
	if diff := cmp.Diff([]string{"other"}, allAlerts(t, s, models.AlertQuery{}, 7)); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Alerts != 3 {
		t.Errorf("%d alerts are counted, want 3", c.Alerts)
	}

	must(t, s.RemoveException(t.Context(), e.ID, somebody))
	check(t, s, "past", decision{models.TriageNew, ""})
	check(t, s, "coming", decision{models.TriageNew, ""})
	if err := s.RemoveException(t.Context(), e.ID, somebody); !errors.Is(err, models.ErrNotFound) {
		t.Errorf("removed twice: %v, want ErrNotFound", err)
	}
}

// TestAnIncidentThatOutgrowsItsExceptionAppears: what begins as normal may become something else.
func TestAnIncidentThatOutgrowsItsExceptionAppears(t *testing.T) {
	var changed atomic.Int32
	s := open(t, Options{TriageChanged: func() { changed.Add(1) }})
	run(t, s)
	e := addException(t, s, models.Exception{Host: "192.0.2.1", Peer: "2001:db8::2", Reason: "r"})
	a := testAlert("a", 1)
	must(t, s.SaveAlert(t.Context(), a))
	check(t, s, "a", decision{models.TriageHidden, e.ID})
	if n := changed.Load(); n != 0 {
		t.Errorf("the list has changed %d times, though nothing was ever in it", n)
	}
	a.Rev, a.Peers.Top = 2, append(a.Peers.Top, models.Count{Name: "2001:db8::3", Count: 1})
	must(t, s.SaveAlert(t.Context(), a))
	check(t, s, "a", decision{models.TriageNew, ""})
	if a.Triage != models.TriageNew || changed.Load() != 1 {
		t.Errorf("told %q, the list has changed %d times", a.Triage, changed.Load())
	}
}

func TestTheLaterDecisionCounts(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.now})
	run(t, s)
	step := func() { clock.advance(time.Second) }
	for _, id := range []string{"acknowledged", "hidden", "shown"} {
		must(t, s.SaveAlert(t.Context(), alertOf(id, "10.0.0.1")))
	}
	must(t, s.SetTriage(t.Context(), "acknowledged", models.TriageAcknowledged, somebody))
	must(t, s.SetTriage(t.Context(), "hidden", models.TriageHidden, somebody))
	step()
	first := addException(t, s, hostException("10.0.0.1"))
	step()
	check(t, s, "acknowledged", decision{models.TriageHidden, first.ID})
	check(t, s, "hidden", decision{models.TriageHidden, ""})
	if first.Hits != 2 {
		t.Errorf("%d hits, want 2: what is hidden by hand is none", first.Hits)
	}
	must(t, s.SetTriage(t.Context(), "shown", models.TriageNew, somebody))
	check(t, s, "shown", decision{models.TriageNew, ""})
	a := alertOf("shown", "10.0.0.1")
	a.Rev = 2
	must(t, s.SaveAlert(t.Context(), a))
	check(t, s, "shown", decision{models.TriageNew, ""})

	step()
	second := addException(t, s, hostException("10.0.0.0/24"))
	check(t, s, "shown", decision{models.TriageHidden, second.ID})
	check(t, s, "acknowledged", decision{models.TriageHidden, first.ID}) // the oldest
	must(t, s.RemoveException(t.Context(), first.ID, somebody))
	check(t, s, "acknowledged", decision{models.TriageHidden, second.ID}) // by another exception
	must(t, s.RemoveException(t.Context(), second.ID, somebody))
	check(t, s, "acknowledged", decision{models.TriageAcknowledged, ""})
	check(t, s, "hidden", decision{models.TriageHidden, ""})
	check(t, s, "shown", decision{models.TriageNew, ""})
}

// awaitHeld waits for what happens without a caller: an expiry, the end of a sweep.
func awaitHeld(t *testing.T, s *Store, id string, want decision) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); held(t, s, id) != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("alert %s: %+v, want %+v", id, held(t, s, id), want)
		}
	}
}

func TestExpiry(t *testing.T) {
	clock := newClock()
	changed := make(chan struct{}, 100)
	path := filepath.Join(t.TempDir(), "x.db")
	options := Options{Path: path, Now: clock.now, GroupCommit: time.Millisecond, TriageChanged: func() { changed <- struct{}{} }}
	s, err := New(t.Context(), options)
	must(t, err)
	stop := run(t, s)
	in := func(d time.Duration) models.Micros { return at(clock.now().Add(d)) }
	e := hostException("10.0.0.1")
	e.Expires = in(time.Hour)
	e = addException(t, s, e)
	must(t, s.SaveAlert(t.Context(), alertOf("a", "10.0.0.1")))
	check(t, s, "a", decision{models.TriageHidden, e.ID})

	clock.advance(59 * time.Minute)
	until := in(2 * time.Hour)
	e, err = s.ChangeException(t.Context(), e.ID, models.ExceptionChange{Expires: &until}, somebody)
	must(t, err)
	if e.Expires != until || e.Reason != "a test" || e.Host != "10.0.0.1" {
		t.Errorf("changed to %+v", e)
	}
	clock.advance(90 * time.Minute)
	must(t, s.SaveAlert(t.Context(), alertOf("b", "10.0.0.1")))
	check(t, s, "a", decision{models.TriageHidden, e.ID})
	check(t, s, "b", decision{models.TriageHidden, e.ID})

	clock.advance(time.Hour)
	awaitHeld(t, s, "a", decision{models.TriageNew, ""})
	awaitHeld(t, s, "b", decision{models.TriageNew, ""})
	<-changed
	must(t, s.SaveAlert(t.Context(), alertOf("c", "10.0.0.1")))
	check(t, s, "c", decision{models.TriageNew, ""})

	reason := "again"
	never := models.Micros(0)
	_, err = s.ChangeException(t.Context(), e.ID, models.ExceptionChange{Reason: &reason, Expires: &never}, somebody)
	must(t, err)
	check(t, s, "c", decision{models.TriageHidden, e.ID})
	until = in(time.Hour)
	_, err = s.ChangeException(t.Context(), e.ID, models.ExceptionChange{Expires: &until}, somebody)
	must(t, err)
	stop()
	must(t, s.Close())

	clock.advance(2 * time.Hour) // while nobody runs
	s = open(t, options)
	run(t, s)
	awaitHeld(t, s, "c", decision{models.TriageNew, ""})
	all, err := s.Exceptions(t.Context())
	must(t, err)
	if len(all) != 1 || all[0].Reason != "again" {
		t.Errorf("an expired exception is kept for a while: %+v", all)
	}
}

func TestExpiredExceptionsAreDeletedAsOldAlertsAre(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond, AlertAge: 48 * time.Hour})
	run(t, s)
	e := hostException("10.0.0.1")
	e.Expires = at(clock.now().Add(time.Hour))
	addException(t, s, e)
	stays := addException(t, s, hostException("10.0.0.2"))
	clock.advance(50 * time.Hour)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		all, err := s.Exceptions(t.Context())
		must(t, err)
		if len(all) == 1 && all[0].ID == stays.ID {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", all)
		}
	}
}

func TestBadExceptions(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	past, none := models.Micros(1), ""
	var field *models.FieldError
	for name, e := range map[string]models.Exception{
		"nothing": {Reason: "r"}, "no reason": {Host: "10.0.0.1"}, "expired": {Host: "10.0.0.1", Reason: "r", Expires: past},
		"no address": {Host: "x", Reason: "r"},
	} {
		if _, err := s.AddException(t.Context(), e, somebody); !errors.As(err, &field) {
			t.Errorf("%s: %v, want a FieldError", name, err)
		}
	}
	if _, err := s.PreviewException(t.Context(), models.Exception{Host: "x"}, 1); !errors.As(err, &field) {
		t.Errorf("preview: %v, want a FieldError", err)
	}
	e := addException(t, s, hostException("10.0.0.1"))
	for name, c := range map[string]models.ExceptionChange{"no reason": {Reason: &none}, "expired": {Expires: &past}} {
		if _, err := s.ChangeException(t.Context(), e.ID, c, somebody); !errors.As(err, &field) {
			t.Errorf("change, %s: %v, want a FieldError", name, err)
		}
	}
	if _, err := s.ChangeException(t.Context(), "none", models.ExceptionChange{}, somebody); !errors.Is(err, models.ErrNotFound) {
		t.Errorf("change of one that is not there: %v, want ErrNotFound", err)
	}
	for i := range models.MaxExceptions - 1 {
		e := hostException(fmt.Sprintf("10.1.%d.%d", i>>8, i&255))
		must(t, s.queue.do(t.Context(), 1, insertException(s, e, fmt.Sprint("x", i))))
	}
	if _, err := s.AddException(t.Context(), hostException("10.0.0.2"), somebody); !errors.Is(err, models.ErrTooManyExceptions) {
		t.Errorf("%v, want ErrTooManyExceptions", err)
	}
}

func TestPreviewTellsWhatWouldBeHidden(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	var alerts []*models.Alert
	const n = previewRows + 200 // more than is read at a time
	for i := range n {
		a := testAlert(fmt.Sprintf("a%05d", i), models.Micros(1+i/3))
		a.SrcIP = fmt.Sprintf("10.0.%d.1", i%4)
		a.DstPort = uint16(i%5 + 1)
		a.Proto = []string{"TCP", "UDP"}[i%2]
		a.Category = models.Categories()[i%3]
		alerts = append(alerts, a)
	}
	must(t, s.SaveAlerts(t.Context(), alerts))
	must(t, s.SetTriage(t.Context(), "a00000", models.TriageHidden, somebody))
	before := allAlerts(t, s, models.AlertQuery{}, models.MaxPageLimit)
	for _, e := range []models.Exception{
		{Host: "10.0.0.1"},
		{Peer: "10.0.0.0/23"},
		{Host: "10.0.1.1", Peer: "2001:db8::2"},
		{Port: 3},
		{Category: models.Categories()[1]},
		{Host: "10.0.0.0/16", Port: 3, Proto: "UDP", Category: models.Categories()[0], Sensor: "s1"},
		{Host: "198.51.100.9"},
		{Host: "10.0.0.0/16", Sensor: "s2"},
	} {
		p, err := s.PreviewException(t.Context(), e, 20)
		must(t, err)
		e.Reason = "r"
		added := addException(t, s, e)
		after := allAlerts(t, s, models.AlertQuery{}, models.MaxPageLimit)
		hidden := slices.DeleteFunc(slices.Clone(before), func(id string) bool { return slices.Contains(after, id) })
		items := []string{}
		for _, a := range p.Items {
			items = append(items, a.ID)
			if a.Summary == "" || len(a.Reasons) == 0 {
				t.Errorf("%+v lacks what it is about", a)
			}
		}
		if p.Count != len(hidden) || int(added.Hits) != len(hidden) {
			t.Errorf("%+v: preview %d, hits %d, hidden %d", e, p.Count, added.Hits, len(hidden))
		}
		if diff := cmp.Diff(hidden[:min(20, len(hidden))], items); diff != "" {
			t.Errorf("%+v: hidden (-) and previewed (+):\n%s", e, diff)
		}
		must(t, s.RemoveException(t.Context(), added.ID, somebody))
	}
	if got := len(allAlerts(t, s, models.AlertQuery{}, models.MaxPageLimit)); got != n-1 {
		t.Errorf("%d alerts listed in the end, want %d", got, n-1)
	}
}

// TestWhatHoldsFollowsFromTheDecisions: whatever has happened, each alert is as decide says, and one with its hits counted.
func TestWhatHoldsFollowsFromTheDecisions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	clock := newClock()
	s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond})
	run(t, s)
	known := map[string]*models.Alert{} // with what was decided
	var exceptions []models.Exception
	host := func() string { return fmt.Sprintf("10.0.0.%d", r.IntN(5)) }
	for range 250 {
		clock.advance(time.Duration(r.IntN(1000)) * time.Millisecond)
		switch r.IntN(10) {
		case 0, 1, 2, 3:
			id := fmt.Sprint("a", r.IntN(40))
			a := known[id]
			if a == nil {
				a = alertOf(id, host())
				a.DstPort = uint16(r.IntN(3))
				a.Rev, known[id] = 0, a
			}
			a.Rev++
			a.Peers.Top = append(a.Peers.Top, models.Count{Name: host()})
			sent := *a
			must(t, s.SaveAlert(t.Context(), &sent))
		case 4, 5:
			e := hostException(host())
			if r.IntN(2) == 0 {
				e.Port = uint16(r.IntN(2) + 1)
			}
			if r.IntN(2) == 0 {
				e.Expires = at(clock.now()) + models.Micros(1+r.IntN(20_000_000))
			}
			if slices.ContainsFunc(exceptions, func(x models.Exception) bool {
				return x.Host == e.Host && x.Port == e.Port && (x.Expires == 0 || x.Expires > at(clock.now()))
			}) {
				continue // it would be refused
			}
			exceptions = append(exceptions, addException(t, s, e))
		case 6, 7:
			if len(exceptions) > 0 {
				i := r.IntN(len(exceptions))
				must(t, s.RemoveException(t.Context(), exceptions[i].ID, somebody))
				exceptions = slices.Delete(exceptions, i, i+1)
			}
		case 8:
			for id, a := range known {
				a.Decided, a.DecidedAt = models.Triages()[r.IntN(2)], at(clock.now())
				must(t, s.SetTriage(t.Context(), id, a.Decided, somebody))
				break
			}
		case 9:
			clock.advance(time.Duration(r.IntN(10)) * time.Second)
		}
	}
	rs, err := newRules(exceptions, clock.now())
	must(t, err)
	hidden := 0
	for id, a := range known {
		want := rs.decide(a, clock.now())
		awaitHeld(t, s, id, want)
		if want.hiddenBy != "" {
			hidden++
		}
	}
	if hidden == 0 || hidden == len(known) {
		t.Errorf("%d of %d alerts are hidden: the test shows nothing", hidden, len(known))
	}
}

// TestSweepIsTakenUpAgain: an exception that was stored just before the end hides past incidents after the next start.
func TestSweepIsTakenUpAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := New(t.Context(), Options{Path: path})
	must(t, err)
	stop := run(t, s)
	const n = 3*sweepRows + 7
	alerts := make([]*models.Alert, n)
	for i := range alerts {
		alerts[i] = alertOf(fmt.Sprintf("a%d", i), "10.0.0.1")
	}
	must(t, s.SaveAlerts(t.Context(), alerts))
	stop()
	// As it is left by a crash in between: the exception is there, and nothing has been looked at.
	tx, err := s.write.BeginTx(t.Context(), nil)
	must(t, err)
	must(t, insertException(s, hostException("10.0.0.1"), "e")(t.Context(), tx))
	must(t, tx.Commit())
	must(t, s.Close())

	s = open(t, Options{Path: path})
	if c := len(allAlerts(t, s, models.AlertQuery{}, models.MaxPageLimit)); c != n {
		t.Fatalf("%d listed before the sweep, want %d", c, n)
	}
	run(t, s)
	awaitHeld(t, s, "a0", decision{models.TriageHidden, "e"}) // the oldest comes last
	if c := len(allAlerts(t, s, models.AlertQuery{}, models.MaxPageLimit)); c != 0 {
		t.Errorf("%d listed", c)
	}
	if h := hitsOf(t, s, "e"); h != n {
		t.Errorf("%d hits, want %d", h, n)
	}
}

// TestGivingUpTheWaitKeepsTheException: who does not wait for past incidents to be hidden finds them hidden later.
func TestGivingUpTheWaitKeepsTheException(t *testing.T) {
	ctx, giveUp := context.WithCancel(t.Context())
	gaveUp := make(chan struct{})
	s := open(t, Options{TriageChanged: func() { // the writer waits here after its first piece
		giveUp()
		<-gaveUp
	}})
	stop := run(t, s)
	const n = 2*sweepRows + 7
	alerts := make([]*models.Alert, n)
	for i := range alerts {
		alerts[i] = alertOf(fmt.Sprintf("a%d", i), "10.0.0.1")
	}
	must(t, s.SaveAlerts(t.Context(), alerts))
	e, err := s.AddException(ctx, hostException("10.0.0.1"), somebody)
	must(t, err)
	if got := held(t, s, "a0"); got.hiddenBy != "" {
		t.Errorf("all is done before the wait was given up: %+v", got)
	}
	close(gaveUp)
	awaitHeld(t, s, "a0", decision{models.TriageHidden, e.ID})
	stop()
	if _, err := s.AddException(t.Context(), hostException("10.0.0.2"), somebody); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v, want ErrClosed", err)
	}
}

// insertException writes an exception and does nothing else that belongs to it.
func insertException(s *Store, e models.Exception, id string) func(context.Context, *sql.Tx) error {
	e.ID, e.Created = id, at(s.opts.Now())
	return func(ctx context.Context, tx *sql.Tx) error {
		args, err := s.tables.exceptions.args(nil, &e)
		if err == nil {
			_, err = tx.ExecContext(ctx, s.tables.exceptions.upsert, args...)
		}
		return err
	}
}

// The same scope is excepted once; another scope, or the same one when the first has expired or gone, is another exception.
func TestTheSameExceptionTwice(t *testing.T) {
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	var passed atomic.Int64
	s := open(t, Options{Now: func() time.Time { return start.Add(time.Duration(passed.Load())) }})
	run(t, s)
	add := func(e models.Exception) (models.Exception, error) {
		e.Reason = "because"
		return s.AddException(t.Context(), e, models.Actor{Who: "test"})
	}
	scope := models.Exception{Host: "192.0.2.7", Category: models.CategoryPortScan, Expires: models.Micros(start.Add(time.Hour).UnixMicro())}
	first, err := add(scope)
	must(t, err)
	same := models.Exception{Host: "192.0.2.7/32", Category: models.CategoryPortScan}
	var duplicate *models.DuplicateException
	if _, err := add(same); !errors.As(err, &duplicate) || duplicate.ID != first.ID {
		t.Errorf("%v, want one that names %s", err, first.ID)
	}
	other := same
	other.Port = 22
	_, err = add(other)
	must(t, err)
	passed.Store(int64(2 * time.Hour))
	second, err := add(same)
	must(t, err)
	must(t, s.RemoveException(t.Context(), second.ID, models.Actor{Who: "test"}))
	_, err = add(same)
	must(t, err)
}
