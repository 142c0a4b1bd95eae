package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"netlyra/internal/models"
)

// goldenConnection is a TLS connection that is open.
func goldenConnection() models.Connection {
	return models.Connection{
		ID: 4711, Sensor: goldenSensor, SrcIP: "192.0.2.10", DstIP: "198.51.100.7", SrcPort: 51235, DstPort: 443, Proto: "TCP", VLAN: 42,
		SrcMAC: "02:00:00:00:00:0a", DstMAC: "02:00:00:00:00:fe", CommunityID: "1:mjdbtZRpB6rK2ZZgcnEbY2MuS9c=", State: "established",
		FirstTS: goldenTS, LastTS: goldenTS + 1_500_000, PacketsUp: 12, PacketsDown: 17, BytesUp: 2048, BytesDown: 18_000,
		FlagsUp: "ACK,PSH,SYN", FlagsDown: "ACK,PSH,SYN", Entropy: 7.6543, SNI: "www.example.com", JA4: "t13d1516h2_8daaf6152771_02713d6af862",
		RateUp: 1365.3, RateDown: 12_000,
	}
}

// goldenJSON are the records of docs/wire-format that this file's encoders write, by name.
func goldenJSON(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	const now = goldenTS + 2_000_000
	open := goldenConnection()
	ended := open
	ended.State, ended.End, ended.RateUp, ended.RateDown = "closed", models.ConnDone, 0, 0
	ended.Alert, ended.Score = "87a04a86abcaf6bc", 0.9
	echo, code := uint8(8), uint8(0)
	ping := models.Connection{
		ID: 4712, SrcIP: "2001:db8::1", DstIP: "2001:db8::2", Proto: "ICMPv6", ICMPType: &echo, ICMPCode: &code, State: "active",
		FirstTS: goldenTS, LastTS: goldenTS, PacketsUp: 1, BytesUp: 98,
	}
	names := []string{"connection-changed", "connection-ended", "connection-moving", "connection-over"}
	c := Connections{Boot: math.MaxUint64, Now: now, Changed: []models.Connection{open, ended}, Moving: []models.Connection{ping}, Ended: true}
	must(t, EncodeConnections(goldenSensor, c, func(_ Event, b []byte) error {
		out[names[len(out)]] = b
		return nil
	}))
	must(t, EncodeConnections(goldenSensor, Connections{Boot: math.MaxUint64, Now: now}, func(_ Event, b []byte) error {
		out["connection-watermark"] = b
		return nil
	}))
	h := Hosts{Now: now, Hosts: []models.Host{
		{IP: "192.0.2.10", MAC: "02:00:00:00:00:0a", FirstTS: goldenTS, LastTS: now, PacketsSent: 12, PacketsRecv: 17, BytesSent: 2048, BytesRecv: 18_000},
		{IP: "2001:db8::1", FirstTS: goldenTS, LastTS: goldenTS, PacketsSent: 1, BytesSent: 98},
	}}
	must(t, EncodeHosts(goldenSensor, h, func(_ int, b []byte) error {
		out["hosts"] = b
		return nil
	}))
	b, err := EncodeSensor(goldenSensor, goldenState())
	must(t, err)
	out["sensor"] = b
	return out
}

func goldenState() Sensor {
	return Sensor{
		Role: RoleSensor, Version: "v1.2.3", Boot: math.MaxUint64, TS: goldenTS + 2_100_000, Now: goldenTS + 2_000_000, Source: "eth0", Packets: 51_234, Bytes: 40_000_000,
		Connections: models.ConnStats{Active: 2, Opened: 30, Expired: 27, Evicted: 1},
		Interfaces:  []models.Interface{{Name: "eth0", Link: "up", Received: 51_246, Dropped: 12}},
		Drops:       []models.Drop{{Stage: "kernel", Reason: "ring_full", Count: 12, Unit: models.DropPackets, Effect: models.DropUnseen}},
		Detector:    models.DetectorStats{Name: "netlyra", Learning: 0.5, Parts: map[string]float64{"warm_up": 1}, BudgetPerDay: 5, OpenIncidents: 2, Entities: map[string]uint64{"source": 12}, CapsHit: map[string]uint64{"pairs": 1}},
		Series:      []models.SeriesPoint{{Sensor: goldenSensor, Step: 1, TS: goldenTS / 1_000_000, Packets: 30, Bytes: 20_146, TCPBytes: 20_048, OtherBytes: 98, Connections: 2, Drops: 12}},
	}
}

