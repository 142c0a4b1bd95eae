package main

import (
	"strings"
	"testing"
)

// What is not learned yet says what it waits for.
func TestBaselineSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir() + "/"
	if _, stderr, status := netlyra(t, "analyze", "--quiet", "--sensor", "test", "--state", dir, sample); status != exitOK {
		t.Fatal(stderr)
	}
	out, stderr, status := netlyra(t, "baseline", "show", "--sensor", "test", "--state", dir)
	if status != exitOK || !strings.Contains(out, "  baseline waits for 15 minutes of watching\n") || !strings.Contains(out, "calibration_source waits for more time") {
		t.Errorf("exit status %d: %s%s", status, out, stderr)
	}
	for line := range strings.Lines(out) {
		if strings.HasSuffix(line, "waits for \n") {
			t.Errorf("waits for nothing: %s", line)
		}
	}
}
