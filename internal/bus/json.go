package bus

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"netlyra/internal/models"
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
	own.TS, own.LastTS = required(a.TS), clampMicros(a.LastTS)
	own.Summary, own.Counterfactual = clip(a.Summary, maxSentence), clip(a.Counterfactual, maxSentence)
	own.Facts = slices.Clone(a.Facts)
	for i := range own.Facts {
		own.Facts[i].Text = clip(own.Facts[i].Text, maxText)
	}
	own.Peers.Top, own.Ports.Top = slices.Clone(a.Peers.Top), slices.Clone(a.Ports.Top)
	saturate(alertCounts(&own))
	return json.Marshal(&own)
}

func alertCounts(a *models.Alert) []count {
	counts := []count{{"count", &a.Count}, {"total", &a.Peers.Total}, {"total", &a.Ports.Total}}
	for _, top := range [][]models.Count{a.Peers.Top, a.Ports.Top} {
		for i := range top {
			counts = append(counts, count{"count", &top[i].Count})
		}
	}
	return counts
}

// DecodeAlert reads a record of TopicAlerts at a time of the wall clock. The error is ErrVersion or ErrMalformed.
func DecodeAlert(b []byte, now time.Time) (*models.Alert, error) {
	var rec models.Alert
	if _, err := decode(b, "alert", &rec); err != nil {
		return nil, err
	}
	rec.Triage, rec.HiddenBy, rec.DecidedAt, rec.DecidedBy = "", "", 0, "" // the store's own
	if err := checkAlert(&rec, latest(now)); err != nil {
		return nil, err
	}
	return &rec, nil
}

// checkAlert says whether an alert that another program has written can be one.
func checkAlert(a *models.Alert, latest models.Micros) error {
	if err := firstFault("alert", []fault{
		{!IsName(a.ID), "id", notName},
		{!isWord(a.Sensor), "sensor", notWord},
		{a.SrcIP != "" && !isAddress(a.SrcIP), "src_ip", notAddress},
		{a.DstIP != "" && !isAddress(a.DstIP), "dst_ip", notAddress},
		{a.Proto != "" && !isProto(a.Proto), "proto", notProto},
		{a.TS == 0, "ts", isMissing},
		{late(a.TS, latest), "ts", isLate},
		{late(a.LastTS, latest), "last_ts", isLate},
		{a.Rev < 0, "rev", isNegative},
		{a.Rev > maxCount, "rev", notCount},
		{!isShare(a.Score), "score", notShare},
		{!slices.Contains(models.Categories(), a.Category), "category", notListed},
		{!slices.Contains(models.Severities(), a.Severity), "severity", notListed},
		{a.State != models.AlertOpen && a.State != models.AlertClosed, "state", `is neither "open" nor "closed"`},
		{a.Role != "" && a.Role != models.PeersAreTargets && a.Role != models.PeersAreSources, "role", `is neither "targets" nor "sources"`},
		{len(a.Summary) > maxSentence, "summary", isLong},
		{len(a.Counterfactual) > maxSentence, "counterfactual", isLong},
		{!isWord(a.CommunityID), "community_id", notWord},
		{!isShare(a.CaptureConfidence), "capture_confidence", notShare},
		{len(a.Facts) > maxFew, "facts", hasMany},
		{len(a.Reasons) > maxFew, "reasons", hasMany},
		{len(a.Peers.Top) > maxFew, "peers", hasMany},
		{len(a.Ports.Top) > maxFew, "ports", hasMany},
		{!isWord(a.Detector.Name), "name", notWord},
		{!isWord(a.Detector.Version), "version", notWord},
		{!isShare(a.Detector.Learning), "learning", notShare},
	}); err != nil {
		return err
	}
	if err := checkAlertLists(a); err != nil {
		return err
	}
	return beyond("alert", alertCounts(a))
}

// checkAlertLists looks at the members of an alert's lists and objects.
func checkAlertLists(a *models.Alert) error {
	if err := checkFew("alert", "features", a.Features, func(float64) bool { return true }, ""); err != nil {
		return err
	}
	if err := checkFew("alert", "parts", a.Detector.Parts, isShare, notShare); err != nil {
		return err
	}
	for i := range a.Facts {
		f := &a.Facts[i]
		if err := firstFault("alert", []fault{
			{!isWord(f.Name), "name", notWord}, {len(f.Text) > maxText, "text", isLong}, {!isWord(f.Unit), "unit", notWord},
		}); err != nil {
			return err
		}
	}
	for i := range a.Reasons {
		r := &a.Reasons[i]
		if err := firstFault("alert", []fault{
			{!isWord(r.Feature), "feature", notWord},
			{!isWord(r.Unit), "unit", notWord},
			{!isShare(r.Contribution), "contribution", notShare},
			{!slices.Contains([]models.Basis{"", models.BasisHost, models.BasisNetwork, models.BasisLimit}, r.Basis), "basis", notListed},
		}); err != nil {
			return err
		}
	}
	for _, top := range [][]models.Count{a.Peers.Top, a.Ports.Top} {
		for i := range top {
			if !isWord(top[i].Name) {
				return fail("alert", "name", notWord)
			}
		}
	}
	return nil
}