// endOfTime is a clock at which all times that a record can have are past.
func endOfTime() time.Time { return time.UnixMicro(maxMicros) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestGoldenJSON(t *testing.T) {
	for name, b := range goldenJSON(t) {
		golden(t, name, b)
	}
}

// again decodes a record of any of the kinds and encodes what it has found.
func again(t testing.TB, kind string, b []byte) (out []byte, err error) {
	t.Helper()
	var sensor string
	switch kind {
	case "connection":
		var c Connections
		if sensor, c, err = DecodeConnections(b, endOfTime()); err == nil {
			must(t, EncodeConnections(sensor, c, func(_ Event, b []byte) error {
				out = append(out, b...)
				return nil
			}))
		}
	case "hosts":
		var h Hosts
		if sensor, h, err = DecodeHosts(b, endOfTime()); err == nil {
			for i := range h.Hosts {
				h.Hosts[i].InsertedAt = 0
			}
			must(t, EncodeHosts(sensor, h, func(_ int, b []byte) error {
				out = append(append(out, b...), '\n')
				return nil
			}))
			out = bytes.TrimSpace(out)
		}
	case "sensor":
		var s Sensor
		if sensor, s, err = DecodeSensor(b, endOfTime()); err == nil {
			out, err = EncodeSensor(sensor, s)
			must(t, err)
		}
	case "alert":
		var a *models.Alert
		if a, err = DecodeAlert(b, endOfTime()); err == nil {
			out, err = EncodeAlert(a)
			must(t, err)
		}
	default:
		t.Fatalf("no kind %q", kind)
	}
	return out, err
}

// kindOf is the kind of record that an example is of: "connection" of connection-ended.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, "-")
	if kind == "watermark" {
		return "packet"
	}
	return kind
}

func TestExamplesRoundTrip(t *testing.T) {
	for name, b := range goldenJSON(t) {
		got, err := again(t, kindOf(name), b)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: %v\n%s\n%s", name, err, b, got)
		}
	}
}

// randomConnection is one that a sensor could have seen; its texts may be anything.
func randomConnection(r *rand.Rand, sensor string, ended bool) models.Connection {
	word := func() string {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	name := func() string { return printable(word(), maxName) }
	number := func() uint64 { return r.Uint64() >> (11 + r.IntN(53)) }
	c := models.Connection{
		ID: 1 + r.Int64N(math.MaxInt64), Sensor: sensor, SrcIP: randomAddr(r).String(), DstIP: randomAddr(r).String(), SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()),
		Proto: []string{"TCP", "UDP", "ICMP", "ICMPv6", "47", "255"}[r.IntN(6)], VLAN: uint16(r.IntN(3)), CommunityID: name(), SNI: word(), JA4: name(), Alert: name(),
		State:   models.ConnStateNames()[r.IntN(len(models.ConnStateNames()))],
		FirstTS: models.Micros(randomTime(r)), PacketsUp: number(), PacketsDown: number(), BytesUp: number(), BytesDown: number(),
		FlagsUp: models.TCPFlags(r.Uint32()).String(), FlagsDown: models.TCPFlags(r.Uint32()).String(), Entropy: 8 * r.Float64(), Score: r.Float64(),
		RateUp: r.ExpFloat64(), RateDown: r.ExpFloat64(),
	}
	c.LastTS = c.FirstTS + models.Micros(r.Int64N(int64(maxMicros-c.FirstTS)))
	if r.IntN(2) == 0 {
		c.ICMPType, c.ICMPCode = new(uint8(r.Uint32())), new(uint8(r.Uint32()))
	}
	if ended {
		c.End = []models.ConnEnd{models.ConnIdle, models.ConnDone, models.ConnReused, models.ConnEvicted, models.ConnFlushed, models.ConnCutOff}[r.IntN(6)]
	}
	return c
}

// valid are the connections with their texts as JSON can hold them.
func valid(cs []models.Connection) []models.Connection {
	out := slices.Clone(cs)
	for i := range out {
		for _, s := range []*string{&out[i].CommunityID, &out[i].SNI, &out[i].JA4, &out[i].Alert} {
			var b strings.Builder
			for _, r := range *s { // one U+FFFD for each byte that is not UTF-8
				b.WriteRune(r)
			}
			*s = b.String()
		}
	}
	return out
}

