package kafka_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/models"
)

// testForeignRecords: what others write may be anything. What can be read is; what cannot goes to the dead-letter topic, as it was; what is newer is left.
func testForeignRecords(t *testing.T, addr string) {
	b, logged := logged(t, kafka.Options{Brokers: []string{addr}, Partitions: 1})
	ctx := patient(t)
	must(t, deliver(ctx, b, alert("first", 1)))
	foreign := client(t, addr)
	good, err := bus.EncodeAlert(alertOf(alert("foreign", 1)))
	must(t, err)
	header := func(name, v string) []kgo.RecordHeader { return []kgo.RecordHeader{{Key: name, Value: []byte(v)}} }
	const alerts = string(bus.TopicAlerts)
	for _, r := range []*kgo.Record{
		{Topic: alerts, Key: []byte("k1"), Value: []byte("no JSON\xff\x00")},
		{Topic: alerts, Key: []byte("foreign"), Value: good}, // no header at all
		{Topic: alerts, Key: []byte("deleted")},              // a tombstone
		{Topic: alerts, Key: []byte("k2"), Value: []byte(strings.Replace(string(good), "{", `{"v":2,`, 1))},
		{Topic: alerts, Key: []byte("k3"), Value: good, Headers: header("schema", "netlyra.alert/7")},
		{Topic: alerts, Key: []byte("k4"), Value: good, Headers: header("schema", "example.order/1")},
		{Topic: alerts, Key: []byte("k5"), Value: []byte{}},
	} {
		must(t, foreign.ProduceSync(ctx, r).FirstErr())
	}
	must(t, deliver(ctx, b, alert("last", 1)))
	c := consumer(t, b, "console", bus.TopicAlerts)
	var ids []string
	for len(ids) < 3 {
		records, err := c.Poll(ctx)
		must(t, err)
		for _, r := range records {
			ids = append(ids, alertOf(r).ID)
		}
	}
	must(t, c.Commit(ctx))
	if diff := cmp.Diff([]string{"first", "foreign", "last"}, ids); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}

	dead := consumer(t, b, "operator", bus.TopicDLQ)
	type letter struct {
		Key, Data, Reason string
		Offset            int64
	}
	var letters []letter
	for len(letters) < 3 {
		records, err := dead.Poll(ctx)
		must(t, err)
		for _, r := range records {
			v, ok := r.Value.(bus.Rejected)
			if !ok || v.Topic != bus.TopicAlerts {
				t.Fatalf("%+v", r)
			}
			reason, _, _ := strings.Cut(strings.TrimPrefix(v.Reason, "bus: malformed record: "), " ")
			letters = append(letters, letter{v.Key, string(v.Data), reason, v.Offset})
		}
	}
	want := []letter{{"k1", "no JSON\xff\x00", "alert:", 1}, {"k4", string(good), "its", 6}, {"k5", "", "alert:", 7}}
	if diff := cmp.Diff(want, letters); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	drops := map[string]uint64{}
	for _, d := range b.Drops() {
		drops[d.Stage+" "+d.Reason] = d.Count
	}
	if diff := cmp.Diff(map[string]uint64{"bus.alerts malformed": 3, "bus.alerts newer_version": 2}, drops); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	eventually(t, "nothing is said of them", func() bool { return has(b, kafka.RecordsMalformed) && has(b, kafka.RecordsNewer) })
	logged.check(t, kafka.RecordsNewer)
}

func alertOf(r bus.Record) *models.Alert {
	a, _ := r.Value.(bus.Alert)
	return a.Alert
}

// testHeaders: what a record says of itself beside its value.
func testHeaders(t *testing.T, addr string) {
	b := open(t, kafka.Options{Brokers: []string{addr}, Partitions: 1})
	ctx := patient(t)
	a := alert("id", 3)
	alertOf(a).Sensor, alertOf(a).LastTS = "a b/ü", 1_795_498_893_000_001
	for _, r := range []bus.Record{
		a,
		{Topic: bus.TopicPackets, Key: "s", Value: bus.Encoded{Data: []byte("{}")}},
		{Topic: bus.TopicSlots, Key: "s", Value: bus.Encoded{Kind: bus.SlotDNS, Data: []byte("x")}},
		state("s", ""),
		{Topic: bus.TopicDLQ, Key: "k", Value: bus.Rejected{Topic: bus.TopicHosts, Partition: 3, Offset: 9, Key: "k", Reason: "why"}},
	} {
		must(t, deliver(ctx, b, r))
	}
	want := map[string]string{
		"netlyra.alerts": "content-type=application/json schema=netlyra.alert/1 ce_specversion=1.0 ce_id=id/3 ce_source=netlyra/a%20b%2F%C3%BC ce_type=netlyra.alert " +
			"ce_time=2026-11-24T05:41:33.000001Z",
		"netlyra.packets": "content-type=application/json schema=netlyra.packet/1",
		"netlyra.slots":   "content-type=application/vnd.apache.arrow.stream schema=netlyra.slots/1 content-encoding=zstd kind=dns",
		"netlyra.state":   "content-type=application/octet-stream schema=netlyra.state/1",
		"netlyra.dlq":     "content-type=application/octet-stream schema=netlyra.dlq/1 reason=why topic=netlyra.hosts partition=3 offset=9",
	}
	c := client(t, addr, kgo.ConsumeTopics(topics()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := map[string]string{}
	for len(got) < len(want) {
		fetches := c.PollFetches(ctx)
		must(t, ctx.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			var all []string
			for _, h := range r.Headers {
				all = append(all, fmt.Sprintf("%s=%s", h.Key, h.Value))
			}
			got[r.Topic] = strings.Join(all, " ")
			if r.Value == nil {
				t.Errorf("%s: a tombstone", r.Topic)
			}
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
