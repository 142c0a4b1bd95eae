package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func TestBecause(t *testing.T) {
	for want, r := range map[string]models.Reason{
		"different ports within 20 s: 2,000 (limit 60; 33 times the limit)":                                               {Feature: "ports", Value: 2000, Unit: "ports", Expected: models.Range{High: 60}, Basis: models.BasisLimit},
		"coefficient of variation of the sizes of answers: 0.065 of the mean (limit 0.75)":                                {Feature: "answer_size_variation", Value: 0.065, Unit: "of the mean", Expected: models.Range{Low: 0.75, High: 10}, Basis: models.BasisLimit},
		"ports of local hosts on which attempts failed within an hour: 40 ports of hosts (limit 40)":                      {Feature: "failed_targets", Value: 40, Unit: "ports of hosts", Expected: models.Range{High: 40}, Basis: models.BasisLimit},
		"bytes sent and received within a second: 31 kB/s (usually 0 to 2.0 kB/s for this host; 16 times as much)":        {Feature: "byte_rate", Value: 31030, Unit: "bytes/s", Expected: models.Range{High: 2000}, Basis: models.BasisHost},
		"bytes sent and received within a second: 31 kB/s (usually 1.2 kB/s to 2.0 kB/s for this host; 16 times as much)": {Feature: "byte_rate", Value: 31030, Unit: "bytes/s", Expected: models.Range{Low: 1200, High: 2000}, Basis: models.BasisHost},
		"different hosts within 20 s: 12 (usually 0 to 15 in this network)":                                               {Feature: "peers", Value: 12, Unit: "hosts", Expected: models.Range{High: 15}, Basis: models.BasisNetwork},
		"bytes sent within 20 min: 52 MB (limit 20 MB; 3 times the limit)":                                                {Feature: "uploaded", Value: 52e6, Unit: "bytes", Expected: models.Range{High: 20e6}, Basis: models.BasisLimit},
		"a feature without a name: 3 (limit 1; 3 times the limit)":                                                        {Feature: "a_feature_without_a_name", Value: 3, Expected: models.Range{High: 1}, Basis: models.BasisLimit},
		"share of new connections that were not accepted: 1 (usually 0 to 0.25 in this network; 4 times as much)":         {Feature: "failed_share", Value: 1, Expected: models.Range{High: 0.25}, Basis: models.BasisNetwork},
	} {
		if got := because(&r); got != want {
			t.Errorf("%s\n want %s", got, want)
		}
	}
}

func TestLengthOfTime(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0.0 s": 0, "3.3 s": 3320 * time.Millisecond, "17 s": 17400 * time.Millisecond, "5 min 20 s": 320 * time.Second, "2 h": 2 * time.Hour,
		"26 h 1 min": 26*time.Hour + 90*time.Second, "7905 days 10 h": 7905*24*time.Hour + 10*time.Hour,
	} {
		if got := lengthOfTime(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// What a packet wrote reaches no terminal as it is.
func TestWriteAlert(t *testing.T) {
	a := models.Alert{
		TS: 1e15, LastTS: 1e15 + 5_000_000, Severity: "high", Category: "tunnel", Summary: "names under \x1b[31mexample.org", Score: 0.93,
		Counterfactual: "No alert with fewer names.",
		Reasons: []models.Reason{
			{Feature: "new_names", Value: 298, Unit: "names in 1 to 2 min", Expected: models.Range{High: 40}, Basis: models.BasisLimit, Contribution: 1},
			{Feature: "open_rate", Unit: "connections/s", Basis: models.BasisHost},
		},
	}
	var b strings.Builder
	if err := writeAlert(&b, &a); err != nil {
		t.Fatal(err)
	}
	want := a.TS.Time().Local().Format(localTime) + `  high  tunnel, for 5.0 s, score 0.93
  names under ` + "\ufffd" + `[31mexample.org
  because  new names under a domain: 298 names in 1 to 2 min (limit 40; 7 times the limit); 100 % of the score
           1 more measured, which adds nothing to the score
  No alert with fewer names.
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestTalkers(t *testing.T) {
	m := &talkers{bytes: map[string]*models.Host{}}
	m.add([]models.Host{{IP: "192.0.2.1", BytesSent: 5}, {IP: "192.0.2.2", BytesRecv: 7}})
	m.add([]models.Host{{IP: "192.0.2.1", BytesRecv: 3}, {IP: "192.0.2.3", BytesSent: 1}})
	want := []talker{{"192.0.2.1", 5, 3}, {"192.0.2.2", 0, 7}}
	if d := cmp.Diff(want, m.top(2)); d != "" || m.full {
		t.Errorf("%v %s", m.full, d)
	}
}