func TestConnectionsRoundTrip(t *testing.T) {
	schema := schemas(t)["connection"]
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		const sensor = `a "sensor" <ü>`
		want := Connections{Boot: r.Uint64() >> r.IntN(65), Now: models.Micros(1 + r.Int64N(maxMicros)), Ended: r.IntN(2) == 0}
		for range r.IntN(4) {
			want.Changed = append(want.Changed, randomConnection(r, sensor, r.IntN(2) == 0))
		}
		for range r.IntN(3) {
			want.Moving = append(want.Moving, randomConnection(r, sensor, false))
		}
		var got Connections
		must(t, EncodeConnections(sensor, want, func(_ Event, b []byte) error {
			mustFollow(t, schema, b)
			name, c, err := DecodeConnections(b, endOfTime())
			if err != nil || name != sensor {
				t.Fatalf("seed %d: sensor %q, %v in %s", seed, name, err, b)
			}
			got = Connections{Boot: c.Boot, Now: c.Now, Changed: append(got.Changed, c.Changed...), Moving: append(got.Moving, c.Moving...), Ended: c.Ended}
			return nil
		}))
		want.Changed, want.Moving = valid(want.Changed), valid(want.Moving)
		if len(want.Changed) == 0 {
			want.Changed = nil
		}
		if len(want.Moving) == 0 {
			want.Moving = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

func TestHostsRoundTrip(t *testing.T) {
	schema := schemas(t)["hosts"]
	for _, n := range []int{1, maxHosts, 2*maxHosts + 1} {
		r := rand.New(rand.NewPCG(uint64(n), 3))
		want := Hosts{Now: models.Micros(1 + r.Int64N(maxMicros))}
		for range n {
			first := models.Micros(1 + r.Int64N(maxMicros/2))
			want.Hosts = append(want.Hosts, models.Host{
				Sensor: "s", IP: randomAddr(r).String(), MAC: []string{"", "02:00:00:00:00:0a"}[r.IntN(2)], FirstTS: first, LastTS: first + models.Micros(r.Int64N(maxMicros/2)),
				PacketsSent: r.Uint64() >> 11, PacketsRecv: r.Uint64() >> 11, BytesSent: maxCount, BytesRecv: r.Uint64() >> 11,
			})
		}
		got := Hosts{Now: want.Now}
		records := 0
		must(t, EncodeHosts("s", want, func(hosts int, b []byte) error {
			if records++; n <= maxHosts {
				mustFollow(t, schema, b)
			}
			name, h, err := DecodeHosts(b, endOfTime())
			if err != nil || name != "s" || len(h.Hosts) != hosts || h.Now != want.Now {
				t.Fatalf("sensor %q, %d hosts of %d at %v, %v", name, len(h.Hosts), hosts, h.Now, err)
			}
			got.Hosts = append(got.Hosts, h.Hosts...)
			return nil
		}))
		if diff := cmp.Diff(want, got); diff != "" || records != (n+maxHosts-1)/maxHosts {
			t.Errorf("%d hosts, %d records (-want +got):\n%s", n, records, diff)
		}
	}
}

func TestSensorRoundTrip(t *testing.T) {
	for name, want := range map[string]Sensor{
		"all members": goldenState(),
		"the least":   {Role: RoleEngine, TS: 1},
		"brief":       {Brief: true, Role: RoleSensor, Boot: 7, TS: 1, Now: 2, Packets: 3, Bytes: 4, Connections: models.ConnStats{Active: 5, Opened: 6}},
		"a detector":  {Role: RoleDetector, TS: 1, Now: 2, Version: "<v>\u2028", Drops: []models.Drop{}},
	} {
		b, err := EncodeSensor(goldenSensor, want)
		must(t, err)
		mustFollow(t, schemas(t)["sensor"], b)
		sensor, got, err := DecodeSensor(b, endOfTime())
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" || sensor != goldenSensor {
			t.Errorf("%s: sensor %q (-want +got):\n%s", name, sensor, diff)
		}
	}
}

// Every member of a state has a value in the example that documents it, but that which says that it has none.
func TestTheExampleOfASensorIsComplete(t *testing.T) {
	v := reflect.ValueOf(goldenState())
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "Brief" {
			t.Errorf("the example has no %s", v.Type().Field(i).Name)
		}
	}
}

