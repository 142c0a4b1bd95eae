package main

import (
	"bytes"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/detect"
	"netlyra/internal/models"
)

// worker is a running `netlyra detect`.
type worker struct {
	t    *testing.T
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan error
}

func startDetect(t *testing.T, args ...string) *worker {
	t.Helper()
	w := &worker{t: t, cmd: exec.CommandContext(t.Context(), netlyraBinary(t), append([]string{"detect", "--log-format", "json"}, args...)...), done: make(chan error, 1)}
	w.cmd.Stderr = &w.said
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.done <- w.cmd.Wait() }()
	t.Cleanup(w.kill)
	return w
}

// kill ends it without warning, once.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // it may have ended
	err := <-w.done
	w.done <- err
}

// attacked makes the traffic of half an hour of an office with attacks.
func attacked(t *testing.T, seed int, families string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "office.pcap")
	if _, stderr, status := netlyra(t, "bench", "office", "--seed", strconv.Itoa(seed), "--hours", "0.5", "--families", families, "--output", file); status != exitOK {
		t.Fatal(stderr)
	}
	return file
}

// unfinished are the last revisions of the alerts of a stream that may go on: nothing is closed because it ends.
func unfinished(t *testing.T, stream string, o detect.Options) lastOf {
	t.Helper()
	all := lastOf{}
	judge(t, stream, o, func(alerts []models.Alert) {
		for i := range alerts {
			all.add(&alerts[i])
		}
	})
	return all
}

// Three sensors leave detection to others. One detector, and three of which one is killed while they judge and another is added, say what each sensor would have said
// itself; and the sensors store it.
func TestDetectorsElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	const budget = 2000
	captures := map[string]string{"hall": sample, "office": attacked(t, 7, "scan_top100,dns_tunnel_txt,brute_ssh"), "yard": attacked(t, 11, "scan_horizontal_tcp,scan_icmp_sweep,exfil_dns")}
	want := map[string]lastOf{}
	all := 0
	for name, capture := range captures {
		stream, stderr, status := netlyra(t, "analyze", "--emit", "slots", "--sensor", name, "--quiet", capture)
		if status != exitOK {
			t.Fatal(stderr)
		}
		want[name] = unfinished(t, stream, detect.Options{Sensor: name, Seed: analysisSeed, BudgetDay: budget})
		all += len(want[name])
	}
	if all < 20 {
		t.Errorf("%d alerts in all: they show little", all)
	}
	for _, tc := range []struct {
		name    string
		workers int
		harm    bool
	}{{"one", 1, false}, {"three of which one is killed and another comes", 3, true}} {
		t.Run(tc.name, func(t *testing.T) {
			broker := kafkatest.Start(t)
			dir := t.TempDir()
			args := []string{"--brokers", broker.Addr, "--alert-budget", strconv.Itoa(budget), "--checkpoint-every", "400"}
			var workers []*worker
			for range tc.workers {
				workers = append(workers, startDetect(t, args...))
			}
			sensors := map[string]*process{}
			for name, capture := range captures {
				sensors[name] = startRun(t, nil, filepath.Join(dir, name+".db"), "--read", capture, "--speed", "max", "--keep-time", "--sensor", name, "--brokers", broker.Addr, "--publish", "slots", "--detector", "external")
			}
			if tc.harm {
				b := openKafka(t, broker.Addr)
				seen := map[string]bool{}
				readTopic(t, b, bus.TopicAlerts, func(r bus.Record) bool { // in the middle of it
					if a, ok := r.Value.(bus.Alert); ok {
						seen[a.ID] = true
					}
					return len(seen) >= 3
				})
				workers[0].kill()
				workers = append(workers[1:], startDetect(t, args...))
			}
			for _, name := range slices.Sorted(maps.Keys(captures)) {
				until(t, "alerts of "+name, func() bool {
					got := sensors[name].alertsBySensor()[name]
					for id, last := range want[name] {
						if got[id] != last {
							return false
						}
					}
					return len(got) == len(want[name])
				})
			}
			for i, w := range workers {
				if bytes.Contains(w.said.Bytes(), []byte(`"level":"ERROR"`)) {
					t.Errorf("detector %d: %s", i, w.said.String())
				}
			}
			for name, p := range sensors {
				if codes := p.troubles(); len(codes) > 0 {
					t.Errorf("%s: %v", name, codes)
				}
			}
		})
	}
}
