package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeSynth writes a synthetic capture for one test.
func writeSynth(t testing.TB, o SynthOptions) (path string, packets int64) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "synth.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if packets, err = Synth(f, o); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path, packets
}

func TestSynthIsTheSameForTheSameSeed(t *testing.T) {
	sum := func(seed uint64) string {
		var b bytes.Buffer
		if _, err := Synth(&b, SynthOptions{Bytes: 1 << 20, Connections: 150, Seed: seed}); err != nil {
			t.Fatal(err)
		}
		s := sha256.Sum256(b.Bytes())
		return hex.EncodeToString(s[:])
	}
	if a, b := sum(42), sum(42); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if sum(42) == sum(43) {
		t.Error("another seed gives the same")
	}
}

// The captures that figures are published for are the same everywhere: testdata/synth.sha256 has what
// `netlyra bench synth --size SIZE` prints.
func TestSynthHasTheCommittedSum(t *testing.T) {
	sums, err := os.ReadFile("testdata/synth.sha256")
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{"4MB": 4e6, "1GB": 1e9}
	for line := range strings.Lines(string(sums)) {
		want, size, _ := strings.Cut(strings.TrimSpace(line), "  ")
		t.Run(size, func(t *testing.T) {
			if testing.Short() && sizes[size] > 1e8 {
				t.Skip("takes some seconds: run without -short")
			}
			got := sha256.New()
			if _, err := Synth(got, SynthOptions{Bytes: sizes[size]}); err != nil {
				t.Fatal(err)
			}
			if sum := hex.EncodeToString(got.Sum(nil)); sum != want {
				t.Errorf("SHA-256 %s, want %s", sum, want)
			}
		})
	}
}

// Every stage reads the same packets, the table finds the connections that were asked for, and nothing is allocated per packet.
func TestReplayStagesAgree(t *testing.T) {
	const connections = 1500
	path, packets := writeSynth(t, SynthOptions{Bytes: 10 << 20, Connections: connections})
	for _, stages := range Stages() {
		r, err := Replay(context.Background(), ReplayOptions{Path: path, Stages: stages, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if r.Packets != uint64(packets) {
			t.Errorf("%s: %d packets, want %d", stages, r.Packets, packets)
		}
		if slices.Index(Stages(), stages) >= slices.Index(Stages(), "flow") && r.Connections != connections {
			t.Errorf("%s: %d connections, want %d", stages, r.Connections, connections)
		}
		if perPacket := float64(r.Mallocs) / float64(packets); stages != "naive" && perPacket > 0.1 {
			t.Errorf("%s: %.3f allocations per packet", stages, perPacket)
		}
		if r.Alerts != 0 && stages == "full" {
			t.Errorf("%s: %d alerts on traffic in which all handshakes complete", stages, r.Alerts)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	path, packets := writeSynth(b, SynthOptions{Bytes: 200 << 20, Connections: 31_000})
	for _, stages := range []string{"entropy", "flow", "full"} {
		b.Run(stages, func(b *testing.B) {
			cpu := 0.0
			for b.Loop() {
				r, err := Replay(context.Background(), ReplayOptions{Path: path, Stages: stages, Workers: 1})
				if err != nil {
					b.Fatal(err)
				}
				cpu += r.CPUSeconds
			}
			b.ReportMetric(cpu*1e9/float64(b.N)/float64(packets), "cpu-ns/packet")
		})
	}
}
