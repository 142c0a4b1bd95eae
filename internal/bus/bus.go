// Package bus carries packets, connection slots, alerts, connections and states between the parts of NetLyra, within one
// process (Memory) or between many over a broker, and holds the codecs of what travels there.
//
// A topic is a set of partitions; a record's key decides its partition, so the records of one key are read in the order
// they were produced. The key is the sensor's name, that of an alert its id. Consumers share a topic's partitions with the others of their group, and
// every group sees every record: at least once, and once only if every consumer commits before it closes.
// docs/wire-format.md gives the topics, their keys and the JSON.
package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"netlyra/internal/models"
)

// Topic names a stream of records.
type Topic string

// The topics.
const (
	TopicPackets     Topic = "netlyra.packets"     // Encoded: a packet or a watermark, JSON
	TopicSlots       Topic = "netlyra.slots"       // Encoded: rows of a slot, Arrow
	TopicAlerts      Topic = "netlyra.alerts"      // Alert
	TopicConnections Topic = "netlyra.connections" // Connections
	TopicHosts       Topic = "netlyra.hosts"       // Hosts
	TopicSensors     Topic = "netlyra.sensors"     // Sensor: its state and the traffic of each second
	TopicState       Topic = "netlyra.state"       // Blob: detector checkpoints, the newest of a key counts
	TopicDLQ         Topic = "netlyra.dlq"         // Rejected: what a reader could not make sense of
)

// Topics lists all topics.
func Topics() []Topic {
	return []Topic{TopicPackets, TopicSlots, TopicAlerts, TopicConnections, TopicHosts, TopicSensors, TopicState, TopicDLQ}
}

// The errors that callers tell apart.
var (
	// ErrClosed: the producer, the consumer or the whole bus has been closed.
	ErrClosed = errors.New("bus: closed")
	// ErrRecord: the record's topic does not carry such a value.
	ErrRecord = errors.New("bus: record does not fit its topic")
)

// The reasons for which Drops counts.
const (
	DropFull   = "full"   // TryProduce found no room in the topic's buffer
	DropClosed = "closed" // TryProduce came after Close
)

// Value is what a record carries: an Encoded, an Alert, Connections, Hosts, a Sensor, a Blob or a Rejected. Once produced it belongs
// to the bus and its readers, several of which may hold it at the same time: nobody may change it any more.
type Value interface {
	// Size is the memory that the value keeps alive, in bytes; it is what the buffers of a Memory are bounded by.
	Size() int
	// Count is the number of connections, hosts or other things in the value, 1 for most; it is what drops are counted in.
	Count() int
}

// Encoded is one record in its wire form (docs/wire-format.md): of TopicPackets a packet or a watermark as PacketEncoder writes it, without a
// line feed; of TopicSlots what SlotEncoder writes. Such records are for readers elsewhere: within a process slots go to the detector by a call
// (docs/adr/0008).
type Encoded struct {
	Kind SlotKind // of TopicSlots: what the rows are. Empty in TopicPackets
	Data []byte   // not empty
}

// Watermark is the record of TopicPackets that closes a slot of a sensor: it has given everything up to a capture time. It comes on an idle link too.
type Watermark struct {
	TS             models.Micros // the slot's end
	Slot           int64         // its number: models.SensorSlot.N
	Received, Lost uint64        // packets, of the capture so far
	Epoch          uint64        // how often the clock was set back before
}

// WatermarkOf is the watermark that closes s.
func WatermarkOf(s *models.SensorSlot) Watermark {
	return Watermark{TS: models.Micros((s.N + 1) * models.SlotMicros), Slot: s.N, Received: s.Received, Lost: s.Lost, Epoch: s.Epoch}
}

// Alert is one revision of an incident.
type Alert struct{ *models.Alert }

// Connections is what has happened to a sensor's connections. There is one a second at least, so that who watches knows the time. On a broker each
// connection is a record of its own.
type Connections struct {
	Boot    uint64              // of the sensor's start: its numbers of connections begin anew with each
	Now     models.Micros       // capture time that they are told at
	Changed []models.Connection // have changed, or ended: to be stored
	Moving  []models.Connection // others, that move: their present state, for whoever watches
	Ended   bool                // there is nothing more to come: the capture is over
}

// Hosts is what addresses have done since the last of these.
type Hosts struct {
	Now   models.Micros // capture time that they are told at
	Hosts []models.Host
}

// Role says what has written a Sensor.
type Role string

// The roles.
const (
	RoleSensor   Role = "sensor"
	RoleDetector Role = "detector"
	RoleEngine   Role = "engine" // a detector in Python
)

// Sensor is the state of a sensor, or of a detector, about once a second: its sign of life. Counters run from its start. A brief one comes between two others,
// with each slot that has packets: of its members it has role, boot, times, packets, bytes and connections only.
type Sensor struct {
	Brief       bool                 `json:"brief,omitempty"`
	Role        Role                 `json:"role"`
	Version     string               `json:"version"`     // of the program
	Boot        uint64               `json:"boot,string"` // random at each start; 0: it says nothing. Two at a time under one name are two sensors
	TS          models.Micros        `json:"ts"`          // wall clock
	Now         models.Micros        `json:"now"`         // capture time
	Source      string               `json:"source"`      // the interfaces or the file
	Packets     uint64               `json:"packets"`
	Bytes       uint64               `json:"bytes"`
	Connections models.ConnStats     `json:"connections"`
	Interfaces  []models.Interface   `json:"interfaces"`
	Drops       []models.Drop        `json:"drops"`
	Detector    models.DetectorStats `json:"detector,omitzero"` // of a detector: how far it has learned, and what it has done
	Series      []models.SeriesPoint `json:"series"`            // the seconds of capture time that have passed since the last of these
}

