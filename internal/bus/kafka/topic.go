package kafka

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
)

// spec is how a topic is kept and what its records are.
type spec struct {
	topic       bus.Topic
	schema      string // of the header; the number behind it is the version
	contentType string
	encoding    string // of the header content-encoding; "": none
	compression kgo.CompressionCodec
	cleanup     string        // cleanup.policy
	retention   time.Duration // 0: the newest record of a key stays
	maxBytes    int32         // of a batch before compression
	linger      time.Duration // that a record waits at most for others
}

const (
	jsonType  = "application/json"
	arrowType = "application/vnd.apache.arrow.stream"
	bytesType = "application/octet-stream"

	schemaVersion = 1
	maxBatch      = 1_000_012 // what a broker takes by default
	maxState      = 64 << 20  // a detector's whose tables are full is 27 MB
	maxDLQ        = 2 << 20   // a record as it was, with headers
	day           = 24 * time.Hour
)

// specOf is the table of docs/wire-format.md.
func specOf(t bus.Topic) spec {
	s := spec{topic: t, contentType: jsonType, compression: kgo.ZstdCompression(), cleanup: "delete", retention: day, maxBytes: maxBatch}
	switch t {
	case bus.TopicPackets:
		s.schema, s.compression, s.retention, s.linger = "netlyra.packet", kgo.Lz4Compression(), time.Hour, 5*time.Millisecond
	case bus.TopicSlots: // a record is a zstd frame already
		s.schema, s.compression, s.retention = "netlyra.slots", kgo.NoCompression(), 6*time.Hour
		s.contentType, s.encoding = arrowType, "zstd"
	case bus.TopicAlerts:
		s.schema, s.cleanup, s.retention = "netlyra.alert", "compact,delete", 30*day
	case bus.TopicConnections:
		s.schema = "netlyra.connection"
	case bus.TopicHosts:
		s.schema = "netlyra.hosts"
	case bus.TopicSensors:
		s.schema = "netlyra.sensor"
	case bus.TopicState: // compressed by the detector
		s.schema, s.compression, s.cleanup, s.retention = "netlyra.state", kgo.NoCompression(), "compact", 0
		s.contentType, s.maxBytes = bytesType, maxState
	case bus.TopicDLQ:
		s.schema, s.contentType, s.retention, s.maxBytes = "netlyra.dlq", bytesType, 7*day, maxDLQ
	}
	return s
}

// config is what a topic is made with.
func (s *spec) config(retention time.Duration) map[string]string {
	c := map[string]string{"cleanup.policy": s.cleanup}
	if retention == 0 {
		retention = s.retention
	}
	if retention > 0 {
		c["retention.ms"] = strconv.FormatInt(retention.Milliseconds(), 10)
	}
	if s.maxBytes > maxBatch {
		c["max.message.bytes"] = strconv.Itoa(int(s.maxBytes))
	}
	return c
}

// headers are those of every record of the topic.
func (s *spec) headers() []kgo.RecordHeader {
	h := []kgo.RecordHeader{
		{Key: headerType, Value: []byte(s.contentType)},
		{Key: headerSchema, Value: []byte(s.schema + "/" + strconv.Itoa(schemaVersion))},
	}
	if s.encoding != "" {
		h = append(h, kgo.RecordHeader{Key: headerEncoding, Value: []byte(s.encoding)})
	}
	return h
}
