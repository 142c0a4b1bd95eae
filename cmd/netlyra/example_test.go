package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// The examples of alerts in the documentation are those of the recorded sample.
func TestExampleAlerts(t *testing.T) {
	stdout, stderr, status := netlyra(t, "analyze", "--quiet", "--sensor", "demo", "--format", "jsonl", sample)
	if status != exitOK {
		t.Fatal(stderr)
	}
	for line := range strings.Lines(stdout) {
		var a models.Alert
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("../../docs/wire-format", "alert-"+strings.ReplaceAll(string(a.Category), "_", "-")+".json")
		if *update {
			if err := os.WriteFile(file, []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), line); d != "" {
			t.Errorf("%s (-file +run)\n%s", file, d)
		}
	}
}