// Blob is an opaque body.
type Blob []byte

// Rejected is a record that a reader could not make sense of, as it was, and why.
type Rejected struct {
	Topic     Topic // that it was in, with its place there
	Partition int32
	Offset    int64
	Key       string
	Reason    string // one line
	Data      []byte
}

// What values take with the texts that they hold, on average and rounded up.
const (
	alertSize = 4096
	textsSize = 256 // of a connection or a host
)

// Size implements Value.
func (e Encoded) Size() int { return cap(e.Data) }

// Size implements Value.
func (Alert) Size() int { return alertSize }

// Size implements Value.
func (c Connections) Size() int {
	return (len(c.Changed) + len(c.Moving)) * (int(unsafe.Sizeof(models.Connection{})) + textsSize)
}

// Size implements Value.
func (h Hosts) Size() int { return len(h.Hosts) * (int(unsafe.Sizeof(models.Host{})) + textsSize) }

// Size implements Value.
func (s Sensor) Size() int {
	return cap(s.Series)*int(unsafe.Sizeof(models.SeriesPoint{})) + cap(s.Drops)*int(unsafe.Sizeof(models.Drop{})) +
		cap(s.Interfaces)*int(unsafe.Sizeof(models.Interface{})) + textsSize
}

// Size implements Value.
func (b Blob) Size() int { return cap(b) }

// Size implements Value.
func (r Rejected) Size() int { return len(r.Key) + len(r.Reason) + cap(r.Data) }

// Count implements Value.
func (Encoded) Count() int { return 1 }

// Count implements Value.
func (Alert) Count() int { return 1 }

// Count implements Value: the others are shown, and soon shown again.
func (c Connections) Count() int { return len(c.Changed) }

// Count implements Value.
func (h Hosts) Count() int { return len(h.Hosts) }

// Count implements Value.
func (Sensor) Count() int { return 1 }

// Count implements Value.
func (Blob) Count() int { return 1 }

// Count implements Value.
func (Rejected) Count() int { return 1 }

// Record is one value on its way. The producer sets Topic, Key and Value; a consumer finds where it was as well.
type Record struct {
	Topic Topic
	Key   string // the sensor's name; of an alert its id; of a Rejected that of the record. A broker's bus gives no record whose value says otherwise
	Value Value

	Partition int32 // set by Poll
	Offset    int64 // set by Poll: rises within a partition
}

// Check says whether the record's topic carries its value; the error is ErrRecord.
func (r Record) Check() error {
	ok := false
	switch r.Topic {
	case TopicPackets:
		e, encoded := r.Value.(Encoded)
		ok = encoded && e.Kind == "" && len(e.Data) > 0
	case TopicSlots:
		e, encoded := r.Value.(Encoded)
		ok = encoded && slices.Contains([]SlotKind{SlotConnections, SlotDNS, SlotARP}, e.Kind) && len(e.Data) > 0
	case TopicAlerts:
		a, alert := r.Value.(Alert)
		ok = alert && a.Alert != nil
	case TopicConnections:
		_, ok = r.Value.(Connections)
	case TopicHosts:
		_, ok = r.Value.(Hosts)
	case TopicSensors:
		_, ok = r.Value.(Sensor)
	case TopicState:
		_, ok = r.Value.(Blob)
	case TopicDLQ:
		_, ok = r.Value.(Rejected)
	}
	if !ok {
		return fmt.Errorf("%w: %T in topic %q", ErrRecord, r.Value, r.Topic)
	}
	return nil
}

// Producer puts records into topics. Its methods may be called by several goroutines; the order of one key's records is
// that of the calls, where those are ordered.
type Producer interface {
	// Produce puts r into its topic and waits while the topic's buffer is full. It returns ErrClosed after Close,
	// ErrRecord for a value in the wrong topic, and ctx's error when that ends first: then r has not been taken.
	Produce(ctx context.Context, r Record) error
	// TryProduce puts r into its topic if there is room at once; otherwise it returns false, and Drops has counted
	// what was lost. A value in the wrong topic is a mistake of the program and panics.
	TryProduce(r Record) bool
	// Close ends the producer: calls that wait return ErrClosed. What was taken before is delivered.
	Close() error
}

// Consumer reads topics as a member of a group. It belongs to one goroutine; only Close may be called by another.
type Consumer interface {
	// Poll waits for records and returns at least one of them, in order within each partition. It returns ctx's error
	// when that ends first, and ErrClosed after Close or when a closed bus has nothing left for this group.
	Poll(ctx context.Context) ([]Record, error)
	// Commit marks everything that Poll has returned as done. What is not committed when the consumer closes, or when
	// its partition goes to another member, is delivered again to the group.
	Commit(ctx context.Context) error
	// Close leaves the group without committing.
	Close() error
}

// Bus makes producers and consumers.
type Bus interface {
	// Producer makes a producer for all topics.
	Producer() (Producer, error)
	// Consumer joins a group. A group that nobody has joined before starts with the oldest record that is kept.
	Consumer(group string, topics ...Topic) (Consumer, error)
	// Tail reads what is produced from about now on, for who needs the present only: without a group, so that every caller sees every record. Commit does nothing.
	Tail(topics ...Topic) (Consumer, error)
	// Drops lists what was lost, by topic and reason; topics and reasons without losses are left out.
	Drops() []models.Drop
	// Close ends the bus: nothing is accepted any more. Consumers of a Memory go on to read what it still holds.
	Close() error
	// Done is closed when Close has been called.
	Done() <-chan struct{}
}
