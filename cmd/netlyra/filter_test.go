package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// filteredPackets analyses the sample and says how many packets passed the filter.
func filteredPackets(t *testing.T, args ...string) uint64 {
	t.Helper()
	summary := filepath.Join(t.TempDir(), "summary.json")
	_, stderr, status := netlyra(t, append([]string{"analyze", "--detector", "off", "--summary", summary, sample}, args...)...)
	if status != exitOK {
		t.Fatalf("%v: exit status %d: %s", args, status, stderr)
	}
	raw, err := os.ReadFile(summary)
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Packets uint64 }
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s.Packets
}

func TestAnalyzeFilter(t *testing.T) {
	program := filepath.Join(t.TempDir(), "udp.bpf")
	// What tcpdump -ddd -y EN10MB ip proto 17 prints.
	if err := os.WriteFile(program, []byte("6\n40 0 0 12\n21 0 3 2048\n48 0 0 23\n21 0 1 17\n6 0 0 262144\n6 0 0 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, udp, rest := filteredPackets(t), filteredPackets(t, "--filter", "ip proto 17"), filteredPackets(t, "--filter", "not ip proto 17")
	if udp == 0 || rest == 0 || udp+rest != all {
		t.Errorf("%d UDP and %d others, of %d", udp, rest, all)
	}
	if got := filteredPackets(t, "--filter-bpf", program); got != udp {
		t.Errorf("--filter-bpf: %d packets, want %d", got, udp)
	}
}

func TestBadFilter(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live.bpf") // asks for the packet's type, which only the kernel knows
	if err := os.WriteFile(live, []byte("2\n40 0 0 4294963204\n6 0 0 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"analyze", []string{"analyze", sample, "--filter", "tcp port http"}, "\n  tcp port http\n           ^\n"},
		{"run", []string{"run", "-r", sample, "--filter", "tcp port http"}, "\n  tcp port http\n           ^\n"},
		{"no file", []string{"analyze", sample, "--filter-bpf", filepath.Join(dir, "none")}, "no such file"},
		{"no program", []string{"analyze", sample, "--filter-bpf", sample}, "number of instructions"},
		{"a program for the kernel", []string{"analyze", sample, "--filter-bpf", live}, "only the kernel"},
		{"both", []string{"analyze", sample, "--filter", "tcp", "--filter-bpf", live}, "--filter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, status := netlyra(t, tt.args...)
			if status != exitUsage || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit status %d, want %d: %q, want %q", status, exitUsage, stderr, tt.want)
			}
		})
	}
}

// TestFilterForLinkType has a filter that is in order, but not for the file's link type.
func TestFilterForLinkType(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "raw.pcap")
	file := []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x65\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x14\x00\x00\x00" + "E\x00\x00\x14\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	if err := os.WriteFile(raw, file, 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, status := netlyra(t, "analyze", raw, "--filter", "udp and vlan 5")
	if status != exitUsage || !strings.Contains(stderr, "there are no VLAN tags on raw IP\n  udp and vlan 5\n          ^") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}
