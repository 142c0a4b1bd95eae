package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file may have any name: one that is no UTF-8 is opened, and what a terminal would obey is not sent there.
func TestNamesThatAreNoText(t *testing.T) {
	capture, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "caf\xe9\x1b[31m\u202e.pcap.zst")
	if err := os.WriteFile(name, capture, 0o600); err != nil {
		t.Skipf("the file system takes no such name: %v", err)
	}
	out, stderr, status := netlyra(t, "analyze", "--quiet", name)
	if status != exitOK || strings.Count(out, "\n") < 2 {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	if err := os.WriteFile(name, capture[:len(capture)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"analyze", "--quiet", name},
		{"analyze", "--quiet", name + "\x9b2J"},
		{"run", "--read", name + "\x1b"},
		{"baseline", "import", name},
		{"run", "--config", name},
		{"run", "--listen", "\x1b]0;x\a:1"},
		{"\x1bx"},
		{"alert", "show", "\x1b", "--api", "http://127.0.0.1:1"},
		{"config", "check", "-i", "\x1b", "--database", name + "/x"},
	} {
		out, stderr, status := netlyra(t, args...)
		said := out + stderr
		if status == exitOK || said == "" {
			t.Errorf("%q: exit status %d", args, status)
		}
		if i := strings.IndexFunc(said, func(r rune) bool {
			return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' || r == '\ufffd'
		}); i >= 0 {
			t.Errorf("%q: sends %q to the terminal", args, said[i:])
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain, and ü\n\tand more": "plain, and ü\n\tand more", "\x1b[2J": `\x1b[2J`, "\x9b": `\x9b`, "\u009b": `\u009b`, "\u202e": `\u202e`, "\r": `\x0d`, "\ufffd": "\ufffd", "\x7f": `\x7f`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	var errs bytes.Buffer
	(&program{stderr: &errs}).warn("\x1b")
	if errs.String() != "netlyra: warning: \\x1b\n" {
		t.Errorf("%q", errs.String())
	}
}
