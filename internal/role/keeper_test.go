package role

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/models"
	"netlyra/internal/store"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"netlyra/internal/telemetry"
)

// What came while the database could not be written is accounted for afterwards: every revision, hidden or not.
func TestKeeperAccountsForWhatHadToWait(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
	path := filepath.Join(t.TempDir(), "netlyra.db")
	s, ctx := runStore(t, path)
	if _, err := s.AddException(ctx, models.Exception{Host: "192.0.2.1", Reason: "r"}, models.Actor{}); err != nil {
		t.Fatal(err)
	}
	release := lockDatabase(t, path)

	var shown atomic.Uint64
	b, producer, consumer := alertsBus(t)
	k := newKeeper(s, func(*models.Alert) { shown.Add(1) }, slog.New(slog.DiscardHandler), func() bool { return false }, b.Done(), false)
	produce := func(host string, revs ...int64) {
		t.Helper()
		for _, rev := range revs {
			a := &models.Alert{ID: host, Rev: rev, TS: 1, SrcIP: host, DstIP: "192.0.2.9", State: models.AlertOpen, Category: models.CategoryFlood, Severity: models.SeverityHigh}
			if err := producer.Produce(ctx, bus.Record{Topic: bus.TopicAlerts, Key: a.ID, Value: bus.Alert{Alert: a}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce("192.0.2.1", 1, 2, 3)
	produce("192.0.2.2", 1, 2)
	kept := make(chan error, 1)
	go func() { kept <- k.run(ctx, consumer) }()
	until(t, "showing of what is not stored", func() bool { return shown.Load() == 2 })
	if n := k.stored.Load() + k.hidden.Load(); n != 0 {
		t.Errorf("%d revisions are said to be stored in a locked database", n)
	}
	release()
	until(t, "account", func() bool { return k.hidden.Load() == 3 && k.stored.Load() == 2 })
	produce("192.0.2.1", 4)
	produce("192.0.2.2", 3)
	until(t, "account", func() bool { return k.hidden.Load() == 4 && k.stored.Load() == 3 })
	if shown.Load() != 3 || k.lost.Load() != 0 {
		t.Errorf("%d revisions shown and %d lost, want 3 and 0", shown.Load(), k.lost.Load())
	}
	reg := prometheus.NewPedanticRegistry()
	if err := k.register(reg); err != nil {
		t.Fatal(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) != 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	if n := testutil.ToFloat64(k.raised.WithLabelValues("flood", "high")); n != 2 {
		t.Errorf("%v incidents counted, want 2, however many revisions", n)
	}
	if n := testutil.CollectAndCount(k.raised); n != len(models.Categories())*len(models.Severities()) {
		t.Errorf("%d series of incidents", n)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch m := f.GetMetric()[0]; f.GetName() {
		case "netlyra_store_database_bytes":
			if m.GetGauge().GetValue() < 4096 {
				t.Errorf("database of %v bytes", m.GetGauge().GetValue())
			}
		case "netlyra_store_write_duration_seconds":
			if h := m.GetHistogram(); h.GetSampleCount() < 2 || h.GetSampleSum() <= 0 {
				t.Errorf("%d writes in %v s", h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-kept; err != nil {
		t.Error(err)
	}
}

// What comes again with the next start is not taken while what was taken before is not stored: nothing is lost, and the keeper ends though the database stays locked.
func TestKeeperTakesNoMoreThanItCanStore(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
	path := filepath.Join(t.TempDir(), "netlyra.db")
	s, ctx := runStore(t, path)
	b, producer, consumer := alertsBus(t)
	var shown atomic.Uint64
	k := newKeeper(s, func(*models.Alert) { shown.Add(1) }, slog.New(slog.DiscardHandler), func() bool { return false }, b.Done(), true)
	produce := func(from, to int) {
		t.Helper()
		for i := range to - from {
			a := &models.Alert{ID: fmt.Sprint(from + i), Rev: 1, TS: 1, SrcIP: "192.0.2.1", DstIP: "192.0.2.9", State: models.AlertOpen, Category: models.CategoryFlood, Severity: models.SeverityHigh}
			if err := producer.Produce(ctx, bus.Record{Topic: bus.TopicAlerts, Key: a.ID, Value: bus.Alert{Alert: a}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	release := lockDatabase(t, path)
	produce(0, 1000)
	kept := make(chan error, 1)
	go func() { kept <- k.run(ctx, consumer) }()
	until(t, "showing of what is not stored", func() bool { return shown.Load() > 0 })
	time.Sleep(saveWait + retryEvery + time.Second) // for what it may not do
	if n := shown.Load(); n > 256 {
		t.Errorf("%d alerts are taken, more than with one Poll, though none can be stored", n)
	}
	release()
	until(t, "storing of all", func() bool { return k.stored.Load() == 1000 })
	release = lockDatabase(t, path)
	produce(1000, 1010)
	until(t, "showing of what is not stored", func() bool { return shown.Load() > 1000 })
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-kept; err != nil || k.lost.Load() != 0 {
		t.Errorf("%v, %d alerts lost", err, k.lost.Load())
	}
	release()
}

// alertsBus is a bus within the process, and both ends of its alerts.
func alertsBus(t *testing.T) (*bus.Memory, bus.Producer, bus.Consumer) {
	t.Helper()
	b := bus.NewMemory(bus.MemoryOptions{})
	producer, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := b.Consumer("store", bus.TopicAlerts)
	if err != nil {
		t.Fatal(err)
	}
	return b, producer, consumer
}

// lockDatabase keeps everybody else from writing a database until release is called.
func lockDatabase(t *testing.T, path string) (release func()) {
	t.Helper()
	other, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := errors.Join(lock.Close(), other.Close()); err != nil { // the end of the connection is the end of its transaction
			t.Error(err)
		}
	})
}

// A scan that goes on rises in severity: each rise is a line, and every line of an alert has its addresses.
func TestEscalationsAreLogged(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.Logger(&out, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(nil, nil, log, nil, nil, false)
	a := models.Alert{ID: "1", Rev: 1, SrcIP: "192.0.2.1", DstIP: "192.0.2.2", DstPort: 22, Proto: "TCP", State: models.AlertOpen, Severity: models.SeverityMedium}
	for _, s := range []models.Severity{"medium", "medium", "high", "medium", "high", "critical", "critical"} {
		a.Severity = s
		k.logAlert(t.Context(), &a)
		a.Rev++
	}
	a.State, a.Count = models.AlertClosed, 77
	k.logAlert(t.Context(), &a)
	var got []string
	for line := range strings.Lines(out.String()) {
		var l struct {
			Msg, Severity, Src_ip, Dst_ip, Proto, Severity_before string //nolint:revive // as the log has them
			Dst_port, Count                                       int    //nolint:revive // as the log has them
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Src_ip != a.SrcIP || l.Dst_ip != a.DstIP || l.Dst_port != 22 || l.Proto != "TCP" {
			t.Errorf("%s", line)
		}
		got = append(got, fmt.Sprint(l.Msg, " ", l.Severity, " ", l.Severity_before, " ", l.Count))
	}
	want := []string{"alert medium  0", "alert escalated high medium 0", "alert escalated critical high 0", "alert closed critical  77"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(k.logged) != 0 {
		t.Errorf("%d incidents are still noted", len(k.logged))
	}
}

const patience = 30 * time.Second

// until waits for something that other goroutines do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// While the database cannot be written, an alert that a person took out of an exception stays shown, and a new one that the exception is about is hidden.
func TestWhatAPersonShowsStaysShown(t *testing.T) {
	s, ctx := runStore(t, filepath.Join(t.TempDir(), "netlyra.db"))
	shown := 0
	k := newKeeper(s, func(*models.Alert) { shown++ }, slog.New(slog.DiscardHandler), func() bool { return false }, nil, false)
	rev := func(id string, n int64) *models.Alert {
		return &models.Alert{ID: id, Rev: n, TS: 1, SrcIP: "192.0.2.1", DstIP: "192.0.2.9", State: models.AlertOpen, Category: models.CategoryFlood, Severity: models.SeverityHigh}
	}
	k.save(ctx, []*models.Alert{rev("a", 1)})
	if _, err := s.AddException(ctx, models.Exception{Host: "192.0.2.1", Reason: "r"}, models.Actor{}); err != nil {
		t.Fatal(err)
	}
	k.save(ctx, []*models.Alert{rev("a", 2)})
	if err := s.SetTriage(ctx, "a", models.TriageAcknowledged, models.Actor{}); err != nil {
		t.Fatal(err)
	}
	k.save(ctx, []*models.Alert{rev("a", 3)})
	if shown != 2 {
		t.Fatalf("%d revisions shown, want the first and the third", shown)
	}
	k.failed = true // as after an attempt to store that has failed
	if k.hides(rev("a", 4)) {
		t.Error("what a person has shown is hidden again")
	}
	if !k.hides(rev("b", 1)) {
		t.Error("a new alert that the exception is about is shown")
	}
}

// runStore opens a database and writes it until the end of the test.
func runStore(t *testing.T, path string) (*store.Store, context.Context) {
	t.Helper()
	s, err := store.New(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s, ctx
}
