package kafka

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
)

// example is a record of docs/wire-format, with the time that it is told at in the past of any clock.
func example(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../docs/wire-format", name))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.ReplaceAll(strings.TrimSpace(string(b)), `"2026-`, `"2016-`))
}

// examples are a record of each topic with the key that it has, and its header kind.
func examples(t testing.TB) map[bus.Topic]kgo.Record {
	t.Helper()
	record := func(topic bus.Topic, key string, value []byte) kgo.Record {
		return kgo.Record{Topic: string(topic), Key: []byte(key), Value: value}
	}
	slots := record(bus.TopicSlots, "sensor-1", []byte("slots"))
	slots.Headers = []kgo.RecordHeader{{Key: headerKind, Value: []byte(bus.SlotConnections)}}
	return map[bus.Topic]kgo.Record{
		bus.TopicPackets:     record(bus.TopicPackets, "sensor-1", example(t, "packet-syn.json")),
		bus.TopicSlots:       slots,
		bus.TopicAlerts:      record(bus.TopicAlerts, "87a04a86abcaf6bc", example(t, "alert-port-scan.json")),
		bus.TopicConnections: record(bus.TopicConnections, "sensor-1", example(t, "connection-ended.json")),
		bus.TopicHosts:       record(bus.TopicHosts, "sensor-1", example(t, "hosts.json")),
		bus.TopicSensors:     record(bus.TopicSensors, "sensor-1", example(t, "sensor.json")),
		bus.TopicState:       record(bus.TopicState, "sensor-1", []byte("state")),
		bus.TopicDLQ:         record(bus.TopicDLQ, "", []byte("dead")),
	}
}

// What a record says decides, and its key has to say the same: a sensor's name or an alert's id.
func TestKeysAreThoseOfTheirRecords(t *testing.T) {
	for topic, r := range examples(t) {
		if _, err := value(&r); err != nil {
			t.Errorf("%s with the key %q: %v", topic, r.Key, err)
		}
		for _, key := range []string{"", "other", "a\nb", "\xff", strings.Repeat("a", 256), strings.Repeat("a", 1<<20)} {
			r.Key = []byte(key)
			_, err := value(&r)
			opaque := topic == bus.TopicPackets || topic == bus.TopicSlots || topic == bus.TopicState // of which a key is all that says whose they are
			switch {
			case topic == bus.TopicDLQ || opaque && key == "other":
				if err != nil {
					t.Errorf("%s with the key %.20q: %v", topic, key, err)
				}
			case !errors.Is(err, bus.ErrMalformed) || !strings.Contains(err.Error(), "key") || len(err.Error()) > 1024:
				t.Errorf("%s with the key %.20q: error %.100v", topic, key, err)
			}
		}
		r.Key = nil
		if _, err := value(&r); topic != bus.TopicDLQ && !errors.Is(err, bus.ErrMalformed) {
			t.Errorf("%s without a key: error %v", topic, err)
		}
	}
}

// The reason that goes with a record to the dead letters is short, whatever the record is.
func TestReasonsAreShort(t *testing.T) {
	long := strings.Repeat("a", 900_000)
	for topic, r := range examples(t) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerSchema, Value: []byte(long)})
		if _, err := value(&r); !errors.Is(err, bus.ErrMalformed) || len(err.Error()) > 1024 {
			t.Errorf("%s: an error of %d bytes", topic, len(fmt.Sprint(err)))
		}
		r.Headers[len(r.Headers)-1].Value = []byte(specOf(topic).schema + "/" + strings.Repeat("0", 900_000) + "9")
		if _, err := value(&r); err == nil || len(err.Error()) > 1024 {
			t.Errorf("%s: an error of %d bytes", topic, len(fmt.Sprint(err)))
		}
	}
	for _, b := range []string{
		`{"sensor":"` + long + `"}`, `{"sensor":"sensor-1","now":"` + long + `"}`, `{"sensor":"sensor-1","boot":"` + long + `"}`, `{"sensor":"sensor-1","boot":` + long, `{"v":"` + long + `"}`,
	} {
		for _, topic := range []bus.Topic{bus.TopicAlerts, bus.TopicConnections, bus.TopicHosts, bus.TopicSensors} {
			if _, err := value(&kgo.Record{Topic: string(topic), Key: []byte("sensor-1"), Value: []byte(b)}); err == nil || len(err.Error()) > 1024 {
				t.Errorf("%s, %.40s: an error of %d bytes", topic, b, len(fmt.Sprint(err)))
			}
		}
	}
}

// FuzzValue: no record of any topic panics. What is read has the key of its record, fits its topic, and holds no more than a few times the bytes of the
// record; the error of what is not is one that a reader tells apart, and short.
func FuzzValue(f *testing.F) {
	topics := bus.Topics()
	for topic, r := range examples(f) {
		for i, t := range topics {
			if t == topic {
				f.Add(uint8(i), r.Key, r.Value, header(&r, headerKind), "")
				f.Add(uint8(i), r.Key, r.Value, "", specOf(t).schema+"/1")
			}
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, key, data []byte, kind, schema string) {
		topic := topics[int(n)%len(topics)]
		r := kgo.Record{Topic: string(topic), Key: key, Value: data, Headers: []kgo.RecordHeader{{Key: headerKind, Value: []byte(kind)}, {Key: headerSchema, Value: []byte(schema)}}}
		v, err := value(&r)
		if err != nil {
			if !errors.Is(err, bus.ErrMalformed) && !errors.Is(err, bus.ErrVersion) && !errors.Is(err, errTombstone) || len(err.Error()) > 2048 {
				t.Fatalf("an error of %d bytes: %.200v", len(err.Error()), err)
			}
			return
		}
		if err := (bus.Record{Topic: topic, Key: string(key), Value: v}).Check(); err != nil {
			t.Fatal(err)
		}
		if topic != bus.TopicDLQ && !bus.IsName(string(key)) {
			t.Fatalf("key %q", key)
		}
		latest := time.Now().Add(25 * time.Hour).UnixMicro()
		switch v := v.(type) {
		case bus.Alert:
			if v.ID != string(key) || int64(v.TS) > latest || len(v.Summary) > 4096 {
				t.Fatalf("%+v", v.Alert)
			}
		case bus.Connections:
			for _, c := range append(v.Changed, v.Moving...) {
				if c.Sensor != string(key) || c.BytesUp > 1<<53 || int64(c.LastTS) > latest {
					t.Fatalf("%+v", c)
				}
			}
			if int64(v.Now) > latest || v.Now == 0 {
				t.Fatalf("now %v", v.Now)
			}
		case bus.Hosts:
			for _, h := range v.Hosts {
				if h.Sensor != string(key) || h.BytesSent > 1<<53 || int64(h.LastTS) > latest {
					t.Fatalf("%+v", h)
				}
			}
		case bus.Sensor:
			for _, p := range v.Series {
				if p.Sensor != string(key) || p.Bytes > 1<<53 || p.TS > latest/1_000_000 {
					t.Fatalf("%+v", p)
				}
			}
			if v.Detector.Learning < 0 || v.Detector.Learning > 1 || int64(v.Now) > latest || len(v.Source) > 1024 {
				t.Fatalf("%+v", v)
			}
		}
	})
}
