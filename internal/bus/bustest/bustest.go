// Package bustest is the conformance suite of bus.Bus: every implementation passes it, so that whoever uses a bus need
// not know which one it is.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// Harness makes buses for the suite. Each test calls one of them once.
type Harness struct {
	// Open makes an empty bus whose topics have at least four partitions.
	Open func(t *testing.T) bus.Bus
	// OpenStalled makes an empty bus that buffers some 64 KiB and delivers nothing until release is called. Where
	// nothing is delivered without a consumer, release may do nothing.
	OpenStalled func(t *testing.T) (b bus.Bus, release func())
}

// patience bounds every wait of the suite: it is how long a hang takes to be called one, not a measure of speed.
const patience = 30 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"values arrive as they were", testValues},
		{"each key in order", testOrder},
		{"every group sees every record", testGroups},
		{"members share a group", testMembers},
		{"a tail sees what is new", testTail},
		{"uncommitted records come again", testRedelivery},
		{"commit covers what was polled and no more", testCommit},
		{"poll waits", testPollWaits},
		{"a full buffer", testFull},
		{"producer close", testProducerClose},
		{"consumer close", testConsumerClose},
		{"bus close", testBusClose},
		{"values in the wrong topic", testWrongTopic},
		{"many producers", testManyProducers},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, h) })
	}
}

// open makes a bus that is closed at the test's end.
func open(t *testing.T, h Harness) bus.Bus {
	t.Helper()
	b := h.Open(t)
	t.Cleanup(func() { must(t, b.Close()) })
	return b
}

