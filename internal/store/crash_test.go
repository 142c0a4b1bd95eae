package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"netlyra/internal/models"
)

// crashPath names the database to a child of TestKillLosesNoAcknowledgedAlert.
const crashPath = "NETLYRA_TEST_CRASH_DATABASE"

// TestMain runs the child of the crash test in place of the tests.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		fmt.Fprintln(os.Stderr, saveForever(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// saveForever saves alerts from several goroutines and prints the id of each one that is acknowledged; connections are
// flushed and old ones deleted, and exceptions made and removed at the same time, so that the kill hits every kind of write.
// Before an exception's id it prints + when it is made, ? when it is about to be removed, - when it is.
func saveForever(path string) error {
	ctx := context.Background()
	s, err := New(ctx, Options{
		Path: path, GroupCommit: 2 * time.Millisecond, RetainEvery: time.Millisecond, ConnectionAge: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	go func() {
		for id := int64(1); ; id += 100 {
			cs := make([]models.Connection, 100)
			for i := range cs {
				cs[i] = testConnection(id + int64(i))
			}
			s.OfferConnections(cs)
			time.Sleep(time.Millisecond)
		}
	}()
	var mu sync.Mutex
	say := func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := os.Stdout.WriteString(text + "\n")
		return err
	}
	failed := make(chan error, 8)
	go func() { failed <- changeExceptionsForever(ctx, s, say) }()
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, n)
				if err := s.SaveAlert(ctx, testAlert(id, models.Micros(n+1))); err != nil {
					failed <- err
					return
				}
				if err := say(id); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	go func() { failed <- s.Run(ctx) }()
	return <-failed
}

// changeExceptionsForever makes exceptions that hide every alert, and removes most of them; one whose scope is there already takes the place
// of that.
func changeExceptionsForever(ctx context.Context, s *Store, say func(string) error) error {
	impatient := func(do func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil
	}
	for n := 0; ; n++ {
		var e models.Exception
		err := impatient(func(ctx context.Context) (err error) {
			if e, err = s.AddException(ctx, hostException(fmt.Sprintf("192.0.2.0/%d", 1+n%24)), somebody); err == nil {
				err = say("+" + e.ID)
			}
			return err
		})
		duplicate, there := errors.AsType[*models.DuplicateException](err)
		if there {
			e.ID, err = duplicate.ID, nil
		}
		if err == nil && e.ID != "" && (there || n%4 > 0) {
			if err := say("?" + e.ID); err != nil {
				return err
			}
			err = impatient(func(ctx context.Context) error {
				if err := s.RemoveException(ctx, e.ID, somebody); err != nil {
					return err
				}
				return say("-" + e.ID)
			})
		}
		if err != nil {
			return err
		}
	}
}

// TestKillLosesNoAcknowledgedAlert kills a saving process at random moments; every id that it had printed is in the
// database, which is sound.
func TestKillLosesNoAcknowledgedAlert(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	var acked []string
	for range 8 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashPath+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the child saved nothing")
		}
		acked = append(acked, lines.Text())
		timer := time.AfterFunc(time.Duration(rand.IntN(250))*time.Millisecond, func() {
			if err := cmd.Process.Kill(); err != nil {
				t.Errorf("kill: %v", err)
			}
		})
		for lines.Scan() {
			acked = append(acked, lines.Text())
		}
		timer.Stop()
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	s := open(t, Options{Path: path})
	if aside := s.Health().SetAside; len(aside) > 0 {
		t.Fatalf("the database was damaged: %v", aside)
	}
	stored, err := s.Exceptions(t.Context())
	must(t, err)
	isStored := func(id string) bool {
		return slices.ContainsFunc(stored, func(e models.Exception) bool { return e.ID == id })
	}
	alerts, made := 0, 0
	for _, id := range acked {
		switch id[0] {
		case '?':
		case '+':
			if made++; !slices.Contains(acked, "?"+id[1:]) && !isStored(id[1:]) {
				t.Errorf("acknowledged exception %s is lost", id[1:])
			}
		case '-':
			if isStored(id[1:]) {
				t.Errorf("exception %s, whose removal was acknowledged, is there", id[1:])
			}
		default:
			alerts++
			if _, err := s.Alert(t.Context(), id); err != nil {
				t.Errorf("acknowledged alert %s: %v", id, err)
			}
		}
	}
	var verdict string
	must(t, s.write.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" {
		t.Errorf("integrity: %s", verdict)
	}
	run(t, s)
	addException(t, s, hostException("203.0.113.9")) // returns when all alerts have been looked at again
	var total, hidden, orphans int
	must(t, s.write.QueryRowContext(t.Context(), `SELECT count(*), count(*) FILTER (WHERE triage = 'hidden'),
		count(*) FILTER (WHERE hidden_by <> '' AND hidden_by NOT IN (SELECT id FROM exceptions)) FROM alerts`).Scan(&total, &hidden, &orphans))
	want := 0
	if len(stored) > 0 {
		want = total
	}
	if hidden != want || orphans != 0 {
		t.Errorf("with %d exceptions for all %d alerts, %d are hidden, %d by none", len(stored), total, hidden, orphans)
	}
	t.Logf("%d alerts acknowledged before eight kills, all there; %d exceptions made, %d left", alerts, made, len(stored))
}
