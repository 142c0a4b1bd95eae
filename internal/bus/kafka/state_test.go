package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
)

func state(key, text string) bus.Record {
	return bus.Record{Topic: bus.TopicState, Key: key, Value: bus.Blob(text)}
}

// testNewest: of each key the newest record, none of those that were deleted.
func testNewest(t *testing.T, addr string) {
	b := open(t, kafka.Options{Brokers: []string{addr}, Partitions: 4})
	ctx := patient(t)
	must(t, deliver(ctx, b, state("gone", "1")))
	tombstone := client(t, addr)
	must(t, tombstone.ProduceSync(ctx, &kgo.Record{Topic: string(bus.TopicState), Key: []byte("gone")}).FirstErr())
	want := map[string]string{}
	for i := range 20 {
		key := fmt.Sprintf("sensor-%02d", i)
		for rev := range 3 {
			want[key] = fmt.Sprint(rev)
			must(t, deliver(ctx, b, state(key, want[key])))
		}
	}
	records, err := b.Newest(ctx, bus.TopicState)
	must(t, err)
	got := map[string]string{}
	for _, r := range records {
		blob, _ := r.Value.(bus.Blob)
		got[r.Key] = string(blob)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.IsSortedFunc(records, func(a, b bus.Record) int { return strings.Compare(a.Key, b.Key) }) {
		t.Error("not in order")
	}
	if empty, err := b.Newest(ctx, bus.TopicHosts); err != nil || len(empty) != 0 {
		t.Errorf("an empty topic: %v, %v", empty, err)
	}
}

// testHandover: who takes a partition over is given the checkpoints of its keys, and begins where it says.
func testHandover(t *testing.T, addr string) {
	b := open(t, kafka.Options{Brokers: []string{addr}, Partitions: 4})
	ctx := patient(t)
	var sensors []string
	for i := range 12 {
		sensors = append(sensors, fmt.Sprintf("sensor-%02d", i))
	}
	const each = 30
	for range each {
		for _, s := range sensors {
			must(t, deliver(ctx, b, bus.Record{Topic: bus.TopicPackets, Key: s, Value: bus.Encoded{Data: []byte(`{"ts":"2026-11-24T05:41:33.000001Z","watermark":true}`)}}))
		}
	}
	// The first member reads everything and leaves a checkpoint of each sensor with the offset of its last record.
	last, of := map[string]int64{}, map[string]int32{}
	first, err := b.Member("detect", bus.TopicPackets, kafka.Handover{
		Assigned: func(_ context.Context, _ int32, checkpoints []bus.Record) (int64, error) {
			if len(checkpoints) != 0 {
				t.Errorf("checkpoints before there are any: %v", checkpoints)
			}
			return kafka.Committed, nil
		},
		Revoked: func([]int32) {},
	})
	must(t, err)
	for n := 0; n < each*len(sensors); {
		records, err := first.Poll(ctx)
		must(t, err)
		for _, r := range records {
			last[r.Key], of[r.Key] = r.Offset, r.Partition
			n++
		}
	}
	for _, s := range sensors {
		must(t, deliver(ctx, b, state(s, fmt.Sprint(last[s]))))
	}
	must(t, first.Close())

	// The second fails at first, then begins two records before the end of each partition.
	var mu sync.Mutex
	failed := false
	begins, revoked, took := map[int32]int64{}, map[int32]bool{}, []string(nil)
	second, err := b.Member("detect", bus.TopicPackets, kafka.Handover{
		Assigned: func(_ context.Context, p int32, checkpoints []bus.Record) (int64, error) {
			mu.Lock()
			defer mu.Unlock()
			if !failed {
				failed = true
				return 0, errors.New("not yet")
			}
			from := int64(0)
			for _, c := range checkpoints {
				blob, _ := c.Value.(bus.Blob)
				if of[c.Key] != p || string(blob) != fmt.Sprint(last[c.Key]) {
					t.Errorf("partition %d: the checkpoint of %s, %q", p, c.Key, blob)
				}
				took = append(took, c.Key)
				from = max(from, last[c.Key]-1)
			}
			begins[p] = from
			return from, nil
		},
		Revoked: func(ps []int32) {
			mu.Lock()
			defer mu.Unlock()
			for _, p := range ps {
				revoked[p] = true
			}
		},
	})
	must(t, err)
	used := map[int32]bool{}
	for _, p := range of {
		used[p] = true
	}
	got := map[int32][]int64{}
	for n := 0; n < 2*len(used); {
		records, err := second.Poll(ctx)
		must(t, err)
		for _, r := range records {
			got[r.Partition] = append(got[r.Partition], r.Offset)
			n++
		}
	}
	must(t, second.Close())
	mu.Lock()
	defer mu.Unlock()
	for p, offsets := range got {
		if want := []int64{begins[p], begins[p] + 1}; !slices.Equal(offsets, want) {
			t.Errorf("partition %d: read %v, want %v", p, offsets, want)
		}
		if !revoked[p] {
			t.Errorf("partition %d was not given up", p)
		}
	}
	slices.Sort(took)
	if !slices.Equal(slices.Compact(took), sensors) {
		t.Errorf("checkpoints of %v, want %v", took, sensors)
	}
}