func producer(t *testing.T, b bus.Bus) bus.Producer {
	t.Helper()
	p, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func consumer(t *testing.T, b bus.Bus, group string, topics ...bus.Topic) bus.Consumer {
	t.Helper()
	c, err := b.Consumer(group, topics...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// numbered is a record that carries a number and nothing else.
func numbered(key string, n int64) bus.Record {
	return bus.Record{Topic: bus.TopicAlerts, Key: key, Value: bus.Alert{Alert: &models.Alert{
		ID: key, TS: 1, Rev: n, Sensor: key, Category: models.CategoryAnomaly, Severity: models.SeverityLow,
		State: models.AlertOpen,
	}}}
}

func number(t *testing.T, r bus.Record) int64 {
	t.Helper()
	a, ok := r.Value.(bus.Alert)
	if !ok {
		t.Fatalf("value %T, want bus.Alert", r.Value)
	}
	return a.Rev
}

func produce(ctx context.Context, t *testing.T, p bus.Producer, key string, from, to int64) {
	t.Helper()
	for n := from; n < to; n++ {
		must(t, p.Produce(ctx, numbered(key, n)))
	}
}

// poll reads until it has n records.
func poll(ctx context.Context, t *testing.T, c bus.Consumer, n int) []bus.Record {
	t.Helper()
	var all []bus.Record
	for len(all) < n {
		records, err := c.Poll(ctx)
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(all), n, err)
		}
		if len(records) == 0 {
			t.Fatal("poll returned neither a record nor an error")
		}
		all = append(all, records...)
	}
	return all
}

func numbers(t *testing.T, records []bus.Record) []int64 {
	t.Helper()
	var out []int64
	for _, r := range records {
		out = append(out, number(t, r))
	}
	return out
}

// sequence is from, from+1, … up to and without to.
func sequence(from, to int64) (out []int64) {
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

// silent checks that there is nothing to read now.
func silent(t *testing.T, c bus.Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if records, err := c.Poll(ctx); err == nil {
		t.Errorf("%d records too many, the first is %+v", len(records), records[0])
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("poll: %v, want the context's error", err)
	}
}

// packet is the JSON of a packet, and watermark that of the record that closes its slot.
func packet(sensor string) []byte {
	p := models.PacketMeta{TS: 1_000_001, Src: models.Addr{Lo: 1}, Proto: models.ProtoTCP, Flags: models.SYN, Entropy: 12345, SNI: models.Text{Len: 3}}
	return bus.NewPacketEncoder(sensor).Append(nil, &p, []byte("abc"))
}

func watermark(sensor string) []byte {
	return bus.NewPacketEncoder(sensor).AppendWatermark(nil, bus.WatermarkOf(&models.SensorSlot{N: 25}))
}

// slot is the only record of a slot in which nothing has moved.
func slot(t *testing.T, sensor string) (record []byte) {
	t.Helper()
	e, err := bus.NewSlotEncoder(sensor, 1)
	must(t, err)
	must(t, e.Encode(&models.SensorSlot{N: 25}, func(_ bus.SlotKind, b []byte) error {
		record = slices.Clone(b)
		return nil
	}))
	return record
}

// joined is the records without their places, and Connections and Hosts of the same sensor and time as one: a bus may cut them up.
func joined(records []bus.Record) (out []bus.Record) {
	for _, r := range records {
		r.Partition, r.Offset = 0, 0
		if n := len(out); n > 0 && out[n-1].Topic == r.Topic && out[n-1].Key == r.Key {
			if v, ok := join(out[n-1].Value, r.Value); ok {
				out[n-1].Value = v
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func join(a, b bus.Value) (bus.Value, bool) {
	switch a := a.(type) {
	case bus.Connections:
		b, ok := b.(bus.Connections)
		return bus.Connections{
			Now: a.Now, Changed: slices.Concat(a.Changed, b.Changed), Moving: slices.Concat(a.Moving, b.Moving), Ended: b.Ended,
		}, ok && a.Now == b.Now && !a.Ended
	case bus.Hosts:
		b, ok := b.(bus.Hosts)
		return bus.Hosts{Now: a.Now, Hosts: slices.Concat(a.Hosts, b.Hosts)}, ok && a.Now == b.Now
	default:
		return nil, false
	}
}

func testValues(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	p := producer(t, b)
	moving := connection("s1", 3)
	moving.State, moving.End = "established", models.ConnOpen
	for _, want := range [][]bus.Record{
		{
			{Topic: bus.TopicPackets, Key: "s1", Value: bus.Encoded{Data: packet("s1")}},
			{Topic: bus.TopicPackets, Key: "s1", Value: bus.Encoded{Data: watermark("s1")}},
		},
		{{Topic: bus.TopicSlots, Key: "s1", Value: bus.Encoded{Kind: bus.SlotConnections, Data: slot(t, "s1")}}},
		{numbered("s1", 42)},
		{{Topic: bus.TopicState, Key: "s1", Value: bus.Blob("state")}},
		{
			{Topic: bus.TopicConnections, Key: "s1", Value: bus.Connections{Now: 7}},
			{Topic: bus.TopicConnections, Key: "s1", Value: bus.Connections{
				Now: 8, Changed: []models.Connection{connection("s1", 1), connection("s1", 2)}, Moving: []models.Connection{moving},
			}},
			{Topic: bus.TopicConnections, Key: "s1", Value: bus.Connections{Now: 9, Changed: []models.Connection{connection("s1", 4)}, Ended: true}},
		},
		{{Topic: bus.TopicHosts, Key: "s1", Value: bus.Hosts{Now: 7, Hosts: []models.Host{{Sensor: "s1", IP: "192.0.2.1", FirstTS: 1, LastTS: 2, PacketsSent: 3}}}}},
		{{Topic: bus.TopicSensors, Key: "s1", Value: sensor()}},
		{{Topic: bus.TopicDLQ, Key: "s1", Value: bus.Rejected{Topic: bus.TopicAlerts, Partition: 3, Offset: 7, Key: "s1", Reason: "is no alert", Data: []byte("\x00dead")}}},
	} {
		c := consumer(t, b, "values of "+string(want[0].Topic), want[0].Topic)
		for _, r := range want {
			must(t, p.Produce(ctx, r))
		}
		var got []bus.Record
		for last := want[len(want)-1]; len(got) == 0 || !cmp.Equal(last, joined(got)[len(joined(got))-1]); {
			records, err := c.Poll(ctx)
			if err != nil {
				t.Errorf("%s: %v", last.Topic, err)
				break
			}
			got = append(got, records...)
		}
		if diff := cmp.Diff(want, joined(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want[0].Topic, diff)
		}
		must(t, c.Close())
	}
}

func sensor() bus.Sensor {
	return bus.Sensor{
		Role: bus.RoleSensor, Version: "v1", Boot: 1<<64 - 1, TS: 1, Now: 2, Source: "eth0", Packets: 3, Bytes: 4,
		Connections: models.ConnStats{Active: 1, Opened: 2, Expired: 1},
		Interfaces:  []models.Interface{{Name: "eth0", Link: "up", Received: 3}},
		Drops:       []models.Drop{{Stage: "kernel", Reason: "ring_full", Unit: models.DropPackets, Effect: models.DropUnseen}},
		Series:      []models.SeriesPoint{{Sensor: "s1", Step: 1, TS: 9, Packets: 3}},
	}
}

// connection is one that has ended.
func connection(sensor string, id int64) models.Connection {
	return models.Connection{
		ID: id, Sensor: sensor, SrcIP: "192.0.2.1", DstIP: "192.0.2.2", SrcPort: 1024, DstPort: 80, Proto: "TCP", State: "closed", End: models.ConnDone,
		FirstTS: 1, LastTS: 2, PacketsUp: 3, BytesUp: 200, FlagsUp: "SYN",
	}
}

// keys are enough to fall into different partitions.
func keys() (out []string) {
	for i := range 16 {
		out = append(out, fmt.Sprintf("sensor-%d", i))
	}
	return out
}

func testOrder(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	c, p := consumer(t, b, "g", bus.TopicAlerts), producer(t, b)
	const each = 100
	for n := range int64(each) {
		for _, k := range keys() {
			must(t, p.Produce(ctx, numbered(k, n)))
		}
	}
	got := map[string][]int64{}
	offsets := map[int32]int64{}
	for _, r := range poll(ctx, t, c, each*len(keys())) {
		got[r.Key] = append(got[r.Key], number(t, r))
		if last, seen := offsets[r.Partition]; seen && r.Offset <= last {
			t.Fatalf("partition %d: offset %d after %d", r.Partition, r.Offset, last)
		}
		offsets[r.Partition] = r.Offset
	}
	for _, k := range keys() {
		if diff := cmp.Diff(sequence(0, each), got[k]); diff != "" {
			t.Errorf("key %s (-want +got):\n%s", k, diff)
		}
	}
	if len(offsets) < 2 {
		t.Errorf("%d keys fell into %d partition", len(keys()), len(offsets))
	}
	silent(t, c)
}

func testGroups(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	one, two := consumer(t, b, "one", bus.TopicAlerts), consumer(t, b, "two", bus.TopicAlerts)
	p := producer(t, b)
	produce(ctx, t, p, "s", 0, 50)
	for name, c := range map[string]bus.Consumer{"one": one, "two": two} {
		if diff := cmp.Diff(sequence(0, 50), numbers(t, poll(ctx, t, c, 50))); diff != "" {
			t.Errorf("group %s (-want +got):\n%s", name, diff)
		}
		must(t, c.Commit(ctx))
		silent(t, c)
	}
}

// testTail: who reads the tail sees nothing that was there before, and then everything in order, whoever else reads; it commits nothing, and holds nobody up when it has ended.
func testTail(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	const before = 50
	p := producer(t, b)
	produce(ctx, t, p, "s", 0, before)
	poll(ctx, t, consumer(t, b, "first", bus.TopicAlerts), before) // they are there
	tail := func() bus.Consumer {
		c, err := b.Tail(bus.TopicAlerts)
		must(t, err)
		return c
	}
	one, two := tail(), tail()
	stop := make(chan struct{})
	var producing sync.WaitGroup
	producing.Go(func() {
		for n := int64(before); ctx.Err() == nil; n++ {
			select {
			case <-stop:
				return
			default:
				must(t, p.Produce(ctx, numbered("s", n)))
				time.Sleep(time.Millisecond)
			}
		}
	})
	for i, c := range []bus.Consumer{one, two} {
		got := numbers(t, poll(ctx, t, c, 20))
		if got[0] < before || !slices.Equal(got, sequence(got[0], got[0]+int64(len(got)))) {
			t.Errorf("tail %d: %v", i, got)
		}
		must(t, c.Commit(ctx))
		must(t, c.Close())
	}
	close(stop)
	producing.Wait()
	poll(ctx, t, consumer(t, b, "g", bus.TopicAlerts), before) // what tails have read is there for others
}

// testMembers: two members of a group read everything between them. While members join and leave a record may come
// twice, but never does a key's record come for the first time after a later one.
func testMembers(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	const each = 200
	total := each * len(keys())
	var mu sync.Mutex
	seen := map[string][]int64{}
	count := 0
	read, stop := context.WithCancel(ctx)
	var members sync.WaitGroup
	for range 2 {
		c := consumer(t, b, "g", bus.TopicAlerts)
		members.Go(func() {
			for {
				records, err := c.Poll(read)
				if err != nil {
					return
				}
				mu.Lock()
				for _, r := range records {
					if n := number(t, r); !slices.Contains(seen[r.Key], n) {
						seen[r.Key] = append(seen[r.Key], n)
						count++
					}
				}
				if count == total {
					stop()
				}
				mu.Unlock()
				if err := c.Commit(read); err != nil {
					return
				}
			}
		})
	}
	p := producer(t, b)
	for n := range int64(each) {
		for _, k := range keys() {
			must(t, p.Produce(ctx, numbered(k, n)))
		}
	}
	members.Wait()
	stop()
	for _, k := range keys() {
		if diff := cmp.Diff(sequence(0, each), seen[k]); diff != "" {
			t.Errorf("key %s (-want +got):\n%s", k, diff)
		}
	}
}

func testRedelivery(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	first, p := consumer(t, b, "g", bus.TopicAlerts), producer(t, b)
	produce(ctx, t, p, "s", 0, 10)
	poll(ctx, t, first, 10)
	must(t, first.Commit(ctx))
	produce(ctx, t, p, "s", 10, 20)
	poll(ctx, t, first, 10) // and does not commit
	must(t, first.Close())

	second := consumer(t, b, "g", bus.TopicAlerts)
	if diff := cmp.Diff(sequence(10, 20), numbers(t, poll(ctx, t, second, 10))); diff != "" {
		t.Errorf("after the first consumer (-want +got):\n%s", diff)
	}
	silent(t, second)
}

func testCommit(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	const total = 2000
	first, p := consumer(t, b, "g", bus.TopicAlerts), producer(t, b)
	produce(ctx, t, p, "s", 0, total)
	polled := int64(len(poll(ctx, t, first, 1)))
	must(t, first.Commit(ctx))
	must(t, first.Close())

	second := consumer(t, b, "g", bus.TopicAlerts)
	got := numbers(t, poll(ctx, t, second, int(total-polled)))
	if diff := cmp.Diff(sequence(polled, total), got); diff != "" {
		t.Errorf("after %d committed records (-want +got):\n%s", polled, diff)
	}
}

func testPollWaits(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	c, p := consumer(t, b, "g", bus.TopicAlerts), producer(t, b)
	silent(t, c)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Poll(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("poll: %v, want %v", err, context.Canceled)
	}
	if err := p.Produce(canceled, numbered("s", 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("produce: %v, want %v", err, context.Canceled)
	}
	got := make(chan []bus.Record, 1)
	go func() {
		records, err := c.Poll(ctx)
		if err != nil {
			t.Errorf("poll: %v", err)
		}
		got <- records
	}()
	must(t, p.Produce(ctx, numbered("s", 1)))
	if diff := cmp.Diff([]int64{1}, numbers(t, <-got)); diff != "" {
		t.Errorf("the waiting poll (-want +got):\n%s", diff)
	}
}

// testFull: what does not fit is refused or waits, is counted, and nothing of what was taken is lost.
func testFull(t *testing.T, h Harness) {
	b, release := h.OpenStalled(t)
	t.Cleanup(func() { must(t, b.Close()) })
	ctx := patient(t)
	p := producer(t, b)
	c := consumer(t, b, "g", bus.TopicAlerts)
	taken := int64(0)
	for ; p.TryProduce(numbered("s", taken)); taken++ {
		if taken == 100_000 {
			t.Fatal("the buffer has no bound")
		}
	}
	if taken == 0 {
		t.Fatal("an empty buffer takes nothing")
	}
	want := []models.Drop{{Stage: "bus.alerts", Reason: bus.DropFull, Count: 1, Unit: models.DropAlerts, Effect: models.DropUnstored}}
	if diff := cmp.Diff(want, b.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := p.Produce(short, numbered("s", -1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("produce into a full buffer: %v, want %v", err, context.DeadlineExceeded)
	}

	waiting := make(chan error, 1)
	go func() { waiting <- p.Produce(ctx, numbered("s", taken)) }()
	release()
	var got []int64
	for int64(len(got)) <= taken {
		got = append(got, numbers(t, poll(ctx, t, c, 1))...)
		must(t, c.Commit(ctx))
	}
	if diff := cmp.Diff(sequence(0, taken+1), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	must(t, <-waiting)
	if !p.TryProduce(numbered("s", taken+1)) {
		t.Error("the emptied buffer takes nothing")
	}
}

func testProducerClose(t *testing.T, h Harness) {
	b, release := h.OpenStalled(t)
	t.Cleanup(func() { must(t, b.Close()) })
	ctx := patient(t)
	p := producer(t, b)
	c := consumer(t, b, "g", bus.TopicAlerts)
	taken := int64(0)
	for p.TryProduce(numbered("s", taken)) {
		taken++
	}
	waiting := make(chan error, 1)
	go func() { waiting <- p.Produce(ctx, numbered("s", -1)) }()
	release()
	must(t, p.Close())
	must(t, p.Close())
	waited := <-waiting // it may have found room before the close
	if waited != nil && !errors.Is(waited, bus.ErrClosed) {
		t.Errorf("the waiting produce: %v, want %v", waited, bus.ErrClosed)
	}
	if err := p.Produce(ctx, numbered("s", -2)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("produce after close: %v, want %v", err, bus.ErrClosed)
	}
	if p.TryProduce(numbered("s", -2)) {
		t.Error("TryProduce after close: true")
	}
	if !slices.Contains(b.Drops(), models.Drop{Stage: "bus.alerts", Reason: bus.DropClosed, Count: 1, Unit: models.DropAlerts, Effect: models.DropUnstored}) {
		t.Errorf("drops %v, want one of reason %q", b.Drops(), bus.DropClosed)
	}
	want := sequence(0, taken)
	if waited == nil {
		want = append(want, -1)
	}
	if diff := cmp.Diff(want, numbers(t, poll(ctx, t, c, len(want)))); diff != "" {
		t.Errorf("taken before close (-want +got):\n%s", diff)
	}
}

func testConsumerClose(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	c := consumer(t, b, "g", bus.TopicAlerts)
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Poll(ctx)
		waiting <- err
	}()
	time.Sleep(10 * time.Millisecond) // most likely it waits by now; the test holds either way
	must(t, c.Close())
	must(t, c.Close())
	if err := <-waiting; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("the waiting poll: %v, want %v", err, bus.ErrClosed)
	}
	if _, err := c.Poll(ctx); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("poll after close: %v, want %v", err, bus.ErrClosed)
	}
	if err := c.Commit(ctx); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("commit after close: %v, want %v", err, bus.ErrClosed)
	}
}

func testBusClose(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	c, idle, p := consumer(t, b, "g", bus.TopicAlerts), consumer(t, b, "i", bus.TopicState), producer(t, b)
	waiting := make(chan error, 1)
	go func() {
		_, err := idle.Poll(ctx)
		waiting <- err
	}()
	produce(ctx, t, p, "s", 0, 10)
	select {
	case <-b.Done():
		t.Error("done before the end")
	default:
	}
	must(t, b.Close())
	must(t, b.Close())
	<-b.Done()
	if err := <-waiting; !errors.Is(err, bus.ErrClosed) {
		t.Errorf("the waiting poll: %v, want %v", err, bus.ErrClosed)
	}
	if err := p.Produce(ctx, numbered("s", 11)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("produce: %v, want %v", err, bus.ErrClosed)
	}
	if _, err := b.Producer(); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("producer: %v, want %v", err, bus.ErrClosed)
	}
	if _, err := b.Consumer("g", bus.TopicAlerts); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("consumer: %v, want %v", err, bus.ErrClosed)
	}
	for next := int64(0); ; {
		records, err := c.Poll(ctx)
		if errors.Is(err, bus.ErrClosed) {
			break
		}
		must(t, err)
		for _, r := range records {
			if n := number(t, r); n != next {
				t.Fatalf("record %d, want %d", n, next)
			}
			next++
		}
	}
}

func testWrongTopic(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	p := producer(t, b)
	for _, r := range []bus.Record{
		{Topic: bus.TopicPackets, Value: bus.Encoded{}},
		{Topic: bus.TopicPackets, Value: bus.Encoded{Kind: bus.SlotDNS, Data: []byte("x")}},
		{Topic: bus.TopicSlots, Value: bus.Encoded{Data: []byte("x")}},
		{Topic: bus.TopicSlots, Value: bus.Encoded{Kind: bus.SlotDNS}},
		{Topic: bus.TopicAlerts, Value: bus.Hosts{}},
		{Topic: bus.TopicAlerts, Value: bus.Alert{}},
		{Topic: bus.TopicState, Value: bus.Rejected{}},
		{Topic: bus.TopicDLQ, Value: bus.Blob{}},
		{Topic: bus.TopicPackets},
		{Topic: "netlyra.none", Value: bus.Blob{}},
	} {
		if err := p.Produce(ctx, r); !errors.Is(err, bus.ErrRecord) {
			t.Errorf("%T in %s: %v, want %v", r.Value, r.Topic, err, bus.ErrRecord)
		}
	}
	if _, err := b.Consumer("g", "netlyra.none"); err == nil {
		t.Error("a consumer of a topic that is not there")
	}
}

func testManyProducers(t *testing.T, h Harness) {
	b, ctx := open(t, h), patient(t)
	c := consumer(t, b, "g", bus.TopicAlerts)
	const each = 100
	var producers sync.WaitGroup
	for _, k := range keys() {
		p := producer(t, b)
		producers.Go(func() {
			for n := range int64(each) {
				if err := p.Produce(ctx, numbered(k, n)); err != nil {
					t.Errorf("produce: %v", err)
					return
				}
			}
		})
	}
	got := map[string][]int64{}
	for _, r := range poll(ctx, t, c, each*len(keys())) {
		got[r.Key] = append(got[r.Key], number(t, r))
	}
	producers.Wait()
	for _, k := range keys() {
		if diff := cmp.Diff(sequence(0, each), got[k]); diff != "" {
			t.Errorf("key %s (-want +got):\n%s", k, diff)
		}
	}
}
