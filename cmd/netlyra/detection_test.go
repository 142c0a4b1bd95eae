package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
	"netlyra/internal/traffic"
)

// compose puts the captures of a schedule together, in a directory of the test's.
func compose(t *testing.T, captures, schedule string) (pcap string) {
	t.Helper()
	for _, tool := range []struct{ name, remedy string }{
		{"python3", "no Python: install it to compose the labelled captures (apt-get install python3)"},
		{"editcap", "no editcap: install it to compose the labelled captures (apt-get install tshark)"},
	} {
		if _, err := exec.LookPath(tool.name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(tool.remedy)
			}
			t.Skip(tool.remedy)
		}
	}
	prefix := filepath.Join(t.TempDir(), schedule)
	out, err := exec.CommandContext(t.Context(), "python3", filepath.Join(captures, "compose.py"),
		filepath.Join(captures, "schedules", schedule+".json"), captures, prefix).CombinedOutput()
	if err != nil {
		t.Fatalf("compose.py %s: %v\n%s", schedule, err, out)
	}
	return prefix + ".pcap"
}

// words are what a person is told of an incident in the end: what a golden file holds of it.
type words struct {
	Category       models.Category `json:"category"`
	Severity       models.Severity `json:"severity"`
	SrcIP          string          `json:"src_ip"`
	DstIP          string          `json:"dst_ip"`
	DstPort        uint16          `json:"dst_port"`
	Proto          string          `json:"proto"`
	Summary        string          `json:"summary"`
	Counterfactual string          `json:"counterfactual"`
	Reasons        []reason        `json:"reasons"`
}

type reason struct {
	Feature  string       `json:"feature"`
	Value    float64      `json:"value"`
	Unit     string       `json:"unit"`
	Expected models.Range `json:"expected"`
}

// Every alert on the development captures has the right category and a true sentence. The golden files were held against tshark by hand;
// when a sentence changes, do so again.
func TestWordsOnTheDevelopmentCaptures(t *testing.T) {
	if testing.Short() {
		t.Skip("composes and analyses two hours of traffic; run without -short")
	}
	captures := filepath.Dir(nettest.Shared(t, "captures", "compose.py"))
	for _, schedule := range []string{"office-dev", "office-dev-benign"} {
		t.Run(schedule, func(t *testing.T) {
			stdout, stderr, status := netlyra(t, "analyze", "--quiet", "--format", "jsonl", compose(t, captures, schedule))
			if status != exitOK {
				t.Fatalf("exit status %d: %s", status, stderr)
			}
			told := []words{}
			for line := range strings.Lines(stdout) {
				var w words
				if err := json.Unmarshal([]byte(line), &w); err != nil {
					t.Fatal(err)
				}
				told = append(told, w)
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", " ")
			if err := enc.Encode(told); err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + schedule + ".golden.json"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); d != "" {
				t.Errorf("(-golden +got)\n%s", d)
			}
		})
	}
}

// An office in which several families play: the same bytes, whatever the number of workers.
func TestAnalyzeOfAnOfficeDoesNotDependOnWorkers(t *testing.T) {
	length := 20 * time.Minute
	if testing.Short() {
		length = 17 * time.Minute
	}
	path := filepath.Join(t.TempDir(), "office.pcap")
	o := traffic.Options{Seed: 11, Duration: length, Changing: true}
	for i, family := range []string{
		"flood_icmp", "brute_kerberos", "scan_top100", "scan_horizontal_tcp", "amplification_dns", "dns_tunnel_txt", "scan_arp_sweep", "arp_spoof",
		"beacon_regular", "new_laptop", "antivirus_dns", "printer_discovery",
	} {
		o.Plays = append(o.Plays, traffic.Play{Family: family, At: 15*time.Minute + time.Duration(5*i)*time.Second, Seed: uint64(i)})
	}
	writeOffice(t, path, o)
	want, stderr, status := netlyra(t, "analyze", "--quiet", "--sensor", "office", "--format", "jsonl", path)
	if status != exitOK {
		t.Fatal(stderr)
	}
	kinds := map[string]int{}
	for line := range strings.Lines(want) {
		var w words
		if err := json.Unmarshal([]byte(line), &w); err != nil {
			t.Fatal(err)
		}
		kinds[string(w.Category)]++
	}
	if len(kinds) < 5 {
		t.Errorf("hardly anything was found: %v", kinds)
	}
	for _, workers := range []string{"1", "2", "4"} {
		got, stderr, _ := netlyra(t, "analyze", "--quiet", "--sensor", "office", "--format", "jsonl", "--workers", workers, path)
		if got != want {
			t.Errorf("%s workers: %s\n%s", workers, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")), stderr)
		}
	}
}

func writeOffice(t *testing.T, path string, o traffic.Options) {
	t.Helper()
	s, err := traffic.New(o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.WritePcap(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