// checkFew says whether an object with names of its own can be one: few members, each good.
func checkFew[V any](kind, name string, of map[string]V, good func(V) bool, how string) error {
	if len(of) > maxFew {
		return fail(kind, name, hasMany)
	}
	for n, v := range of {
		switch {
		case !isWord(n):
			return fail(kind, name, notWord)
		case !good(v):
			return fail(kind, name, how)
		}
	}
	return nil
}

// EncodeConnections gives the records of TopicConnections that a sensor's c is made of to take, in order, and what each tells; the first error of take
// ends it.
func EncodeConnections(sensor string, c Connections, take func(e Event, record []byte) error) error {
	now := required(c.Now)
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
	rec.FirstTS, rec.LastTS = required(conn.FirstTS), required(conn.LastTS)
	rec.RateUp, rec.RateDown = min(conn.RateUp, maxCount), min(conn.RateDown, maxCount)
	saturate(connectionCounts(&rec.Connection))
	return json.Marshal(&rec)
}

func connectionCounts(c *models.Connection) []count {
	return []count{{"packets_up", &c.PacketsUp}, {"packets_down", &c.PacketsDown}, {"bytes_up", &c.BytesUp}, {"bytes_down", &c.BytesDown}}
}

// DecodeConnections reads a record of TopicConnections at a time of the wall clock: one connection, or none. The error is ErrVersion or ErrMalformed.
func DecodeConnections(b []byte, now time.Time) (sensor string, c Connections, err error) {
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
		return "", Connections{}, fail("connection", "event", notListed)
	}
	if err := checkNow("connection", rec.Now, latest(now)); err != nil {
		return "", Connections{}, err
	}
	if len(c.Changed)+len(c.Moving) > 0 {
		if err := checkConnection(conn, rec.Event == EventEnded, latest(now)); err != nil {
			return "", Connections{}, err
		}
	}
	return sensor, c, nil
}

// checkNow says whether a record has a time that it was told at.
func checkNow(kind string, t, latest models.Micros) error {
	return firstFault(kind, []fault{{t == 0, "now", isMissing}, {late(t, latest), "now", isLate}})
}

// checkConnection says whether a connection that another program has written can be one.
func checkConnection(c *models.Connection, ended bool, latest models.Micros) error {
	ends := []models.ConnEnd{models.ConnIdle, models.ConnDone, models.ConnReused, models.ConnEvicted, models.ConnFlushed, models.ConnCutOff}
	if err := firstFault("connection", []fault{
		{c.ID <= 0, "id", "is not a number from 1"},
		{!isAddress(c.SrcIP), "src_ip", notAddress},
		{!isAddress(c.DstIP), "dst_ip", notAddress},
		{!isProto(c.Proto), "proto", notProto},
		{!isMAC(c.SrcMAC), "src_mac", notMAC},
		{!isMAC(c.DstMAC), "dst_mac", notMAC},
		{!isWord(c.CommunityID), "community_id", notWord},
		{!slices.Contains(models.ConnStateNames(), c.State), "state", notListed},
		{ended != slices.Contains(ends, c.End), "end", "is in the list where the connection has ended, and there alone"},
		{!ended && c.End != models.ConnOpen, "end", notListed},
		{c.FirstTS == 0, "first_ts", isMissing},
		{late(c.FirstTS, latest), "first_ts", isLate},
		{late(c.LastTS, latest), "last_ts", isLate},
		{c.LastTS < c.FirstTS, "last_ts", "is before first_ts"},
		{!isFlags(c.FlagsUp), "flags_up", notFlags},
		{!isFlags(c.FlagsDown), "flags_down", notFlags},
		{c.Entropy < 0 || c.Entropy > 8, "entropy", "is not a number from 0 to 8"},
		{len(c.SNI) > maxText, "sni", isLong},
		{!isWord(c.JA4), "ja4", notWord},
		{!isWord(c.Alert), "alert", notWord},
		{!isShare(c.Score), "score", notShare},
		{c.RateUp < 0 || c.RateUp > maxCount, "rate_up", notRate},
		{c.RateDown < 0 || c.RateDown > maxCount, "rate_down", notRate},
	}); err != nil {
		return err
	}
	return beyond("connection", connectionCounts(c))
}

