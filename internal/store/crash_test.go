package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
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
// flushed and old ones deleted at the same time, so that the kill hits every kind of write.
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
	failed := make(chan error, 8)
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, n)
				if err := s.SaveAlert(ctx, testAlert(id, models.Micros(n+1))); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				_, err := os.Stdout.WriteString(id + "\n")
				mu.Unlock()
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	go func() { failed <- s.Run(ctx) }()
	return <-failed
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
	for _, id := range acked {
		if _, err := s.Alert(t.Context(), id); err != nil {
			t.Errorf("acknowledged alert %s: %v", id, err)
		}
	}
	var verdict string
	must(t, s.write.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" {
		t.Errorf("integrity: %s", verdict)
	}
	t.Logf("%d alerts acknowledged before eight kills, all there", len(acked))
}
