package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/models"
	"netlyra/internal/role"
	"netlyra/internal/store"
)

// Set, this program is no test but stores and publishes alerts: the database and the broker.
const senderDatabase, senderBroker = "NETLYRA_TEST_SENDER_DATABASE", "NETLYRA_TEST_SENDER_BROKER"

const (
	sentAlerts = 5000
	sentBatch  = 10
)

// sentRev is the last revision of alert n: every fifth has a second one.
func sentRev(n int) int64 {
	if n%5 == 0 {
		return 2
	}
	return 1
}

func at(id string) int {
	n, _ := strconv.Atoi(id)
	return n
}

// sendAlerts stores alerts from where the database ends, and publishes them, as `run --brokers` does with what its detector finds.
func sendAlerts(ctx context.Context, database, addr string) error {
	log := slog.New(slog.DiscardHandler)
	posted := role.NewSignal()
	s, err := store.New(ctx, store.Options{Path: database, Log: log, Outbox: true, Posted: posted.Set})
	if err != nil {
		return err
	}
	b, err := kafka.New(kafka.Options{Brokers: []string{addr}}, kafka.Deps{Log: log})
	if err != nil {
		return err
	}
	local := bus.NewMemory(bus.MemoryOptions{})
	to, err := b.Producer()
	if err != nil {
		return err
	}
	stored := make(chan struct{})
	publisher, err := role.NewPublisher(role.PublisherOptions{Sensor: "s", Boot: 1}, role.PublisherDeps{Bus: local, To: to, Broker: b, Outbox: s, Posted: posted, Stored: stored, Until: ctx, Log: log})
	if err != nil {
		return err
	}
	save := role.PartFunc(func(ctx context.Context) error {
		defer close(stored)
		counts, err := s.Counts(ctx)
		if err != nil {
			return err
		}
		for n := int(counts.Alerts); n < sentAlerts; n += sentBatch { // a batch is stored whole or not at all
			var batch []*models.Alert
			for i := range sentBatch {
				a := models.Alert{ID: strconv.Itoa(n + i), TS: 1, LastTS: 1, Sensor: "s", Category: models.CategoryFlood, Severity: models.SeverityLow, State: models.AlertOpen, SrcIP: "192.0.2.1", DstIP: "192.0.2.2"}
				for a.Rev < sentRev(n+i) {
					next := a
					next.Rev++
					batch = append(batch, &next)
					a = next
				}
			}
			if err := s.SaveAlerts(ctx, batch); err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond) // so that there is something to kill
		}
		for waiting := int64(1); waiting > 0; time.Sleep(10 * time.Millisecond) {
			if waiting, err = s.Waiting(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	err = role.Run(ctx, local, []role.Part{save}, publisher.Readers(), []role.Part{s, b})
	return errors.Join(err, b.Close(), s.Close())
}

// Killed ten times, a sender goes on where it was: on the broker no alert is missing, and the highest revision of each is the one that was stored last.
func TestAlertsWhileTheSenderIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	broker := kafkatest.Start(t)
	database := filepath.Join(t.TempDir(), "sender.db")
	start := func(within time.Duration) *exec.Cmd {
		ctx, stop := context.WithTimeout(t.Context(), within)
		t.Cleanup(stop)
		c := exec.CommandContext(ctx, os.Args[0])
		c.Env = append(os.Environ(), senderDatabase+"="+database, senderBroker+"="+broker.Addr)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	kills := 0
	for ; kills < 10; kills++ {
		c := start(patience)
		time.Sleep(700 * time.Millisecond) // it has begun by then, most likely; the test holds either way
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err == nil {
			break // it had ended before
		}
	}
	if err := start(2 * patience).Wait(); err != nil {
		t.Fatal(err)
	}
	got, all := map[string]int64{}, 0
	last := 0
	readTopic(t, openKafka(t, broker.Addr), bus.TopicAlerts, func(r bus.Record) bool {
		if a, ok := r.Value.(bus.Alert); ok {
			if all++; a.Rev == sentRev(at(a.ID)) && got[a.ID] < a.Rev {
				last++
			}
			got[a.ID] = max(got[a.ID], a.Rev)
		}
		return last == sentAlerts
	})
	for n := range sentAlerts {
		if rev := got[strconv.Itoa(n)]; rev != sentRev(n) {
			t.Errorf("alert %d: revision %d is the highest, want %d", n, rev, sentRev(n))
		}
	}
	if kills < 8 {
		t.Errorf("it ended after %d kills", kills)
	}
	t.Logf("%d kills, %d records of %d alerts", kills, all, len(got))
}