// EncodeHosts gives the records of TopicHosts that a sensor's h is made of to take, in order: one, or more where there are more than a thousand
// hosts: take is told how many are in each. The first error of take ends it.
func EncodeHosts(sensor string, h Hosts, take func(hosts int, record []byte) error) error {
	for hosts := range slices.Chunk(h.Hosts, maxHosts) {
		own := make([]hostOfOne, len(hosts))
		for i := range own {
			own[i].Host = hosts[i]
			own[i].FirstTS, own[i].LastTS = required(own[i].FirstTS), required(own[i].LastTS)
			saturate(hostCounts(&own[i].Host))
		}
		b, err := json.Marshal(&hostsRecord{V: version, Sensor: sensor, Now: required(h.Now), Hosts: own})
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

func hostCounts(h *models.Host) []count {
	return []count{{"packets_sent", &h.PacketsSent}, {"packets_received", &h.PacketsRecv}, {"bytes_sent", &h.BytesSent}, {"bytes_received", &h.BytesRecv}}
}

// DecodeHosts reads a record of TopicHosts at a time of the wall clock. The error is ErrVersion or ErrMalformed.
func DecodeHosts(b []byte, now time.Time) (sensor string, h Hosts, err error) {
	var rec struct {
		Now   models.Micros `json:"now"`
		Hosts []models.Host `json:"hosts"`
	}
	if sensor, err = decodeOf(b, "hosts", &rec); err != nil {
		return "", h, err
	}
	latest := latest(now)
	if err := checkNow("hosts", rec.Now, latest); err != nil {
		return "", h, err
	}
	if err := firstFault("hosts", []fault{{len(rec.Hosts) == 0, "hosts", isMissing}, {len(rec.Hosts) > maxList, "hosts", hasMany}}); err != nil {
		return "", h, err
	}
	for i := range rec.Hosts {
		host := &rec.Hosts[i]
		host.Sensor = sensor
		if err := firstFault("hosts", []fault{
			{!isAddress(host.IP), "ip", notAddress},
			{!isMAC(host.MAC), "mac", notMAC},
			{host.FirstTS == 0, "first_ts", isMissing},
			{late(host.FirstTS, latest), "first_ts", isLate},
			{late(host.LastTS, latest), "last_ts", isLate},
			{host.LastTS < host.FirstTS, "last_ts", "is before first_ts"},
		}); err != nil {
			return "", h, err
		}
		if err := beyond("hosts", hostCounts(host)); err != nil {
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

// briefRecord is a sensorRecord that is brief.
type briefRecord struct {
	V           int              `json:"v"`
	Name        string           `json:"sensor"`
	Role        Role             `json:"role"`
	Boot        uint64           `json:"boot,string"`
	Brief       bool             `json:"brief"`
	TS          models.Micros    `json:"ts"`
	Now         models.Micros    `json:"now"`
	Packets     uint64           `json:"packets"`
	Bytes       uint64           `json:"bytes"`
	Connections models.ConnStats `json:"connections"`
}

// EncodeSensor writes a record of TopicSensors.
func EncodeSensor(sensor string, s Sensor) ([]byte, error) {
	s.TS, s.Now = clampMicros(s.TS), clampMicros(s.Now)
	s.Version, s.Source = printable(s.Version, maxName), printable(s.Source, maxText)
	s.Interfaces, s.Drops, s.Series = slices.Clone(s.Interfaces[:min(len(s.Interfaces), maxKinds)]), slices.Clone(s.Drops), slices.Clone(s.Series)
	for i := range s.Interfaces {
		s.Interfaces[i].Name = printable(s.Interfaces[i].Name, maxName) // that of a file may be anything
	}
	for i := range s.Series {
		s.Series[i].TS = min(max(s.Series[i].TS, minMicros/secondMicros), maxMicros/secondMicros)
	}
	saturate(sensorCounts(&s))
	if s.Brief {
		return json.Marshal(&briefRecord{
			V: version, Name: sensor, Role: s.Role, Boot: s.Boot, Brief: true, TS: s.TS, Now: s.Now, Packets: s.Packets, Bytes: s.Bytes, Connections: s.Connections,
		})
	}
	return json.Marshal(&sensorRecord{V: version, Name: sensor, Sensor: s})
}

func sensorCounts(s *Sensor) []count {
	d, c := &s.Detector, &s.Connections
	counts := []count{
		{"packets", &s.Packets},
		{"bytes", &s.Bytes},
		{"active", &c.Active},
		{"opened", &c.Opened},
		{"expired", &c.Expired},
		{"evicted", &c.Evicted},
		{"unstored", &c.Unstored},
		{"learned_alerts", &d.LearnedAlerts},
		{"limit_alerts", &d.LimitAlerts},
		{"releases", &d.Releases},
		{"open_incidents", &d.OpenIncidents},
	}
	for i := range s.Interfaces {
		counts = append(counts, count{"received", &s.Interfaces[i].Received}, count{"dropped", &s.Interfaces[i].Dropped})
	}
	for i := range s.Drops {
		counts = append(counts, count{"count", &s.Drops[i].Count})
	}
	for i := range s.Series {
		p := &s.Series[i]
		counts = append(counts, count{"packets", &p.Packets}, count{"bytes", &p.Bytes}, count{"tcp_bytes", &p.TCPBytes}, count{"udp_bytes", &p.UDPBytes},
			count{"other_bytes", &p.OtherBytes}, count{"connections", &p.Connections}, count{"drops", &p.Drops})
	}
	return counts
}

// DecodeSensor reads a record of TopicSensors at a time of the wall clock. The error is ErrVersion or ErrMalformed.
func DecodeSensor(b []byte, now time.Time) (sensor string, s Sensor, err error) {
	if sensor, err = decodeOf(b, "sensor", &s); err != nil {
		return "", Sensor{}, err
	}
	if err := checkSensor(&s, latest(now)); err != nil {
		return "", Sensor{}, err
	}
	for i := range s.Series {
		s.Series[i].Sensor, s.Series[i].Step = sensor, 1 // which are not written
	}
	return sensor, s, nil
}

// checkSensor says whether a state that another program has written can be one.
func checkSensor(s *Sensor, latest models.Micros) error {
	d := &s.Detector
	if err := firstFault("sensor", []fault{
		{!slices.Contains([]Role{RoleSensor, RoleDetector, RoleEngine}, s.Role), "role", notListed},
		{!isWord(s.Version), "version", notWord},
		{s.TS == 0, "ts", isMissing},
		{late(s.TS, latest), "ts", isLate},
		{late(s.Now, latest), "now", isLate},
		{len(s.Source) > maxText || hasControl(s.Source), "source", notText},
		{len(s.Series) > maxList, "series", hasMany},
		{len(s.Interfaces) > maxKinds, "interfaces", hasMany},
		{len(s.Drops) > maxKinds, "drops", hasMany},
		{!isWord(d.Name), "name", notWord},
		{!isShare(d.Learning), "learning", notShare},
		{d.BudgetPerDay < 0, "budget_per_day", isNegative},
		{d.ActualPerDay < 0, "actual_per_day", isNegative},
	}); err != nil {
		return err
	}
	for i := range s.Interfaces {
		l := &s.Interfaces[i]
		if err := firstFault("sensor", []fault{{!isWord(l.Name), "name", notWord}, {!isWord(l.Link), "link", notWord}}); err != nil {
			return err
		}
	}
	for i := range s.Drops {
		l := &s.Drops[i]
		if err := firstFault("sensor", []fault{
			{!isWord(l.Stage), "stage", notWord},
			{!isWord(l.Reason), "reason", notWord},
			{!isWord(string(l.Unit)), "unit", notWord},
			{!isWord(string(l.Effect)), "effect", notWord},
		}); err != nil {
			return err
		}
	}
	for i := range s.Series {
		if t := s.Series[i].TS; t < minMicros/secondMicros || t > int64(latest)/secondMicros {
			return fail("sensor", "ts", isLate)
		}
	}
	if err := checkFew("sensor", "parts", d.Parts, isShare, notShare); err != nil {
		return err
	}
	for name, of := range map[string]map[string]uint64{"entities": d.Entities, "caps_hit": d.CapsHit} {
		if err := checkFew("sensor", name, of, func(n uint64) bool { return n <= maxCount }, notCount); err != nil {
			return err
		}
	}
	return beyond("sensor", sensorCounts(s))
}

// decodeOf is decode, of a record that has to name its sensor.
func decodeOf(b []byte, kind string, rec any) (sensor string, err error) {
	if sensor, err = decode(b, kind, rec); err != nil {
		return "", err
	}
	if !IsName(sensor) {
		return "", fail(kind, "sensor", notName)
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
		return "", notJSON(kind, err)
	}
	if h.V != nil && *h.V != version {
		return "", fmt.Errorf("%w: %d, this program knows %d", ErrVersion, *h.V, version)
	}
	if err := json.Unmarshal(b, rec); err != nil {
		return "", notJSON(kind, err)
	}
	return h.Sensor, nil
}

// notJSON is the fault that a record's JSON has. Its text may quote the record, so it is cut.
func notJSON(kind string, err error) error {
	return fmt.Errorf("%w: %s: %s", ErrMalformed, kind, printable(err.Error(), maxName))
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
