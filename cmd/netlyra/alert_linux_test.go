package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"netlyra/internal/models"
)

// The alerts of the recorded sample, by the commands, from the running program that demands a token.
func TestAlertCommands(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("correct-horse-battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startRun(t, nil, filepath.Join(dir, "netlyra.db"), "--read", sample, "--speed", "max", "--token-file", token)
	alert := func(args ...string) string {
		t.Helper()
		out, stderr, status := netlyra(t, append(append([]string{"alert"}, args...), "--api", p.page, "--token-file", token)...)
		if status != exitOK || stderr != "" {
			t.Fatalf("%v: exit status %d: %s", args, status, stderr)
		}
		return out
	}
	list := func(args ...string) (all []models.Alert) {
		t.Helper()
		if err := json.Unmarshal([]byte(alert(append([]string{"list", "--format", "json"}, args...)...)), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	until(t, "end of scan and flood", func() bool {
		closed := 0
		for _, a := range list() {
			if a.State == models.AlertClosed {
				closed++
			}
		}
		return closed == 2
	})
	var scan, flood models.Alert
	for _, a := range list() {
		if a.Category == models.CategoryPortScan {
			scan = a
		} else {
			flood = a
		}
	}
	text := alert("list")
	for _, want := range []string{scan.ID, flood.ID, scan.Summary, string(scan.Severity), scan.TS.Time().Local().Format(localTime)} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for _, tc := range []struct {
		args []string
		want int
	}{
		{[]string{"--host", scan.SrcIP, "--severity", string(scan.Severity)}, 1},
		{[]string{"--host", "203.0.113.0/24"}, 0},
		{[]string{"--since", "30d"}, 2},
		{[]string{"--since", time.Now().Add(24 * time.Hour).Format(time.RFC3339)}, 0},
		{[]string{"--limit", "1"}, 1},
		{[]string{"--triage", "acknowledged"}, 0},
	} {
		if got := list(tc.args...); len(got) != tc.want {
			t.Errorf("%v: %d alerts, want %d", tc.args, len(got), tc.want)
		}
	}
	if text := alert("list", "--limit", "1"); !strings.Contains(text, "there are more") {
		t.Errorf("one of two, without a word:\n%s", text)
	}
	if out := alert("ack", scan.ID, flood.ID); !strings.Contains(out, scan.ID+": acknowledged") || !strings.Contains(out, flood.ID) {
		t.Errorf("ack: %s", out)
	}
	if n := len(list("--triage", "acknowledged")); n != 2 {
		t.Errorf("%d are acknowledged", n)
	}
	text = alert("show", scan.ID)
	for _, want := range []string{scan.Summary, scan.Counterfactual, scan.SrcIP, "because", "acknowledged; token decided", scan.LastTS.Time().Local().Format(localTime)} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	var one models.Alert
	if err := json.Unmarshal([]byte(alert("show", "--format", "json", scan.ID)), &one); err != nil || one.ID != scan.ID {
		t.Errorf("%v, %v", one.ID, err)
	}

	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"show", "none"}, exitFailed, `"none"`},
		{[]string{"ack", "none", scan.ID}, exitFailed, `"none"`},
		{[]string{"list", "--since", "soon"}, exitUsage, "--since soon"},
		{[]string{"list", "--severity", "grave"}, exitUsage, "grave"},
		{[]string{"list", "--limit", "0"}, exitUsage, "--limit 0"},
		{[]string{"list", "--token", "x"}, exitUsage, "--token-file"},
	} {
		_, stderr, status := netlyra(t, append(append([]string{"alert"}, tc.args...), "--api", p.page, "--token-file", token)...)
		if status != tc.status || !strings.Contains(stderr, tc.says) {
			t.Errorf("%v: exit status %d: %s", tc.args, status, stderr)
		}
	}
	if err := os.Chmod(token, 0o644); err != nil {
		t.Fatal(err)
	}
	q := startRun(t, nil, filepath.Join(dir, "second.db"), "--read", sample, "--token-file", token)
	if !strings.Contains(q.said(), `"msg":"a setting needs attention","problem":"every user of this machine can read `) || strings.Count(q.said(), "chmod o-r") != 1 {
		t.Errorf("run does not warn once:\n%s", q.said())
	}
	if _, stderr, status := netlyra(t, "exception", "list", "--api", p.page, "--token-file", token); status != exitOK || !strings.Contains(stderr, "chmod o-r") {
		t.Errorf("a token that everybody can read: exit status %d: %s", status, stderr)
	}
}
