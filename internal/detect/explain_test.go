package detect

import (
	"testing"

	"netlyra/internal/models"
)

func TestNumbersInSentences(t *testing.T) {
	for _, tc := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0, "", "0"},
		{1, "hosts", "1 hosts"},
		{0.123456, "", "0.1235"},
		{2.206, "s", "2.206 s"},
		{999.96, "s", "1000 s"},
		{12_345, "bytes", "12350 bytes"},
		{6_004_321, "bytes/s", "6004000 bytes/s"},
		{1.25e9, "bytes/s", "1250000000 bytes/s"},
		{0.00001, "", "1e-05"},
	} {
		if got := valueText(tc.value, tc.unit); got != tc.want {
			t.Errorf("%v %s is %q, want %q", tc.value, tc.unit, got, tc.want)
		}
	}
	for n, want := range map[float64]string{0: "0 bytes", 999: "999 bytes", 1000: "1 kB", 20_971_520: "21 MB", 1_500_000_000: "1.5 GB", 2e12: "2 TB"} {
		if got := byteText(n); got != want {
			t.Errorf("%v bytes are %q, want %q", n, got, want)
		}
	}
	for seconds, want := range map[float64]string{0.4: "0 s", 119.6: "120 s", 599: "599 s", 600: "10 min", 5400: "90 min"} {
		if got := durationText(seconds); got != want {
			t.Errorf("%v s are %q, want %q", seconds, got, want)
		}
	}
}

// The sentence of an anomaly is about a value that is not usual; where each is, about the combination.
func TestAnomaliesAreToldByWhatIsUnusual(t *testing.T) {
	usual := func(f string, v float64) models.Reason {
		return models.Reason{Feature: f, Value: v, Unit: "hosts", Expected: models.Range{Low: 1, High: 9}, Basis: models.BasisNetwork}
	}
	own := func(f string, v float64) models.Reason {
		r := usual(f, v)
		r.Basis = models.BasisHost
		return r
	}
	for _, tc := range []struct {
		name                    string
		reasons                 []models.Reason
		summary, counterfactual string
	}{
		{
			"too many",
			[]models.Reason{usual("peers", 20), usual("ports", 3)},
			"10.0.0.5 behaves unlike the other hosts of this network: peers is 20 hosts, usually it is 1 to 9 hosts.", "No alert if peers had been at most 9 hosts.",
		},
		{
			"too few",
			[]models.Reason{usual("peers", 0)},
			"10.0.0.5 behaves unlike the other hosts of this network: peers is 0 hosts, usually it is 1 to 9 hosts.", "No alert if peers had been at least 1 hosts.",
		},
		{
			"what is most telling is usual",
			[]models.Reason{usual("peers", 4), own("ports", 20)},
			"10.0.0.5 behaves unlike before: ports is 20 hosts, usually it is 1 to 9 hosts.", "No alert if ports had been at most 9 hosts.",
		},
		{
			"all is usual",
			[]models.Reason{usual("peers", 4), usual("ports", 9)},
			"10.0.0.5 behaves unlike the other hosts of this network: peers of 4 hosts, ports of 9 hosts do not usually come together.",
			"No alert if one of these had been what it usually is beside the others.",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &incident{key: incidentKey{addr: addr("10.0.0.5")}}
			a := models.Alert{Reasons: tc.reasons}
			in.explainAnomaly(&a)
			if a.Summary != tc.summary || a.Counterfactual != tc.counterfactual {
				t.Errorf("%s\n%s", a.Summary, a.Counterfactual)
			}
		})
	}
}
