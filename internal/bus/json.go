package bus

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"netlyra/internal/models"
)

// Bounds of the JSON records of connections, hosts, sensors and alerts. What is beyond them is malformed.
const (
	maxJSON  = 1 << 20 // bytes of a record
	maxName  = 255     // bytes of a sensor's name
	maxHosts = 1000    // of a record that is written: 0.3 MB
	maxList  = 10_000  // members of a list that is read
)

// Event is what a record of TopicConnections tells.
type Event string

// The events. The first three are about a connection, the others about the time of its sensor.
const (
	EventChanged   Event = "changed"   // the connection has opened or changed
	EventMoving    Event = "moving"    // it moves: its present state, for whoever watches; nothing that is to be kept
	EventEnded     Event = "ended"     // it has ended
	EventWatermark Event = "watermark" // nothing more has happened up to now
	EventOver      Event = "over"      // the capture is over: nothing more is to come
)

// head is what every JSON record begins with.
type head struct {
	V      *uint64 `json:"v"`
	Sensor string  `json:"sensor"`
}

// EncodeAlert writes a record of TopicAlerts; what is the store's own is left out.
func EncodeAlert(a *models.Alert) ([]byte, error) {
	own := *a
	own.Triage, own.HiddenBy, own.DecidedAt, own.DecidedBy = "", "", 0, ""
	own.TS, own.LastTS = clampMicros(a.TS), clampMicros(a.LastTS)
	return json.Marshal(&own)
}

// EncodeConnections gives the records of TopicConnections that a sensor's c is made of to take, in order, and what each tells; the first error of take
// ends it.
func EncodeConnections(sensor string, c Connections, take func(e Event, record []byte) error) error {
	now := clampMicros(c.Now)
	put := func(e Event, conn *models.Connection) error {
		b, err := marshalConnection(connectionHead{V: version, Sensor: sensor, Boot: c.Boot, Now: now, Event: e}, conn)
		if err != nil {
			return err
		}
		return take(e, b)
	}
	for i := range c.Changed {
		e := EventChanged
		if c.Changed[i].End != models.ConnOpen {
			e = EventEnded
		}
		if err := put(e, &c.Changed[i]); err != nil {
			return err
		}
	}
	for i := range c.Moving {
		if err := put(EventMoving, &c.Moving[i]); err != nil {
			return err
		}
	}
	switch {
	case c.Ended:
		return put(EventOver, nil)
	case len(c.Changed)+len(c.Moving) == 0:
		return put(EventWatermark, nil)
	default:
		return nil
	}
}

// connectionHead is what a record of TopicConnections has beside the connection.
type connectionHead struct {
	V      int           `json:"v"`
	Sensor string        `json:"sensor"`
	Boot   uint64        `json:"boot,string"`
	Now    models.Micros `json:"now"`
	Event  Event         `json:"event"`
}

func marshalConnection(h connectionHead, conn *models.Connection) ([]byte, error) {
	if conn == nil {
		return json.Marshal(&h)
	}
	rec := struct { // the members of connectionHead, which hide the connection's own sensor
		V      int           `json:"v"`
		Sensor string        `json:"sensor"`
		Boot   uint64        `json:"boot,string"`
		Now    models.Micros `json:"now"`
		Event  Event         `json:"event"`
		models.Connection
	}{h.V, h.Sensor, h.Boot, h.Now, h.Event, *conn}
	rec.FirstTS, rec.LastTS = clampMicros(conn.FirstTS), clampMicros(conn.LastTS)
	return json.Marshal(&rec)
}

