package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netlyra/internal/models"
)

// TestDecisionsAreKept: every decision is kept with who, whence, when and what, the alert knows who, and the oldest go.
func TestDecisionsAreKept(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.now, MaxDecisions: 4})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("a1", 1)))
	anna := models.Actor{Who: "anna", Whence: "192.0.2.9"}
	must(t, s.SetTriage(t.Context(), "a1", models.TriageAcknowledged, anna))
	a, err := s.Alert(t.Context(), "a1")
	must(t, err)
	if a.DecidedBy != "anna" || a.DecidedAt != at(clock.now()) {
		t.Errorf("decided by %q at %v", a.DecidedBy, a.DecidedAt)
	}
	e, err := s.AddException(t.Context(), models.Exception{Host: "10.0.0.1", Port: 22, Reason: "backup"}, anna)
	must(t, err)
	reason := "another"
	_, err = s.ChangeException(t.Context(), e.ID, models.ExceptionChange{Reason: &reason}, anna)
	must(t, err)
	must(t, s.RemoveException(t.Context(), e.ID, somebody))
	if err := s.SetTriage(t.Context(), "none", models.TriageHidden, anna); err == nil {
		t.Error("a decision about nothing")
	}
	if err := s.RemoveException(t.Context(), e.ID, somebody); err == nil {
		t.Error("an exception was removed twice")
	}
	now := at(clock.now())
	want := []models.Decision{
		{TS: now, Who: "root", Whence: "127.0.0.1", Action: "exception_removed", Object: e.ID},
		{TS: now, Who: "anna", Whence: "192.0.2.9", Action: "exception_changed", Object: e.ID, Detail: "reason another"},
		{TS: now, Who: "anna", Whence: "192.0.2.9", Action: "exception_added", Object: e.ID, Detail: "host 10.0.0.1, port 22, reason backup"},
		{TS: now, Who: "anna", Whence: "192.0.2.9", Action: "triage", Object: "a1", Detail: "acknowledged"},
	}
	p, err := s.Decisions(t.Context(), models.DecisionQuery{})
	must(t, err)
	if diff := cmp.Diff(want, p.Items, cmpopts.IgnoreFields(models.Decision{}, "ID")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	must(t, s.SetTriage(t.Context(), "a1", models.TriageNew, anna))
	p, err = s.Decisions(t.Context(), models.DecisionQuery{Limit: 3})
	must(t, err)
	rest, err := s.Decisions(t.Context(), models.DecisionQuery{Limit: 3, Cursor: p.Next})
	must(t, err)
	if len(p.Items) != 3 || len(rest.Items) != 1 || rest.Items[0].Action != "exception_added" || rest.Next != "" {
		t.Errorf("%+v, then %+v: the oldest was to go", p, rest)
	}
	p, err = s.Decisions(t.Context(), models.DecisionQuery{Object: "a1"})
	must(t, err)
	if len(p.Items) != 1 || p.Items[0].Detail != "new" {
		t.Errorf("of the alert: %+v", p.Items)
	}
}
