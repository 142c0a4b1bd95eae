package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// needsPrivilege skips a test with the remedy, or fails it where everything must run.
func needsPrivilege(t *testing.T, err error, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%v: %s", err, remedy)
	}
	t.Skipf("%v: %s", err, remedy)
}

// TestDiskFull: on a full disk reading goes on, nothing is acknowledged, the state is shown; once there is space again
// writing goes on by itself, and nothing that was acknowledged is lost.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		needsPrivilege(t, err, "run the test as root, which may mount a small tmpfs")
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	s := open(t, Options{Path: filepath.Join(dir, "x.db"), GroupCommit: 5 * time.Millisecond, MinFree: 1})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("before", 1)))

	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	acked := []string{"before"}
	for i := 0; ; i++ { // what fits into the files as they are may still be saved
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		id := fmt.Sprint("full", i)
		err := s.SaveAlert(ctx, testAlert(id, models.Micros(i+2)))
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is full") {
				t.Fatalf("%v, want the context's error with what is wrong", err)
			}
			break
		}
		acked = append(acked, id)
	}
	waitHealth(t, s, false, "is full")
	if _, err := s.Alerts(t.Context(), models.AlertQuery{}); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	queued := make([]models.Connection, 300)
	for i := range queued {
		queued[i] = testConnection(int64(i + 1))
	}
	if n := s.OfferConnections(queued); n != len(queued) {
		t.Errorf("accepted %d of %d connections on a full disk", n, len(queued))
	}
	waiting := make(chan error, 1)
	go func() { waiting <- s.SaveAlert(t.Context(), testAlert("waits", 9999)) }()

	must(t, os.Remove(ballast))
	must(t, <-waiting)
	waitHealth(t, s, true, "")
	for _, id := range append(acked, "waits") {
		if _, err := s.Alert(t.Context(), id); err != nil {
			t.Errorf("alert %s was acknowledged: %v", id, err)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := s.Counts(t.Context())
		must(t, err)
		if c.Connections == int64(len(queued)) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, want the %d that waited", c.Connections, len(queued))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if diff := cmp.Diff([]models.Drop{}, s.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
	var verdict string
	must(t, s.readers.Load().db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" {
		t.Errorf("integrity: %s", verdict)
	}
}

// TestStartOnAFullDisk: what is stored is served, alerts wait, and it recovers unaided.
func TestStartOnAFullDisk(t *testing.T) {
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprintf("new=%v", empty), func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
				needsPrivilege(t, err, "run the test as root, which may mount a small tmpfs")
			}
			t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
			path, ballast := filepath.Join(dir, "x.db"), filepath.Join(dir, "ballast")
			if !empty {
				fill(t, path, 3)
			}
			fillDisk(t, ballast)
			s := open(t, Options{Path: path, MinFree: 1})
			run(t, s)
			_, err := s.Alert(t.Context(), "a0")
			if !empty {
				must(t, err)
			} else if !errors.Is(err, models.ErrUnreadable) {
				t.Errorf("reading: %v, want ErrUnreadable", err)
			}
			waiting := make(chan error, 1)
			go func() { waiting <- s.SaveAlert(t.Context(), testAlert("waits", 1)) }()
			waitHealth(t, s, false, "full")
			must(t, os.Remove(ballast))
			must(t, <-waiting)
			waitHealth(t, s, true, "")
			if _, err := s.Alert(t.Context(), "waits"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoFileDescriptors: that is said, and goes away.
func TestNoFileDescriptors(t *testing.T) {
	s := open(t, Options{RetainEvery: time.Millisecond})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("a", 1)))
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 3
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	restored := false
	restore := func() {
		if !restored {
			restored = true
			must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		}
	}
	t.Cleanup(restore)
	waitHealth(t, s, false, "file descriptors")
	if h := s.Health(); h.Code != models.StoreDescriptors {
		t.Errorf("%+v", h)
	}
	restore()
	waitHealth(t, s, true, "")
}

// TestLittleSpaceIsForAlerts: below MinFree connections wait, alerts are saved, and the state is shown.
func TestLittleSpaceIsForAlerts(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		needsPrivilege(t, err, "run the test as root, which may mount a small tmpfs")
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	ballast := filepath.Join(dir, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 4<<20), 0o600))
	s := open(t, Options{
		Path: filepath.Join(dir, "x.db"), GroupCommit: time.Millisecond, MinFree: 5 << 20, RetainEvery: time.Millisecond,
	})
	run(t, s)
	s.OfferConnections([]models.Connection{testConnection(1)})
	waitHealth(t, s, false, "only alerts")
	must(t, s.SaveAlert(t.Context(), testAlert("a", 1)))
	waitHealth(t, s, false, "only alerts")
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Alerts != 1 || c.Connections != 0 {
		t.Errorf("%+v, want the alert and nothing else", c)
	}
	must(t, os.Remove(ballast))
	eventually(t, s, models.StoreCounts{Alerts: 1, Connections: 1})
	waitHealth(t, s, true, "")
}

// fillDisk writes until there is no space left.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	must(t, f.Close())
}
