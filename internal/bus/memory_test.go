package bus_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/bus"
	"netlyra/internal/bus/bustest"
	"netlyra/internal/models"
)

func TestMemoryConforms(t *testing.T) {
	bustest.Run(t, bustest.Harness{
		Open: func(*testing.T) bus.Bus { return bus.NewMemory(bus.MemoryOptions{Partitions: 8}) },
		OpenStalled: func(*testing.T) (bus.Bus, func()) {
			return bus.NewMemory(bus.MemoryOptions{BufferBytes: 64 << 10}), func() {}
		},
	})
}

func pair(t *testing.T, o bus.MemoryOptions, topics ...bus.Topic) (*bus.Memory, bus.Producer, bus.Consumer) {
	t.Helper()
	m := bus.NewMemory(o)
	p, err := m.Producer()
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Consumer("g", topics...)
	if err != nil {
		t.Fatal(err)
	}
	return m, p, c
}

func TestMemoryHandsValuesOverByReference(t *testing.T) {
	_, p, c := pair(t, bus.MemoryOptions{}, bus.TopicConnections)
	v := bus.Connections{Changed: make([]models.Connection, 3)}
	if err := p.Produce(t.Context(), bus.Record{Topic: bus.TopicConnections, Key: "s", Value: v}); err != nil {
		t.Fatal(err)
	}
	records, err := c.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, ok := records[0].Value.(bus.Connections)
	if !ok || &got.Changed[0] != &v.Changed[0] {
		t.Errorf("got %T, a copy or something else", records[0].Value)
	}
}

// TestMemoryKeepsWhatACloseLeaves: a process that ends in good order reads everything that was taken before Close.
func TestMemoryKeepsWhatACloseLeaves(t *testing.T) {
	m, p, c := pair(t, bus.MemoryOptions{}, bus.TopicState)
	for range 1000 {
		if !p.TryProduce(bus.Record{Topic: bus.TopicState, Key: "s", Value: bus.Blob("x")}) {
			t.Fatal("refused")
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		records, err := c.Poll(t.Context())
		if errors.Is(err, bus.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n += len(records)
		if err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n != 1000 {
		t.Errorf("read %d records after close, want 1000", n)
	}
}

func TestMemoryCountsConnectionsNotRecords(t *testing.T) {
	m, p, _ := pair(t, bus.MemoryOptions{BufferBytes: 1}, bus.TopicConnections)
	r := bus.Record{Topic: bus.TopicConnections, Key: "s", Value: bus.Connections{Changed: make([]models.Connection, 7)}}
	if !p.TryProduce(r) {
		t.Fatal("an empty topic takes one record of any size")
	}
	for range 2 {
		if p.TryProduce(r) {
			t.Fatal("a full topic took a record")
		}
	}
	want := []models.Drop{{Stage: "bus.connections", Reason: bus.DropFull, Count: 14, Unit: models.DropRows, Effect: models.DropUnstored}}
	if diff := cmp.Diff(want, m.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
}

// TestMemoryTopicsDoNotFillEachOther: a flood of packets leaves room for alerts.
func TestMemoryTopicsDoNotFillEachOther(t *testing.T) {
	_, p, _ := pair(t, bus.MemoryOptions{BufferBytes: 1}, bus.TopicPackets, bus.TopicAlerts)
	for range 2 {
		p.TryProduce(bus.Record{Topic: bus.TopicPackets, Value: bus.Encoded{Data: []byte("x")}})
	}
	if !p.TryProduce(bus.Record{Topic: bus.TopicAlerts, Value: bus.Alert{Alert: &models.Alert{}}}) {
		t.Error("no room for an alert")
	}
}

// TestMemoryBusyPartitionDoesNotStarveOthers: whatever one sensor sends, the others' records are read.
func TestMemoryBusyPartitionDoesNotStarveOthers(t *testing.T) {
	_, p, c := pair(t, bus.MemoryOptions{Partitions: 4}, bus.TopicState)
	put := func(key string) int32 {
		if !p.TryProduce(bus.Record{Topic: bus.TopicState, Key: key, Value: bus.Blob("x")}) {
			t.Fatal("refused")
		}
		return 0
	}
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, busy := range keys {
		for range 5000 {
			put(busy)
		}
	}
	seen := map[int32]bool{}
	for range 4 {
		records, err := c.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			seen[r.Partition] = true
		}
	}
	if len(seen) < 2 {
		t.Errorf("four polls read partitions %v only", seen)
	}
}

func TestMemoryTryProducePanicsOnMistakes(t *testing.T) {
	_, p, _ := pair(t, bus.MemoryOptions{}, bus.TopicPackets)
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, bus.ErrRecord) {
			t.Errorf("recovered %v, want %v", err, bus.ErrRecord)
		}
	}()
	p.TryProduce(bus.Record{Topic: bus.TopicPackets, Value: bus.Blob("x")})
	t.Error("did not panic")
}

func BenchmarkMemory(b *testing.B) {
	m := bus.NewMemory(bus.MemoryOptions{})
	p, err := m.Producer()
	if err != nil {
		b.Fatal(err)
	}
	c, err := m.Consumer("g", bus.TopicPackets)
	if err != nil {
		b.Fatal(err)
	}
	r := bus.Record{Topic: bus.TopicPackets, Key: "s", Value: bus.Encoded{Data: make([]byte, 350)}}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Produce(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := c.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
