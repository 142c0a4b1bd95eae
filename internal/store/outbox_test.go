package store

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// ids are those of alerts with their revisions.
func ids(out []Outgoing) (all []string) {
	for i := range out {
		all = append(all, fmt.Sprint(out[i].ID, "/", out[i].Rev))
	}
	return all
}

func outbox(t *testing.T, s *Store) []Outgoing {
	t.Helper()
	out, err := s.Outbox(t.Context(), 100)
	must(t, err)
	return out
}

func revision(id string, rev int64) *models.Alert {
	a := testAlert(id, 1)
	a.Rev = rev
	return a
}

// What has been stored is in the outbox, once an alert and in its last revision, until that has been published.
func TestOutbox(t *testing.T) {
	var posted atomic.Int32
	s := open(t, Options{Outbox: true, Posted: func() { posted.Add(1) }})
	run(t, s)
	ctx := t.Context()
	for _, a := range []*models.Alert{revision("a", 1), revision("b", 1), revision("c", 1), revision("a", 2), revision("b", 1)} { // b's is no news
		must(t, s.SaveAlert(ctx, a))
	}
	first := outbox(t, s)
	if diff := cmp.Diff([]string{"b/1", "c/1", "a/2"}, ids(first)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(stored(revision("b", 1)), &first[0].Alert, ignoreInserted); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if posted.Load() != 4 {
		t.Errorf("told %d times that there is something, want 4", posted.Load())
	}
	must(t, s.SaveAlert(ctx, revision("c", 7))) // while c/1 is on its way
	must(t, s.Published(ctx, first))
	if diff := cmp.Diff([]string{"c/7"}, ids(outbox(t, s))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n, err := s.Waiting(ctx); n != 1 || err != nil {
		t.Errorf("%d wait: %v", n, err)
	}
}

// The outbox outlives the program; one that publishes nothing adds nothing to it.
func TestOutboxOverRestarts(t *testing.T) {
	s := open(t, Options{Outbox: true})
	stop := run(t, s)
	must(t, s.SaveAlert(t.Context(), revision("a", 1)))
	stop()
	path := s.Path()
	must(t, s.Close())
	s = open(t, Options{Path: path})
	stop = run(t, s)
	must(t, s.SaveAlert(t.Context(), revision("b", 1)))
	stop()
	must(t, s.Close())
	s = open(t, Options{Path: path, Outbox: true})
	run(t, s)
	if diff := cmp.Diff([]string{"a/1"}, ids(outbox(t, s))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// An alert that is deleted leaves the outbox, so that this is never larger than the alerts are.
func TestOutboxEndsWithTheAlert(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	clock := &atomic.Pointer[time.Time]{}
	clock.Store(&now)
	s := open(t, Options{Outbox: true, Now: func() time.Time { return *clock.Load() }, AlertAge: time.Hour, RetainEvery: time.Millisecond, GroupCommit: time.Millisecond})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), revision("old", 1)))
	later := now.Add(2 * time.Hour)
	clock.Store(&later)
	must(t, s.SaveAlert(t.Context(), revision("new", 1)))
	deadline := time.Now().Add(30 * time.Second)
	for n := int64(2); n != 1; time.Sleep(5 * time.Millisecond) {
		var err error
		if n, err = s.Waiting(t.Context()); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d wait: %v", n, err)
		}
	}
	if got := ids(outbox(t, s)); !slices.Equal(got, []string{"new/1"}) {
		t.Error(got)
	}
}
