package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// The whole way with the other engine: a sensor publishes packets, or slots, to a real broker; the Python engine judges them; the sensor takes the alerts from the broker
// into its database and serves them. They are those of the core profile.
func TestThePythonEngineBehindABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	engine, err := filepath.Abs("../../engine/.venv/bin/netlyra-engine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(engine); err != nil {
		nettest.Unavailable(t, "no engine/.venv: ./task engine:setup makes it")
	}
	const budget = 20_000
	capture := attacked(t, 7, "scan_top100,dns_tunnel_txt,brute_ssh")
	stream, stderr, status := netlyra(t, "analyze", "--emit", "slots", "--sensor", "hall", "--quiet", capture)
	if status != exitOK {
		t.Fatal(stderr)
	}
	// The scores of all revisions, and the last revisions but for those of the last two seconds: the engine judges a second with the slot behind it, and the stream just stops.
	known, least := map[string]map[int64]float64{}, lastOf{}
	var slots [][]models.Alert
	judge(t, stream, detect.Options{Sensor: "hall", Seed: analysisSeed, BudgetDay: budget, Without: detect.NotInCore}, func(alerts []models.Alert) {
		slots = append(slots, slices.Clone(alerts))
	})
	for n, alerts := range slots {
		for i := range alerts {
			a := &alerts[i]
			if known[a.ID] == nil {
				known[a.ID] = map[int64]float64{}
			}
			known[a.ID][a.Rev] = a.Score
			if n < len(slots)-50 {
				least.add(a)
			}
		}
	}
	if len(least) < 5 {
		t.Fatalf("%d alerts: they show little", len(least))
	}
	for _, form := range []string{"packets", "slots"} {
		t.Run(form, func(t *testing.T) {
			broker := kafkatest.Start(t)
			sensor := startRun(t, nil, filepath.Join(t.TempDir(), "hall.db"), "--read", capture, "--speed", "max", "--keep-time", "--sensor", "hall", "--brokers", broker.Addr, "--publish", form, "--detector", "external")
			python := exec.CommandContext(t.Context(), engine, "--brokers", broker.Addr, "--input", form, "--alert-budget", strconv.Itoa(budget))
			python.Stderr = os.Stderr
			if err := python.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, "alerts of the core profile", func() bool {
				got := sensor.alertsBySensor()["hall"]
				for id, last := range got {
					if score, ok := known[id][last.Rev]; !ok || score != last.Score {
						return false
					}
				}
				for id, last := range least {
					if got[id].Rev < last.Rev {
						return false
					}
				}
				return true
			})
			if name := sensor.stats().Detector.Name; name == "" {
				t.Error("the sensor does not hear who judges")
			}
			if err := python.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := python.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
