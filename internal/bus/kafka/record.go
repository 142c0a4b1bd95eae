package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// The names of headers.
const (
	headerType     = "content-type"
	headerSchema   = "schema"
	headerEncoding = "content-encoding"
	headerKind     = "kind" // of TopicSlots

	// Of TopicDLQ.
	headerReason    = "reason"
	headerTopic     = "topic"
	headerPartition = "partition"
	headerOffset    = "offset"
)

// piece is a part of a value that is a record of its own on the broker.
type piece struct {
	data    []byte
	headers []kgo.RecordHeader // beside those of the topic
	count   int                // what its loss is counted as
}

// pieces encodes a value.
func pieces(r *bus.Record) (out []piece, err error) {
	switch v := r.Value.(type) {
	case bus.Encoded:
		p := piece{data: v.Data, count: 1}
		if v.Kind != "" {
			p.headers = []kgo.RecordHeader{{Key: headerKind, Value: []byte(v.Kind)}}
		}
		return []piece{p}, nil
	case bus.Alert:
		b, err := bus.EncodeAlert(v.Alert)
		return []piece{{data: b, count: 1, headers: cloudEvent(v.Alert)}}, err
	case bus.Connections:
		err = bus.EncodeConnections(r.Key, v, func(e bus.Event, b []byte) error {
			count := 0 // as Connections.Count
			if e == bus.EventChanged || e == bus.EventEnded {
				count = 1
			}
			out = append(out, piece{data: b, count: count})
			return nil
		})
		return out, err
	case bus.Hosts:
		err = bus.EncodeHosts(r.Key, v, func(hosts int, b []byte) error {
			out = append(out, piece{data: b, count: hosts})
			return nil
		})
		return out, err
	case bus.Sensor:
		b, err := bus.EncodeSensor(r.Key, v)
		return []piece{{data: b, count: 1}}, err
	case bus.Blob:
		return []piece{{data: nonNil(v), count: 1}}, nil
	case bus.Rejected:
		return []piece{{data: nonNil(v.Data), count: 1, headers: []kgo.RecordHeader{
			{Key: headerReason, Value: []byte(v.Reason)},
			{Key: headerTopic, Value: []byte(v.Topic)},
			{Key: headerPartition, Value: []byte(strconv.Itoa(int(v.Partition)))},
			{Key: headerOffset, Value: []byte(strconv.FormatInt(v.Offset, 10))},
		}}}, nil
	default: // Check has refused it
		return nil, bus.ErrRecord
	}
}

// nonNil keeps an empty body from being a tombstone, which deletes a key.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// cloudEvent are the headers of CloudEvents' binding to Kafka (version 1.0.2, binary content mode).
func cloudEvent(a *models.Alert) []kgo.RecordHeader {
	at := a.LastTS
	if at == 0 {
		at = a.TS
	}
	return []kgo.RecordHeader{
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: []byte(a.ID + "/" + strconv.FormatInt(a.Rev, 10))},
		{Key: "ce_source", Value: []byte("netlyra/" + uriSegment(a.Sensor))},
		{Key: "ce_type", Value: []byte("netlyra.alert")},
		{Key: "ce_time", Value: []byte(at.String())},
	}
}

// uriSegment is a name as a segment of a URI reference (RFC 3986, section 3.3): what is not unreserved is percent-encoded.
func uriSegment(name string) string {
	var s strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			s.WriteByte(c)
		} else {
			fmt.Fprintf(&s, "%%%02X", c)
		}
	}
	return s.String()
}

// errTombstone: the record deletes its key, and carries nothing.
var errTombstone = errors.New("kafka: tombstone")

// value decodes a record. The error is bus.ErrVersion, bus.ErrMalformed or errTombstone.
func value(r *kgo.Record) (bus.Value, error) {
	if r.Value == nil {
		return nil, errTombstone
	}
	t := bus.Topic(r.Topic)
	if err := checkSchema(t, header(r, headerSchema)); err != nil {
		return nil, err
	}
	if t == bus.TopicDLQ { // whatever could not be read, as it was
		return rejected(r), nil
	}
	key, v, err := decoded(t, r)
	if err != nil {
		return nil, err
	}
	return v, checkKey(r.Key, key)
}

// decoded is what a record carries, and the key that it has to have: nothing where it does not say.
func decoded(t bus.Topic, r *kgo.Record) (key string, v bus.Value, err error) {
	now := time.Now()
	switch t {
	case bus.TopicPackets:
		v, err = checked(bus.Encoded{Data: r.Value}, t)
	case bus.TopicSlots:
		v, err = checked(bus.Encoded{Kind: bus.SlotKind(header(r, headerKind)), Data: r.Value}, t)
	case bus.TopicAlerts:
		var a *models.Alert
		if a, err = bus.DecodeAlert(r.Value, now); err == nil {
			key, v = a.ID, bus.Alert{Alert: a}
		}
	case bus.TopicConnections:
		key, v, err = of(bus.DecodeConnections(r.Value, now))
	case bus.TopicHosts:
		key, v, err = of(bus.DecodeHosts(r.Value, now))
	case bus.TopicSensors:
		key, v, err = of(bus.DecodeSensor(r.Value, now))
	default:
		v = bus.Blob(r.Value)
	}
	return key, v, err
}

func of[V bus.Value](sensor string, v V, err error) (string, bus.Value, error) { return sensor, v, err }

// checkKey says whether a record's key is what the record says. Keys decide to whom records belong, and are written by whoever may write to the topic.
func checkKey(key []byte, want string) error {
	switch got := string(key); {
	case !bus.IsName(got):
		return fmt.Errorf("%w: its key is not a name of 1 to 255 bytes without control characters", bus.ErrMalformed)
	case want != "" && got != want:
		return fmt.Errorf("%w: its key is %q, and it is of %q", bus.ErrMalformed, got, want)
	}
	return nil
}

// checked says whether a record of packets or slots can be one; its reader decodes it.
func checked(e bus.Encoded, t bus.Topic) (bus.Value, error) {
	if err := (bus.Record{Topic: t, Value: e}).Check(); err != nil {
		return nil, fmt.Errorf("%w: it is empty, or its header %q is not in the list", bus.ErrMalformed, headerKind)
	}
	return e, nil
}

// checkSchema compares the header that says what a record is, where there is one.
func checkSchema(t bus.Topic, schema string) error {
	if schema == "" {
		return nil
	}
	s := specOf(t)
	name, number, _ := strings.Cut(schema, "/")
	version, err := strconv.ParseUint(number, 10, 32)
	switch {
	case name != s.schema || err != nil:
		return fmt.Errorf("%w: its header %q is %.64q, not %q", bus.ErrMalformed, headerSchema, schema, s.schema+"/1")
	case version != schemaVersion:
		return fmt.Errorf("%w: %.64q, this program knows %s/%d", bus.ErrVersion, schema, s.schema, schemaVersion)
	}
	return nil
}

func rejected(r *kgo.Record) bus.Rejected {
	partition, _ := strconv.ParseInt(header(r, headerPartition), 10, 32) // absent where another program has written it
	offset, _ := strconv.ParseInt(header(r, headerOffset), 10, 64)
	return bus.Rejected{
		Topic: bus.Topic(header(r, headerTopic)), Partition: int32(partition), Offset: offset,
		Key: string(r.Key), Reason: header(r, headerReason), Data: r.Value,
	}
}

// header is the value of a record's last header of a name, "" without one.
func header(r *kgo.Record, name string) string {
	for _, h := range slices.Backward(r.Headers) {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
