package main

import (
	"strings"
	"testing"

	"netlyra/internal/detect"
	"netlyra/internal/models"
)

// What is not learned yet says what it waits for.
func TestBaselineSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir() + "/"
	if _, stderr, status := netlyra(t, "analyze", "--quiet", "--sensor", "test", "--state", dir, sample); status != exitOK {
		t.Fatal(stderr)
	}
	out, stderr, status := netlyra(t, "baseline", "show", "--sensor", "test", "--state", dir)
	if status != exitOK || !strings.Contains(out, "  baseline: to come after 15 minutes of watching\n") || !strings.Contains(out, "ranks of sources: to come after more time") ||
		!strings.Contains(out, "trees of destinations") {
		t.Errorf("exit status %d: %s%s", status, out, stderr)
	}
	for line := range strings.Lines(out) {
		if strings.HasSuffix(line, "to come after \n") {
			t.Errorf("waits for nothing: %s", line)
		}
	}
}

// Where nothing is kept, it is said why that may be; what is known of is counted in words that fit.
func TestBaselineInWords(t *testing.T) {
	if _, stderr, status := netlyra(t, "baseline", "show", "--state", t.TempDir()); status != exitFailed || !strings.Contains(stderr, "run --read keeps nothing unless --state is given") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	var out strings.Builder
	at := models.Micros(1_700_000_000_500_000)
	describe(&out, &detect.Baseline{
		Saved: at, Parts: map[string]float64{"calibration_source": 1},
		Known: map[string]int{"conversations": 1, "hardware_addresses": 1, "ports": 2}, Hosts: make([]detect.KnownHost, 1),
	})
	describeHost(&out, &detect.KnownHost{Host: "192.0.2.1", First: at, Ports: []string{"22/TCP"}})
	for _, want := range []string{
		"1 conversation, 1 hardware address, 2 ports, 1 host of this network", "uses 1 port: 22/TCP\n",
		"saved at " + at.Time().Local().Format(localTime) + " of", "known since " + at.Time().Local().Format(localTime) + "\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	for _, not := range []string{"talks to", "offers", "calibration_"} {
		if strings.Contains(out.String(), not) {
			t.Errorf("%q in:\n%s", not, out.String())
		}
	}
}