// Times that RFC 3339 cannot write, as damaged captures have them, become the nearest that it can.
func TestTimesOfJSONAreClamped(t *testing.T) {
	c := goldenConnection()
	c.FirstTS, c.LastTS = math.MinInt64, math.MaxInt64
	must(t, EncodeConnections("s", Connections{Now: math.MaxInt64, Changed: []models.Connection{c}}, func(_ Event, b []byte) error {
		_, got, err := DecodeConnections(b, endOfTime())
		if err != nil || got.Now != maxMicros || got.Changed[0].FirstTS != minMicros || got.Changed[0].LastTS != maxMicros {
			t.Errorf("%v: %s", err, b)
		}
		return nil
	}))
}

// An alert on the wire has nothing of the store's own.
func TestEncodeAlertLeavesTheStoresOwnOut(t *testing.T) {
	a, err := DecodeAlert(exampleAlerts(t)["alert-flood"], endOfTime())
	must(t, err)
	want := *a
	a.Triage, a.HiddenBy, a.DecidedBy, a.DecidedAt, a.InsertedAt = models.TriageHidden, "x", "root", 1, 1
	b, err := EncodeAlert(a)
	must(t, err)
	got, err := DecodeAlert(b, endOfTime())
	must(t, err)
	if diff := cmp.Diff(&want, got); diff != "" || bytes.Contains(b, []byte("triage")) || bytes.Contains(b, []byte("decided")) {
		t.Errorf("%s\n(-want +got):\n%s", b, diff)
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	deep := strings.Repeat(`[`, 100_000)
	records := goldenJSON(t)
	maps.Copy(records, exampleAlerts(t))
	for _, tt := range []struct {
		name, record, old, changed string
		err                        error
		names                      string
		schema                     bool // says so, too
	}{
		{"not JSON", "connection-changed", `{`, ``, ErrMalformed, "connection", false},
		{"an array", "hosts", `{"v":1`, `[{"v":1`, ErrMalformed, "hosts", false},
		{"more after the end", "sensor", `{"v":1`, `{}{"v":1`, ErrMalformed, "sensor", false},
		{"not UTF-8", "sensor", `"eth0"`, "\"\xff\"", ErrMalformed, "record", false},
		{"deep", "connection-changed", `{"v":1`, `{"x":` + deep + `,"v":1`, ErrMalformed, "connection", false},
		{"long", "connection-changed", `"sni":"`, `"sni":"` + strings.Repeat("a", maxJSON), ErrMalformed, "record", false},
		{"long alert", "alert-flood", `"summary":"`, `"summary":"` + strings.Repeat("a", maxJSON), ErrMalformed, "record", false},
		{"an alert that is not UTF-8", "alert-flood", `"summary":"`, "\"summary\":\"\xff", ErrMalformed, "record", false},
		{"an alert with a key that nobody has room for", "alert-flood", `"id":"`, `"id":"` + strings.Repeat("a", 256), ErrMalformed, "id", true},
		{"an alert of no address", "alert-flood", `"src_ip":"1.2.218.163"`, `"src_ip":"<b>"`, ErrMalformed, "src_ip", false},
		{"a newer version", "connection-changed", `"v":1`, `"v":2`, ErrVersion, "2", true},
		{"a newer version of hosts", "hosts", `"v":1`, `"v":2`, ErrVersion, "2", true},
		{"a newer version whose members are others", "sensor", `"v":1`, `"v":3,"packets":"many"`, ErrVersion, "3", true},
		{"a version that is no number", "sensor", `"v":1`, `"v":"1"`, ErrMalformed, "v", true},
		{"no sensor", "connection-watermark", `"sensor":"sensor-1"`, `"sensor":""`, ErrMalformed, "sensor", true},
		{"a sensor's name too long", "hosts", `"sensor":"`, `"sensor":"` + strings.Repeat("a", 256), ErrMalformed, "sensor", true},
		{"no time", "connection-watermark", `"now":`, `"then":`, ErrMalformed, "now", true},
		{"a time that is none", "hosts", `"now":"2026`, `"now":"26`, ErrMalformed, "time", true},
		{"an unknown event", "connection-watermark", `"watermark"`, `"birth"`, ErrMalformed, "event", true},
		{"no event", "connection-watermark", `"event":`, `"what":`, ErrMalformed, "event", true},
		{"a connection that lacks its number", "connection-changed", `"id":4711`, `"id":0`, ErrMalformed, "id", true},
		{"a number that is none", "connection-changed", `"id":4711`, `"id":4711.5`, ErrMalformed, "id", true},
		{"an address that is none", "connection-changed", `"192.0.2.10"`, `"192.0.2.300"`, ErrMalformed, "src_ip", true},
		{"a zone", "connection-moving", `"2001:db8::2"`, `"fe80::1%eth0"`, ErrMalformed, "dst_ip", true},
		{"a port too high", "connection-changed", `"dst_port":443`, `"dst_port":70000`, ErrMalformed, "dst_port", true},
		{"a negative count", "connection-changed", `"packets_up":12`, `"packets_up":-12`, ErrMalformed, "packets_up", true},
		{"an unknown protocol", "connection-changed", `"TCP"`, `"XYZ"`, ErrMalformed, "proto", true},
		{"an unknown state", "connection-changed", `"established"`, `"married"`, ErrMalformed, "state", true},
		{"an unknown end", "connection-ended", `"done"`, `"bored"`, ErrMalformed, "end", true},
		{"ended without an end", "connection-ended", `"end":"done",`, ``, ErrMalformed, "end", true},
		{"changed with an end", "connection-changed", `"state":`, `"end":"done","state":`, ErrMalformed, "end", true},
		{"no first packet", "connection-changed", `"first_ts":`, `"x":`, ErrMalformed, "first_ts", true},
		{"the last packet first", "connection-changed", `"last_ts":"2026`, `"last_ts":"2025`, ErrMalformed, "last_ts", false},
		{"entropy too high", "connection-changed", `"entropy":7.6543`, `"entropy":8.1`, ErrMalformed, "entropy", true},
		{"a score too high", "connection-ended", `"score":0.9`, `"score":1.9`, ErrMalformed, "score", true},
		{"a negative rate", "connection-changed", `"rate_up":1365.3`, `"rate_up":-1`, ErrMalformed, "rate_up", true},
		{"no hosts", "hosts", `"hosts":[`, `"guests":[`, ErrMalformed, "hosts", true},
		{"a host without an address", "hosts", `"ip":"192.0.2.10"`, `"ip":""`, ErrMalformed, "ip", true},
		{"a host that was seen last first", "hosts", `"first_ts":"2026`, `"first_ts":"2027`, ErrMalformed, "last_ts", false},
		{"an unknown role", "sensor", `"role":"sensor"`, `"role":"king"`, ErrMalformed, "role", true},
		{"no clock", "sensor", `"ts":"2026`, `"x":"2026`, ErrMalformed, "ts", true},
		{"a start that is no number", "sensor", `"boot":"18446744073709551615"`, `"boot":"x"`, ErrMalformed, `"x"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind := kindOf(tt.record)
			b := bytes.Replace(records[tt.record], []byte(tt.old), []byte(tt.changed), 1)
			if bytes.Equal(b, records[tt.record]) {
				t.Fatalf("%s is not in %s", tt.old, b)
			}
			_, err := again(t, kind, b)
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error %v, want %v naming %q", err, tt.err, tt.names)
			}
			if tt.schema && validate(schemas(t)[kind], b) == nil {
				t.Errorf("the schema takes %s", b)
			}
		})
	}
}

func TestDecodeJSONAcceptsWhatOthersWrite(t *testing.T) {
	for name, b := range goldenJSON(t) {
		for what, changed := range map[string]string{
			"unknown members": strings.Replace(string(b), `{"v":1`, `{"new":{"a":[1,{"b":null}]},"v":1`, 1),
			"no version":      strings.Replace(string(b), `"v":1,`, ``, 1),
			"null is absent":  strings.Replace(string(b), `{"v":1`, `{"v":null,"alert":null`, 1),
			"white space":     " " + strings.ReplaceAll(string(b), `,"`, " ,\n\t\""),
		} {
			if got, err := again(t, kindOf(name), []byte(changed)); err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s, %s: %v\n%s\n%s", name, what, err, b, got)
			}
		}
	}
}

// schemas are the JSON Schemas of docs/wire-format, by the kind of record.
func schemas(t testing.TB) map[string]*jsonschema.Schema {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.schema.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	out := map[string]*jsonschema.Schema{}
	for _, f := range files {
		s, err := c.Compile(f)
		must(t, err)
		out[strings.TrimSuffix(filepath.Base(f), ".schema.json")] = s
	}
	return out
}

func validate(s *jsonschema.Schema, b []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// mustFollow checks that a record is what its schema says, and has no member that the schema does not have.
func mustFollow(t testing.TB, s *jsonschema.Schema, b []byte) {
	t.Helper()
	if err := validate(s, b); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	var members map[string]json.RawMessage
	must(t, json.Unmarshal(b, &members))
	for name := range members {
		if s.Properties[name] == nil {
			t.Errorf("the schema %s does not have %q", s.Location, name)
		}
	}
}

// The examples, and packets of all kinds, are what the schemas say.
func TestSchemas(t *testing.T) {
	all := schemas(t)
	used := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	must(t, err)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		if strings.HasSuffix(name, ".schema") || name == "slots" {
			continue
		}
		s := all[kindOf(name)]
		if s == nil {
			t.Errorf("no schema for %s", f)
			continue
		}
		used[kindOf(name)] = true
		b, err := os.ReadFile(f)
		must(t, err)
		mustFollow(t, s, b)
	}
	for kind := range all {
		if !used[kind] {
			t.Errorf("no example for the schema of %s", kind)
		}
	}
	e := NewPacketEncoder("s")
	for seed := range uint64(200) {
		p, arena := randomPacket(seed)
		p.TS = goldenTS // the library's clock begins with the year 1
		p.ConnStart = min(p.ConnStart, goldenTS)
		mustFollow(t, all["packet"], e.Append(nil, &p, arena))
	}
	for _, bad := range []string{
		`{}`, `{"ts":"2026-11-24T05:41:33.000001Z"}`, `{` + strings.Replace(minimal, `"entropy":1.5`, `"entropy":9`, 1) + `}`,
		`{` + minimal + `,"dir":"up"}`, `{` + minimal + `,"v":2}`, `{` + strings.Replace(minimal, "ACK,PSH", "ACK,NEW", 1) + `}`,
	} {
		if validate(all["packet"], []byte(bad)) == nil {
			t.Errorf("the schema of packets takes %s", bad)
		}
	}
	// The closed lists are those of the program.
	for _, c := range models.Categories() {
		good := exampleAlerts(t)["alert-flood"]
		mustFollow(t, all["alert"], bytes.Replace(good, []byte(`"category":"flood"`), fmt.Appendf(nil, `"category":%q`, c), 1))
	}
}

// FuzzDecodeJSON: no input panics; what is accepted is JSON in UTF-8 and within the bounds, and written again it reads the same and is what the schema says.
func FuzzDecodeJSON(f *testing.F) {
	kinds := []string{"connection", "hosts", "sensor", "alert"}
	all := schemas(f)
	files, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	must(f, err)
	for _, file := range files {
		if k := slices.Index(kinds, kindOf(strings.TrimSuffix(filepath.Base(file), ".json"))); k >= 0 {
			b, err := os.ReadFile(file)
			must(f, err)
			f.Add(uint8(k), b)
		}
	}
	f.Fuzz(func(t *testing.T, k uint8, b []byte) {
		kind := kinds[int(k)%len(kinds)]
		v, early := read(kind, b, clock())
		if early == nil {
			bounded(t, kind, reflect.ValueOf(v), clock())
		}
		once, err := again(t, kind, b)
		if early == nil && err != nil {
			t.Fatalf("accepted, and later refused: %v", err)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("accepted what is not JSON: %q", b)
		}
		for line := range bytes.Lines(once) { // of many hosts several
			line = bytes.TrimSpace(line)
			if !bytes.Contains(line, []byte(`"0000-`)) { // the library's clock begins with the year 1
				mustFollow(t, all[kind], line)
			}
			twice, err := again(t, kind, line)
			if err != nil || !bytes.Equal(line, twice) {
				t.Fatalf("own output %s: %v: %s", line, err, twice)
			}
		}
	})
}

func BenchmarkConnections(b *testing.B) {
	c := Connections{Now: goldenTS, Changed: []models.Connection{goldenConnection()}}
	var record []byte
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(b, EncodeConnections(goldenSensor, c, func(_ Event, r []byte) error {
				record = r
				return nil
			}))
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, err := DecodeConnections(record, endOfTime())
			must(b, err)
		}
	})
}
