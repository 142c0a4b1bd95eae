package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

const sample = "../../demo/sample.pcap.zst"

// netlyra runs the program in this process.
func netlyra(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
	status = p.run(context.Background(), args)
	return out.String(), errs.String(), status
}

// The minute of work raises nothing, the scan and the flood raise one alert each; and these are their words.
func TestAnalyzeSample(t *testing.T) {
	got, stderr, status := netlyra(t, "analyze", "--sensor", "sample", "--format", "jsonl", sample)
	if status != exitOK {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	golden := "testdata/sample.golden.jsonl"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("(-golden +got)\n%s", d)
	}
	var categories []string
	for line := range strings.Lines(got) {
		var a struct{ Category string }
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		categories = append(categories, a.Category)
	}
	if d := cmp.Diff([]string{"port_scan", "flood"}, categories); d != "" {
		t.Errorf("categories (-want +got)\n%s", d)
	}
}

// The same capture gives the same bytes, whatever the number of workers.
func TestAnalyzeDoesNotDependOnWorkers(t *testing.T) {
	files := []string{sample}
	if more, _ := filepath.Glob("../../../shared/captures/attack/*"); len(more) > 0 {
		files = append(files, more...)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, _, _ := netlyra(t, "analyze", "--format", "jsonl", file)
			for _, workers := range []string{"1", "2", "4"} {
				got, _, _ := netlyra(t, "analyze", "--format", "jsonl", "--workers", workers, file)
				if got != want {
					t.Errorf("%s workers: %s", workers, cmp.Diff(want, got))
				}
			}
		})
	}
}

func TestAnalyzeSummary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary.json")
	_, stderr, status := netlyra(t, "analyze", "--summary", path, sample)
	if status != exitOK {
		t.Fatal(stderr)
	}
	s := readSummary(t, path)
	if s.Packets < 10_000 || s.Alerts != 2 || len(s.Files) != 1 || len(s.Talkers) != 5 || s.Talkers[0].IP != "10.77.0.10" || s.TalkersPart || s.ByProto["TCP"].Packets == 0 || s.Files[0].Packets != s.Packets || s.Files[0].Damaged != nil || s.CaptureSeconds < 60 || s.WallSeconds <= 0 {
		t.Errorf("%+v", s)
	}
}

// readSummary reads what --summary has written; it has no other fields than those that are promised.
func readSummary(t *testing.T, path string) (s summary) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A damaged file is analysed up to the damage, the offset is named, and the files after it are read.
func TestAnalyzeDamagedFile(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain.pcap")
	if _, stderr, status := netlyra(t, "bench", "synth", "--size", "100kB", "--output", plain); status != exitOK {
		t.Fatal(stderr)
	}
	whole, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.pcap")
	if err := os.WriteFile(cut, whole[:50_001], 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "summary.json")
	_, stderr, status := netlyra(t, "analyze", "--summary", path, cut, plain)
	if status != exitDamaged || !strings.Contains(stderr, "cut.pcap") {
		t.Errorf("exit status %d, %s", status, stderr)
	}
	s := readSummary(t, path)
	if len(s.Files) != 2 || s.Files[0].Damaged == nil || s.Files[0].Packets == 0 || s.Files[1].Packets <= s.Files[0].Packets {
		t.Fatalf("%+v", s)
	}
	if d := s.Files[0].Damaged; d.Offset <= 49_000 || d.Offset > 50_001 || d.Reason == "" {
		t.Errorf("%+v", d)
	}
}

// A file that cannot be read does not keep the others from being read, but the status says so.
func TestAnalyzeGoesOnBehindAnUnreadableFile(t *testing.T) {
	stdout, stderr, status := netlyra(t, "analyze", "--format", "jsonl", "analyze_test.go", sample, "/nowhere/x.pcap")
	if status != exitFailed || strings.Count(stdout, "\n") != 2 || !strings.Contains(stderr, "analyze_test.go") || !strings.Contains(stderr, "/nowhere/x.pcap") {
		t.Errorf("exit status %d\n%s\n%s", status, stdout, stderr)
	}
}

// The summary is written for the only file as for one of several, and says why it could not be read.
func TestSummaryOfAnUnreadableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "summary.json")
	_, stderr, status := netlyra(t, "analyze", "--summary", path, "analyze_test.go")
	if status != exitFailed || !strings.Contains(stderr, "analyze_test.go is not a capture file") || strings.Contains(stderr, "no packets") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	s := readSummary(t, path)
	if len(s.Files) != 1 || !strings.Contains(s.Files[0].Error, "not a capture file") || s.Packets != 0 {
		t.Errorf("%+v", s)
	}
}

// What cannot be written later is known before hours of reading.
func TestSummaryThatCannotBeWritten(t *testing.T) {
	stdout, stderr, status := netlyra(t, "analyze", "--summary", "/nowhere/s.json", sample)
	if status != exitUsage || stdout != "" || !strings.Contains(stderr, "/nowhere") || !strings.Contains(stderr, "--summary") {
		t.Errorf("exit status %d, %q, %q", status, stdout, stderr)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, tc := range []struct {
		name   string
		args   []string
		status int
		says   []string
	}{
		{"missing file", []string{"analyze", "/nowhere/x.pcap"}, exitFailed, []string{"/nowhere/x.pcap"}},
		{"no capture", []string{"analyze", "analyze_test.go"}, exitFailed, []string{"analyze_test.go", "not a capture file"}},
		{"unknown flag", []string{"analyze", "--speed", "1", sample}, exitUsage, []string{"--speed"}},
		{"unknown records", []string{"analyze", "--emit", "flows", sample}, exitUsage, []string{"--emit", "packets", "slots"}},
		{"unknown profile", []string{"analyze", "--profile", "half", sample}, exitUsage, []string{"--profile", "core"}},
		{"several at once", []string{"run", "--workers", "0", "--alert-budget=-1", "--loop"}, exitUsage, []string{"--workers", "--alert-budget", "--loop"}},
		{"unknown interface", []string{"run", "-i", "nosuch0", "--database", filepath.Join(t.TempDir(), "n.db")}, exitUsage, []string{"nosuch0", "lo"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, stderr, status := netlyra(t, tc.args...)
			if status != tc.status {
				t.Errorf("exit status %d, want %d: %s", status, tc.status, stderr)
			}
			for _, s := range tc.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("%q does not name %s", stderr, s)
				}
			}
		})
	}
}

func TestUnknownSettingIsAMistake(t *testing.T) {
	var errs bytes.Buffer
	p := &program{stdout: &errs, stderr: &errs, environ: []string{"NETLYRA_SENSR=x"}}
	if status := p.run(context.Background(), []string{"version"}); status != exitUsage || !strings.Contains(errs.String(), "NETLYRA_SENSR") {
		t.Errorf("exit status %d: %s", status, errs.String())
	}
}

func TestSummaryCountsInWords(t *testing.T) {
	for _, tc := range []struct {
		s    summary
		want []string
	}{
		{summary{Packets: 1, Connections: 1, ClockJumps: 1, TimeOutliers: 1}, []string{"1 packet, ", "1 connection in", "go back once by", "1 packet has a time"}},
		{summary{Packets: 2000, Connections: 2, ClockJumps: 2, TimeOutliers: 2}, []string{"2,000 packets, ", "2 connections in", "go back 2 times by", "2 packets have a time"}},
	} {
		var out strings.Builder
		tc.s.print(&out)
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in:\n%s", want, out.String())
			}
		}
	}
}