// DecodeConnections reads a record of TopicConnections: one connection, or none. The error is ErrVersion or ErrMalformed.
func DecodeConnections(b []byte) (sensor string, c Connections, err error) {
	var rec struct {
		Boot  uint64        `json:"boot,string"`
		Now   models.Micros `json:"now"`
		Event Event         `json:"event"`
		models.Connection
	}
	if sensor, err = decodeOf(b, "connection", &rec); err != nil {
		return "", c, err
	}
	c.Boot, c.Now = rec.Boot, rec.Now
	conn := &rec.Connection
	conn.Sensor = sensor
	switch rec.Event {
	case EventChanged, EventEnded:
		c.Changed = []models.Connection{*conn}
	case EventMoving:
		c.Moving = []models.Connection{*conn}
	case EventOver:
		c.Ended = true
	case EventWatermark: // only the time
	default:
		return "", Connections{}, fail("connection", "event", "is not in the list")
	}
	if rec.Now == 0 {
		return "", Connections{}, fail("connection", "now", "is missing")
	}
	if len(c.Changed)+len(c.Moving) > 0 {
		if err := checkConnection(conn, rec.Event == EventEnded); err != nil {
			return "", Connections{}, err
		}
	}
	return sensor, c, nil
}

// checkConnection says whether a connection that another program has written can be one.
func checkConnection(c *models.Connection, ended bool) error {
	_, proto := models.ParseProto(c.Proto)
	ends := []models.ConnEnd{models.ConnIdle, models.ConnDone, models.ConnReused, models.ConnEvicted, models.ConnFlushed, models.ConnCutOff}
	return firstFault("connection", []fault{
		{c.ID <= 0, "id", "is not a number from 1"},
		{!isAddress(c.SrcIP), "src_ip", "is not an IP address"},
		{!isAddress(c.DstIP), "dst_ip", "is not an IP address"},
		{!proto, "proto", "is neither a protocol's name nor its number"},
		{!slices.Contains(models.ConnStateNames(), c.State), "state", "is not in the list"},
		{ended != slices.Contains(ends, c.End), "end", "is in the list where the connection has ended, and there alone"},
		{!ended && c.End != models.ConnOpen, "end", "is not in the list"},
		{c.FirstTS == 0, "first_ts", "is missing"},
		{c.LastTS < c.FirstTS, "last_ts", "is before first_ts"},
		{c.Entropy < 0 || c.Entropy > 8, "entropy", "is not a number from 0 to 8"},
		{c.Score < 0 || c.Score > 1, "score", "is not a number from 0 to 1"},
		{c.RateUp < 0, "rate_up", "is negative"},
		{c.RateDown < 0, "rate_down", "is negative"},
	})
}

