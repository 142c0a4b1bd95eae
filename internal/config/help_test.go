package config

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

func help(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := Parse(Input{Args: args, Stdout: &out, Version: "1.2.3"}); !errors.Is(err, ErrHelp) {
		t.Fatalf("%v: %v", args, err)
	}
	return out.String()
}

// Every command but those of bench explains itself with examples, and shows the default of each flag that has one; help says the same as --help.
func TestHelp(t *testing.T) {
	p := &parsing{set: &settings{}, checker: &checker{}}
	parser, err := p.newParser(&CLI{})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		words := strings.Fields(leaf.Path())
		if words[0] == "bench" || words[0] == "version" {
			continue
		}
		text := help(t, append(words, "--help")...)
		if !regexp.MustCompile(`(?m)^Examples?:$`).MatchString(text) || !strings.Contains(text, "    netlyra "+strings.Join(words, " ")) && words[0] != "completion" {
			t.Errorf("%v has no examples:\n%s", words, text)
		}
		flat := strings.Join(strings.Fields(text), " ")
		for _, f := range leaf.Flags {
			if f.Default != "" && f.Name != "sensor" && !strings.Contains(flat, f.Default) {
				t.Errorf("%v --%s does not show its default %s", words, f.Name, f.Default)
			}
		}
		if other := help(t, append([]string{"help"}, words...)...); other != text {
			t.Errorf("help %v is another:\n%s", words, other)
		}
	}
	docs, err := os.ReadFile("../../docs/filter.md")
	if err != nil {
		t.Fatal(err)
	}
	if help(t, "help", "filter") != string(docs) {
		t.Error("help filter is not docs/filter.md")
	}
	if text := help(t, "--version"); text != "netlyra 1.2.3\n" {
		t.Errorf("--version: %q", text)
	}
	if text := help(t, "help"); text != help(t, "--help") || strings.Contains(text, "bench synth") || strings.Index(text, "\n  bench") < strings.Index(text, "\n  version") {
		t.Errorf("bench is not one line at the end:\n%s", text)
	}
	if _, err := Parse(Input{Args: []string{"help", "nosuch"}, Stdout: &bytes.Buffer{}}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("%v", err)
	}
	_, err = Parse(Input{Stdout: &bytes.Buffer{}})
	if _, usage := errors.AsType[*UsageError](err); !usage || !strings.Contains(err.Error(), "netlyra --help") {
		t.Errorf("without a word: %v", err)
	}
}

func TestPrintedSettingsAreThoseOfRun(t *testing.T) {
	all, err := Settings(Input{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range all {
		got[s.Variable] = s.Value
	}
	for _, name := range []string{"NETLYRA_SUMMARY", "NETLYRA_API", "NETLYRA_SIZE", "NETLYRA_SEED"} {
		if _, there := got[name]; there {
			t.Errorf("%s is none of run's", name)
		}
	}
	if got["NETLYRA_ALERT_AGE"] != "90d" || got["NETLYRA_LOG_LEVEL"] != "info" {
		t.Errorf("%v", got)
	}
}
