package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/traffic"
)

func TestFamilyNames(t *testing.T) {
	all, err := familyNames([]string{"attacks", "lookalikes"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(FamilyNames(), all); d != "" {
		t.Errorf("attacks and look-alikes are not all (-want +got)\n%s", d)
	}
	two, err := familyNames([]string{"game", "scan_udp"})
	if d := cmp.Diff([]string{"game", "scan_udp"}, two); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if _, err := familyNames([]string{"flood_tea"}); err == nil || !strings.Contains(err.Error(), "scan_udp") {
		t.Errorf("an unknown family: %v, want the known ones", err)
	}
}

// A scan that no detector can miss is found, once, as what it is, soon; and a second run says the same.
func TestDetect(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: run without -short")
	}
	o := DetectOptions{Families: []string{"scan_vertical_tcp", "doh"}, Seed: 7, Seeds: 2, Learn: 2 * time.Minute, Jobs: 2}
	runs := 0
	rows, err := Detect(context.Background(), o, func(_, of int) {
		if runs++; of != 4 {
			t.Errorf("of %d runs, want 4", of)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if runs != 4 || len(rows) != 2 {
		t.Fatalf("%d runs gave %+v", runs, rows)
	}
	scan := rows[0]
	if scan.Family != "scan_vertical_tcp" || scan.Runs != 2 || scan.Detected != 2 || scan.Right != 2 || scan.DelaySeconds > 30 {
		t.Errorf("the scan: %+v", scan)
	}
	again, err := Detect(context.Background(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rows, again); d != "" {
		t.Errorf("a second run differs (-first +second)\n%s", d)
	}
	var table bytes.Buffer
	if err := PrintDetect(&table, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"scan_vertical_tcp  2/2", "port_scan 2", "doh "} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in the table:\n%s", want, &table)
		}
	}
}

// Alerts are on an attack if they come in its time and name each of its groups.
func TestOn(t *testing.T) {
	const start, end = models.Micros(1000e6), models.Micros(1100e6)
	l := traffic.Label{Start: start, End: end, Hosts: [][]string{{"10.0.0.1"}, {"10.0.0.2", "10.0.0.3"}}}
	for _, tt := range []struct {
		name     string
		ts       models.Micros
		src, dst string
		want     bool
	}{
		{"in time", start + 5, "10.0.0.1", "10.0.0.3", true},
		{"the other way round", end, "10.0.0.2", "10.0.0.1", true},
		{"just before", start - 1e6, "10.0.0.1", "10.0.0.2", true},
		{"too early", start - 1e6 - 1, "10.0.0.1", "10.0.0.2", false},
		{"just after", end + 60e6, "10.0.0.1", "10.0.0.2", true},
		{"too late", end + 60e6 + 1, "10.0.0.1", "10.0.0.2", false},
		{"one group only", start, "10.0.0.1", "10.0.0.9", false},
		{"others", start, "10.0.0.8", "10.0.0.9", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := on(&l, &models.Alert{TS: tt.ts, SrcIP: tt.src, DstIP: tt.dst}); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	r, err := Budget(context.Background(), BudgetOptions{Seed: 3, Duration: 2 * time.Minute, Budget: 240})
	if err != nil {
		t.Fatal(err)
	}
	if r.Packets < 1000 || r.Budget != 240 || r.Ratio != r.ActualPerDay/240 {
		t.Errorf("%+v", r)
	}
}

// Families are spread over what follows the time of learning.
func TestOffice(t *testing.T) {
	s, err := Office(OfficeOptions{Seed: 2, Duration: 10 * time.Minute, Learn: 4 * time.Minute, Families: []string{"scan_top100", "arp_spoof"}})
	if err != nil {
		t.Fatal(err)
	}
	var labels bytes.Buffer
	packets, err := WriteOffice(s, io.Discard, &labels, "office.pcap")
	if err != nil || packets < 1000 || !strings.Contains(labels.String(), `"capture": "office.pcap"`) {
		t.Errorf("%d packets, %v, labels %s", packets, err, &labels)
	}
	for i, l := range s.Labels() {
		if want := models.Micros(traffic.DefaultStart + (4+int64(i)*3)*60e6); l.Start < want || l.Start > want+5e6 {
			t.Errorf("%s starts at %v, want %v", l.Family.Name, l.Start, want)
		}
	}
	if n := len(s.Labels()); n != 2 {
		t.Errorf("%d labels", n)
	}
}

// The core profile raises what is learned and nothing else, whoever accumulates: in an office with a scan, at a budget at which it speaks.
func TestCoreProfile(t *testing.T) {
	if testing.Short() {
		t.Skip("plays hours of an office: run without -short")
	}
	play := func(t *testing.T, seed uint64, workers int, without detect.Part) []models.Alert {
		t.Helper()
		s, err := Office(OfficeOptions{Seed: seed, Hosts: 12, Duration: time.Hour, Families: []string{"scan_vertical_tcp"}, Learn: 30 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		final := map[string]models.Alert{}
		d, err := newDetector(detect.Options{Seed: 1, BudgetDay: 2000, Without: without}, func(a *models.Alert) { final[a.ID] = *a })
		if err != nil {
			t.Fatal(err)
		}
		p, err := pipeline.New(pipeline.Options{
			Sensor: "bench", Sources: []pipeline.Source{&streamSource{Stream: s}}, Workers: workers, Flow: flow.Options{Seed: 1}, Detector: d,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return slices.SortedFunc(maps.Values(final), func(a, b models.Alert) int { return strings.Compare(a.ID, b.ID) })
	}
	others := func(alerts []models.Alert) (n int) {
		for i := range alerts {
			if alerts[i].Category != models.CategoryAnomaly {
				n++
			}
		}
		return n
	}
	for _, seed := range []uint64{42, 7} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			one := play(t, seed, 1, detect.NotInCore)
			if len(one) < 20 || others(one) > 0 {
				t.Errorf("%d alerts, %d of them of rules; want 20 and none", len(one), others(one))
			}
			if d := cmp.Diff(one, play(t, seed, 4, detect.NotInCore)); d != "" {
				t.Errorf("(-1 worker +4)\n%.2000s", d)
			}
			if others(play(t, seed, 1, 0)) == 0 {
				t.Error("no rule found the scan in the full profile: it shows nothing that rules are silent in core")
			}
		})
	}
}