// EncodeHosts gives the records of TopicHosts that a sensor's h is made of to take, in order: one, or more where there are more than a thousand
// hosts: take is told how many are in each. The first error of take ends it.
func EncodeHosts(sensor string, h Hosts, take func(hosts int, record []byte) error) error {
	for hosts := range slices.Chunk(h.Hosts, maxHosts) {
		own := make([]hostOfOne, len(hosts))
		for i := range own {
			own[i].Host = hosts[i]
			own[i].FirstTS, own[i].LastTS = clampMicros(own[i].FirstTS), clampMicros(own[i].LastTS)
		}
		b, err := json.Marshal(&hostsRecord{V: version, Sensor: sensor, Now: clampMicros(h.Now), Hosts: own})
		if err == nil {
			err = take(len(own), b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type hostsRecord struct {
	V      int           `json:"v"`
	Sensor string        `json:"sensor"`
	Now    models.Micros `json:"now"`
	Hosts  []hostOfOne   `json:"hosts"`
}

// hostOfOne is a host as a record has it that is of one sensor.
type hostOfOne struct {
	models.Host
	Sensor *struct{} `json:"sensor,omitempty"` // hides the host's
}

// DecodeHosts reads a record of TopicHosts. The error is ErrVersion or ErrMalformed.
func DecodeHosts(b []byte) (sensor string, h Hosts, err error) {
	var rec struct {
		Now   models.Micros `json:"now"`
		Hosts []models.Host `json:"hosts"`
	}
	if sensor, err = decodeOf(b, "hosts", &rec); err != nil {
		return "", h, err
	}
	if err := firstFault("hosts", []fault{
		{rec.Now == 0, "now", "is missing"},
		{len(rec.Hosts) == 0, "hosts", "is missing"},
		{len(rec.Hosts) > maxList, "hosts", "has too many members"},
	}); err != nil {
		return "", h, err
	}
	for i := range rec.Hosts {
		host := &rec.Hosts[i]
		host.Sensor = sensor
		if err := firstFault("hosts", []fault{
			{!isAddress(host.IP), "ip", "is not an IP address"},
			{host.FirstTS == 0, "first_ts", "is missing"},
			{host.LastTS < host.FirstTS, "last_ts", "is before first_ts"},
		}); err != nil {
			return "", h, err
		}
	}
	return sensor, Hosts{Now: rec.Now, Hosts: rec.Hosts}, nil
}

// sensorRecord is a record of TopicSensors.
type sensorRecord struct {
	V    int    `json:"v"`
	Name string `json:"sensor"`
	Sensor
}

// EncodeSensor writes a record of TopicSensors.
func EncodeSensor(sensor string, s Sensor) ([]byte, error) {
	s.TS, s.Now = clampMicros(s.TS), clampMicros(s.Now)
	return json.Marshal(&sensorRecord{V: version, Name: sensor, Sensor: s})
}

// DecodeSensor reads a record of TopicSensors. The error is ErrVersion or ErrMalformed.
func DecodeSensor(b []byte) (sensor string, s Sensor, err error) {
	if sensor, err = decodeOf(b, "sensor", &s); err != nil {
		return "", Sensor{}, err
	}
	if err := firstFault("sensor", []fault{
		{!slices.Contains([]Role{RoleSensor, RoleDetector, RoleEngine}, s.Role), "role", "is not in the list"},
		{s.TS == 0, "ts", "is missing"},
		{len(s.Series) > maxList, "series", "has too many members"},
		{len(s.Interfaces) > maxList, "interfaces", "has too many members"},
		{len(s.Drops) > maxList, "drops", "has too many members"},
	}); err != nil {
		return "", Sensor{}, err
	}
	for i := range s.Series {
		s.Series[i].Sensor, s.Series[i].Step = sensor, 1 // which are not written
	}
	return sensor, s, nil
}

// decodeOf is decode, of a record that has to name its sensor.
func decodeOf(b []byte, kind string, rec any) (sensor string, err error) {
	if sensor, err = decode(b, kind, rec); err != nil {
		return "", err
	}
	if sensor == "" || len(sensor) > maxName {
		return "", fail(kind, "sensor", fmt.Sprintf("is not a name of 1 to %d bytes", maxName))
	}
	return sensor, nil
}

// decode reads a JSON record into rec, and the sensor that it names. Members that are not known are skipped.
func decode(b []byte, kind string, rec any) (sensor string, err error) {
	switch {
	case len(b) > maxJSON:
		return "", fail(kind, "record", fmt.Sprintf("has more than %d bytes", maxJSON))
	case !utf8.Valid(b):
		return "", fail(kind, "record", "is not UTF-8")
	}
	var h head
	if err := json.Unmarshal(b, &h); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrMalformed, kind, err)
	}
	if h.V != nil && *h.V != version {
		return "", fmt.Errorf("%w: %d, this program knows %d", ErrVersion, *h.V, version)
	}
	if err := json.Unmarshal(b, rec); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrMalformed, kind, err)
	}
	return h.Sensor, nil
}

// fault is one thing that can be wrong with a record.
type fault struct {
	is        bool
	name, how string
}

func firstFault(kind string, faults []fault) error {
	for _, f := range faults {
		if f.is {
			return fail(kind, f.name, f.how)
		}
	}
	return nil
}

func fail(kind, name, how string) error {
	return fmt.Errorf("%w: %s: %q %s", ErrMalformed, kind, name, how)
}

// isAddress says whether a text is an IP address without a zone.
func isAddress(s string) bool {
	_, ok := parseAddr([]byte(s))
	return ok
}

// clampMicros is a time that RFC 3339 can write.
func clampMicros(t models.Micros) models.Micros { return min(max(t, minMicros), maxMicros) }
