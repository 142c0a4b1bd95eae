package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/models"
)

// openKafka makes a bus over a broker, which runs until the test ends.
func openKafka(t *testing.T, addr string) *kafka.Bus {
	t.Helper()
	b, err := kafka.New(kafka.Options{Brokers: []string{addr}}, kafka.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, b.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// stats asks the API.
func (p *process) stats() (s models.Stats) {
	p.t.Helper()
	p.get("api/v1/stats", &s)
	return s
}

// troubles are the codes of what is wrong.
func (p *process) troubles() (codes []string) {
	p.t.Helper()
	var h struct{ Reasons []struct{ Code string } }
	p.get("api/v1/health", &h)
	for _, r := range h.Reasons {
		codes = append(codes, r.Code)
	}
	return codes
}

// readTopic reads what a topic has, until enough says so.
func readTopic(t *testing.T, b *kafka.Bus, topic bus.Topic, enough func(bus.Record) bool) {
	t.Helper()
	c, err := b.Consumer("test-"+string(topic), topic)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	for {
		records, err := c.Poll(ctx)
		if err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
		if slices.ContainsFunc(records, enough) {
			return
		}
	}
}

// lastOf are alerts by id, of each the members that two detectors must agree on.
type lastOf map[string]struct {
	Rev   int64
	Score float64
}

func (l lastOf) add(a *models.Alert) {
	if a.Rev >= l[a.ID].Rev {
		l[a.ID] = struct {
			Rev   int64
			Score float64
		}{a.Rev, a.Score}
	}
}

func analyzed(t *testing.T, args ...string) lastOf {
	t.Helper()
	stdout, stderr, status := netlyra(t, append([]string{"analyze", "--format", "jsonl", "--quiet"}, args...)...)
	if status != exitOK {
		t.Fatal(stderr)
	}
	all := lastOf{}
	for line := range strings.Lines(stdout) {
		var a models.Alert
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		all.add(&a)
	}
	return all
}

// What a sensor publishes to a real broker is what analyze emits, and what it has stored: packets, slots, alerts, connections, hosts, seconds.
func TestPublishedToKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	broker := kafkatest.Start(t)
	database := filepath.Join(t.TempDir(), "x.db")
	p := startRun(t, nil, database, "--read", sample, "--speed", "max", "--keep-time", "--sensor", "hall", "--brokers", broker.Addr, "--publish", "both")
	b := openKafka(t, broker.Addr)

	var packets bytes.Buffer
	want, stderr, status := netlyra(t, "analyze", "--emit", "packets", "--sensor", "hall", "--quiet", sample)
	if status != exitOK {
		t.Fatal(stderr)
	}
	// How far a file was read when a slot closed depends on its reader. At the end of a file analyze closes the last slot once more.
	received := regexp.MustCompile(`"received":[0-9]+`)
	want = received.ReplaceAllString(want, "")
	lines := strings.Count(want, "\n")
	readTopic(t, b, bus.TopicPackets, func(r bus.Record) bool {
		e, _ := r.Value.(bus.Encoded)
		packets.Write(append(e.Data, '\n'))
		lines--
		return lines == 0
	})
	if got := received.ReplaceAllString(packets.String(), ""); got != want {
		at := 0
		for at < len(got) && at < len(want) && got[at] == want[at] {
			at++
		}
		t.Errorf("packets differ from byte %d on: %.200q, want %.200q", at, got[at:], want[at:])
	}

	emitted, stderr, status := netlyra(t, "analyze", "--emit", "slots", "--sensor", "hall", "--quiet", sample)
	if status != exitOK {
		t.Fatal(stderr)
	}
	expected := sumsOfSlots(t, emitted)
	last := expected[len(expected)-1].slot
	decoder, err := bus.NewSlotDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var slots bytes.Buffer
	var record bus.SlotRecord
	readTopic(t, b, bus.TopicSlots, func(r bus.Record) bool {
		e, _ := r.Value.(bus.Encoded)
		slots.Write(e.Data)
		if err := decoder.Decode(e.Data, &record); err != nil {
			t.Fatal(err)
		}
		return record.Slot == last && record.Part+1 == record.Parts
	})
	if d := cmp.Diff(untilEmpty(expected), untilEmpty(sumsOfSlots(t, slots.String())), cmp.AllowUnexported(sums{})); d != "" {
		t.Errorf("slots (-want +got)\n%.2000s", d)
	}

	alerts, told := analyzed(t, "--sensor", "hall", sample), lastOf{}
	readTopic(t, b, bus.TopicAlerts, func(r bus.Record) bool {
		a, _ := r.Value.(bus.Alert)
		if r.Key != a.ID || a.Triage != "" {
			t.Errorf("key %q, %+v", r.Key, a)
		}
		told.add(a.Alert)
		return cmp.Equal(alerts, told)
	})

	ended := map[int64]bool{}
	readTopic(t, b, bus.TopicConnections, func(r bus.Record) bool {
		c, _ := r.Value.(bus.Connections)
		for i := range c.Changed {
			ended[c.Changed[i].ID] = c.Changed[i].End != models.ConnOpen
		}
		return c.Ended
	})
	hosts := map[string]uint64{}
	seconds := uint64(0)
	stats, briefs := p.stats(), 0
	readTopic(t, b, bus.TopicSensors, func(r bus.Record) bool {
		s, _ := r.Value.(bus.Sensor)
		for _, point := range s.Series {
			seconds += point.Packets
		}
		if s.Brief {
			briefs++
		}
		if r.Key != "hall" || s.Role != bus.RoleSensor || s.Boot == 0 || !s.Brief && s.Source != filepath.Base(sample) || s.Brief && s.Packets == 0 {
			t.Errorf("%q: %+v", r.Key, s)
		}
		return seconds >= stats.Packets
	})
	if briefs == 0 {
		t.Error("no counters between the states")
	}
	readTopic(t, b, bus.TopicHosts, func(r bus.Record) bool {
		h, _ := r.Value.(bus.Hosts)
		for _, host := range h.Hosts {
			hosts[host.IP] += host.BytesSent
		}
		return hosts["10.77.0.10"] > 0
	})
	if seconds != stats.Packets || uint64(len(ended)) != stats.Connections.Opened {
		t.Errorf("%d packets in seconds, %d connections; stats %d and %d", seconds, len(ended), stats.Packets, stats.Connections.Opened)
	}
	for id, end := range ended {
		if !end {
			t.Errorf("connection %d has no end", id)
		}
	}
	if codes := p.troubles(); len(codes) > 0 {
		t.Error(codes)
	}
}

// untilEmpty leaves out the empty slots at the end.
func untilEmpty(all []sums) []sums {
	for len(all) > 0 && all[len(all)-1].packets == 0 {
		all = all[:len(all)-1]
	}
	return all
}

// The broker may be absent when a sensor starts, and end while it runs: detection, storage and the page go on, health says what is wrong, and what was stored
// meanwhile is delivered when the broker is back.
func TestABrokerThatIsAway(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	broker := kafkatest.Start(t)
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	database := filepath.Join(t.TempDir(), "x.db")
	p := startRun(t, nil, database, "--read", sample, "--speed", "max", "--sensor", "hall", "--brokers", broker.Addr)
	problem := func(code string) func() bool {
		return func() bool { return slices.Contains(p.troubles(), code) }
	}
	until(t, "word of the broker", problem("broker_unreachable"))
	until(t, "two alerts", func() bool { return p.stats().Alerts.Stored > 2 && p.stats().Packets > 15_000 })
	if err := broker.Restart(); err != nil {
		t.Fatal(err)
	}
	b := openKafka(t, broker.Addr)
	ids := map[string]models.AlertState{}
	readTopic(t, b, bus.TopicAlerts, func(r bus.Record) bool {
		a, _ := r.Value.(bus.Alert)
		ids[a.ID] = a.State
		closed := 0
		for _, state := range ids {
			if state == models.AlertClosed {
				closed++
			}
		}
		return closed == 2
	})
	until(t, "good health", func() bool { return len(p.troubles()) == 0 })
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "word of the broker", problem("broker_unreachable"))
	p.terminate() // in order, though the broker takes nothing any more
}
