package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netlyra/internal/models"
)

// open makes a store in a temporary directory; it is closed at the test's end.
func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "netlyra.db")
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// run starts Run; the returned function ends it, which writes everything accepted, and the test's end does so too.
func run(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// somebody is who decides in tests.
var somebody = models.Actor{Who: "root", Whence: "127.0.0.1"}

func testAlert(id string, ts models.Micros) *models.Alert {
	return &models.Alert{
		ID: id, Rev: 1, TS: ts, LastTS: ts, SrcIP: "192.0.2.1", DstIP: "2001:db8::2", SrcPort: 0, DstPort: 443, Proto: "TCP",
		Score: 0.93, Features: map[string]float64{"entropy": 1.5, "packet_rate": 120, "byte_rate": 7200},
		Count: 17, State: models.AlertOpen, Sensor: "s1", Category: models.CategoryPortScan, Severity: models.SeverityHigh,
		Summary: "192.0.2.1 tried 300 ports of 2001:db8::2.",
		Facts:   []models.Fact{{Name: "ports", Value: 300, Unit: "1"}, {Name: "src", Text: "192.0.2.1"}},
		Reasons: []models.Reason{{
			Feature: "ports", Value: 300, Unit: "1", Expected: models.Range{Low: 1, High: 9}, Contribution: 0.7,
		}},
		Counterfactual: "Fewer than 20 ports.",
		Peers:          models.Top{Total: 1, Top: []models.Count{{Name: "2001:db8::2", Count: 300}}},
		Ports:          models.Top{Total: 300, Top: []models.Count{{Name: "443", Count: 2}}},
		Detector:       models.DetectorInfo{Name: "netlyra", Version: "1", Learning: 0.5, Parts: map[string]float64{"trees": 0.5}},

		CaptureConfidence: 1,
	}
}

func testConnection(id int64) models.Connection {
	icmp := uint8(0)
	return models.Connection{
		ID: id, Sensor: "s1", SrcIP: fmt.Sprintf("10.0.%d.%d", id>>8&255, id&255), DstIP: "198.51.100.7",
		SrcPort: uint16(id), DstPort: 443, Proto: "TCP", ICMPType: &icmp, CommunityID: "1:abc", State: "established",
		FirstTS: models.Micros(1000 * id), LastTS: models.Micros(1000*id + 500), PacketsUp: 3, PacketsDown: 2, BytesUp: 200, FlagsUp: "ACK,SYN",
	}
}

// stored is how an alert comes back: with the store's own fields.
func stored(a *models.Alert) *models.Alert {
	out := *a
	out.Triage = models.TriageNew
	return &out
}

var ignoreInserted = cmp.Options{
	cmpopts.IgnoreFields(models.Alert{}, "InsertedAt"), cmpopts.IgnoreFields(models.Connection{}, "InsertedAt"),
	cmpopts.IgnoreFields(models.Host{}, "InsertedAt"),
}

func TestAlertComesBackAsSaved(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	want := testAlert("a1", 1_700_000_000_000_001)
	if err := s.SaveAlert(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Alert(t.Context(), "a1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stored(want), got, ignoreInserted); diff != "" {
		t.Errorf("alert (-want +got):\n%s", diff)
	}
	if got.InsertedAt == 0 {
		t.Error("inserted_at is not set")
	}
	if _, err := s.Alert(t.Context(), "none"); !errors.Is(err, models.ErrNotFound) {
		t.Errorf("unknown id: %v, want ErrNotFound", err)
	}
}

func TestConnectionComesBackAsSaved(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	want := testConnection(7)
	if n := s.OfferConnections([]models.Connection{want}); n != 1 {
		t.Fatalf("accepted %d, want 1", n)
	}
	stop()
	got, err := s.Connections(t.Context(), models.ConnectionQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]models.Connection{want}, got.Items, ignoreInserted); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
}
