package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"netlyra/internal/models"
)

// clock is when the examples are read.
func clock() time.Time { return time.UnixMicro(goldenTS).Add(2 * time.Hour) }

// read decodes a record of a kind at a time of the wall clock.
func read(kind string, b []byte, now time.Time) (v any, err error) {
	switch kind {
	case "connection":
		_, v, err = second(DecodeConnections(b, now))
	case "hosts":
		_, v, err = second(DecodeHosts(b, now))
	case "sensor":
		_, v, err = second(DecodeSensor(b, now))
	default:
		v, err = DecodeAlert(b, now)
	}
	return v, err
}

func second[V any](sensor string, v V, err error) (string, any, error) { return sensor, v, err }

// change gives every JSON text that comes of changing one value within v, with the path to it: each value is replaced by each that by returns.
func change(t *testing.T, v any, by func(path []string, old any) []any, take func(path string, record []byte)) {
	t.Helper()
	root := v
	var walk func(path []string, v any, set func(any))
	walk = func(path []string, v any, set func(any)) {
		for _, other := range by(path, v) {
			set(other)
			b, err := json.Marshal(root)
			must(t, err)
			take(strings.Join(path, "."), b)
		}
		set(v)
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				walk(append(slices.Clip(path), name), v[name], func(x any) { v[name] = x })
			}
		case []any:
			for i := range v {
				walk(append(slices.Clip(path), strconv.Itoa(i)), v[i], func(x any) { v[i] = x })
			}
		}
	}
	walk(nil, v, func(x any) { root = x })
}

// exact reads JSON with its numbers as they are.
func exact(t *testing.T, b []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	must(t, d.Decode(&v))
	return v
}

// Every value of every kind of record is bounded: numbers, texts, times, lists and objects, those that are added later, too.
func TestEveryValueIsBounded(t *testing.T) {
	records := goldenJSON(t)
	maps.Copy(records, exampleAlerts(t))
	// What may be any number, and what may be any text, of those that are bounded.
	numbers := []string{"id", "value", "low", "high", "budget_per_day", "actual_per_day"}
	texts := []string{"summary", "counterfactual", "text", "sni"}
	counters := 0
	for name, record := range records {
		kind := kindOf(name)
		refused := func(how string) func(string, []byte) {
			return func(path string, b []byte) {
				if _, err := read(kind, b, clock()); !errors.Is(err, ErrMalformed) && (path != "v" || !errors.Is(err, ErrVersion)) {
					t.Errorf("%s: %s is %s: error %v", name, path, how, err)
				}
			}
		}
		number := func(to json.Number) func([]string, any) []any {
			return func(path []string, old any) []any {
				if _, ok := old.(json.Number); !ok || slices.Contains(numbers, path[len(path)-1]) || path[0] == "features" {
					return nil
				}
				return []any{to}
			}
		}
		change(t, exact(t, record), number("9007199254740993"), func(path string, b []byte) {
			if path != "rate_up" && path != "rate_down" { // which are no whole numbers
				refused("2^53 + 1")(path, b)
			}
		})
		change(t, exact(t, record), number("9223372036854775807"), refused("2^63 - 1"))
		change(t, exact(t, record), number("1e300"), refused("1e300"))
		change(t, exact(t, record), number("9007199254740992"), func(path string, b []byte) {
			if _, err := read(kind, b, clock()); err == nil {
				counters++
			}
		})
		change(t, exact(t, record), func(path []string, old any) []any {
			if _, ok := old.(string); !ok || path[len(path)-1] == "boot" { // zeros before a number say nothing
				return nil
			}
			return []any{strings.Repeat("a", 5000), strings.Repeat("0", 600_000), strings.Repeat("ü", 3000)}
		}, refused("long"))
		change(t, exact(t, record), func(path []string, old any) []any {
			if _, ok := old.(string); !ok || slices.Contains(texts, path[len(path)-1]) {
				return nil
			}
			return []any{"a\x00b", "\x1b[2J", "a\nb", "a\x7f", "a\u009b"}
		}, refused("a text with control characters"))
		change(t, exact(t, record), func(_ []string, old any) []any {
			text, _ := old.(string)
			if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
				return nil
			}
			return []any{"9999-12-31T23:59:59Z", "2026-11-25T07:41:33.000002Z", "0000-01-01T00:00:00+23:00"}
		}, refused("beyond the clock"))
		change(t, exact(t, record), func(_ []string, old any) []any {
			switch old := old.(type) {
			case []any:
				return []any{slices.Repeat(old[:1], 10_001)}
			case map[string]any:
				if _, free := old[slices.Sorted(maps.Keys(old))[0]].(json.Number); !free || len(old) > 12 {
					return nil
				}
			}
			return nil
		}, refused("long"))
		change(t, exact(t, record), func(path []string, old any) []any {
			of, ok := old.(map[string]any)
			if !ok || len(path) == 0 || !slices.Contains([]string{"features", "parts", "entities", "caps_hit"}, path[len(path)-1]) {
				return nil
			}
			many, long, escape := maps.Clone(of), maps.Clone(of), maps.Clone(of)
			for i := range 64 {
				many[fmt.Sprint("name", i)] = 0
			}
			long[strings.Repeat("a", 300)], escape["\x1b"] = 0, 0
			return []any{many, long, escape}
		}, refused("an object with members that are too many, or no names"))
	}
	if counters < 70 {
		t.Errorf("%d counters may be 2^53", counters)
	}
}

// What a sensor or a detector sends is read whatever it has seen: counters and texts at their ends, captures of any time.
func TestWhatIsWrittenIsRead(t *testing.T) {
	long := strings.Repeat("captures/\xff\x1b[2J\n\u009b ü", 1<<14)
	a := models.Alert{}
	must(t, json.Unmarshal(exampleAlerts(t)["alert-flood"], &a))
	a.Summary, a.Counterfactual, a.Count, a.Peers.Total = long, long, math.MaxUint64, math.MaxUint64
	a.Peers.Top = []models.Count{{Name: "192.0.2.1", Count: math.MaxUint64}}
	a.Facts = []models.Fact{{Name: "domain", Text: long}}
	c := goldenConnection()
	c.PacketsUp, c.PacketsDown, c.BytesUp, c.BytesDown, c.RateUp, c.RateDown = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, 1e300, 1e300
	h := models.Host{IP: "::", PacketsSent: math.MaxUint64, PacketsRecv: math.MaxUint64, BytesSent: math.MaxUint64, BytesRecv: math.MaxUint64}
	s := goldenState()
	s.Source, s.Version, s.Interfaces, s.Drops = long, long, slices.Repeat(s.Interfaces, 5000), slices.Clone(s.Drops)
	s.Interfaces[0].Name, s.Interfaces[0].Received, s.Drops[0].Count = long, math.MaxUint64, math.MaxUint64
	s.Packets, s.Bytes, s.Connections.Opened, s.Detector.LimitAlerts, s.Detector.BudgetPerDay = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, 1e300
	s.Series = slices.Repeat(s.Series, 5000)
	s.Series[0].Bytes = math.MaxUint64
	for _, at := range []models.Micros{0, 1, -1, math.MinInt64, models.Micros(clock().UnixMicro())} {
		a.TS, a.LastTS, c.FirstTS, c.LastTS, h.FirstTS, h.LastTS, s.Now = at, at, at, at, at, at, at
		s.Series[0].TS = int64(at) / secondMicros
		records := map[string][]byte{}
		var err error
		records["alert"], err = EncodeAlert(&a)
		must(t, err)
		records["sensor"], err = EncodeSensor(goldenSensor, s)
		must(t, err)
		keep := func(kind string) func([]byte) { return func(b []byte) { records[kind] = b } }
		must(t, EncodeConnections(goldenSensor, Connections{Now: at, Changed: []models.Connection{c}}, func(_ Event, b []byte) error {
			keep("connection")(b)
			return nil
		}))
		must(t, EncodeHosts(goldenSensor, Hosts{Now: at, Hosts: []models.Host{h}}, func(_ int, b []byte) error {
			keep("hosts")(b)
			return nil
		}))
		must(t, EncodeConnections(goldenSensor, Connections{Now: at, Ended: true}, func(_ Event, b []byte) error {
			_, err := read("connection", b, clock())
			return err
		}))
		for kind, b := range records {
			v, err := read(kind, b, clock())
			if err != nil {
				t.Errorf("%v, %s: %v", at, kind, err)
				continue
			}
			bounded(t, kind, reflect.ValueOf(v), clock())
			if at != math.MinInt64 { // the library's clock begins with the year 1
				mustFollow(t, schemas(t)[kind], b)
			}
		}
	}
	if s.Interfaces[0].Name != long || a.Facts[0].Text != long || a.Peers.Top[0].Count != math.MaxUint64 {
		t.Error("what others may read within the process has been changed")
	}
}

// bounded checks that a value that was read is within the bounds, whatever it is made of.
func bounded(t *testing.T, path string, v reflect.Value, now time.Time) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			bounded(t, path, v.Elem(), now)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name != "Boot" && (f.Name != "ID" || f.Type.Kind() != reflect.Int64) {
				bounded(t, path+"."+f.Name, v.Field(i), now)
			}
		}
	case reflect.Slice:
		if v.Len() > 10_000 {
			t.Errorf("%s has %d members", path, v.Len())
		}
		for i := range v.Len() {
			bounded(t, path+"[]", v.Index(i), now)
		}
	case reflect.Map:
		if v.Len() > 64 {
			t.Errorf("%s has %d members", path, v.Len())
		}
		for _, k := range v.MapKeys() {
			bounded(t, path+"[]", k, now)
			bounded(t, path+"[]", v.MapIndex(k), now)
		}
	case reflect.String:
		if s := v.String(); len(s) > 4096 || !utf8.ValidString(s) {
			t.Errorf("%s has %d bytes", path, len(s))
		}
	case reflect.Uint64:
		if v.Uint() > 1<<53 {
			t.Errorf("%s is %d", path, v.Uint())
		}
	case reflect.Int64:
		most := int64(1 << 53)
		if _, ok := reflect.TypeAssert[models.Micros](v); ok {
			most = now.Add(24 * time.Hour).UnixMicro()
		}
		if v.Int() > most || v.Int() < minMicros {
			t.Errorf("%s is %d", path, v.Int())
		}
	case reflect.Float64:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			t.Errorf("%s is %v", path, v.Float())
		}
	default: // small numbers and booleans
	}
}

// A record may be as late as a day after the clock, and no later.
func TestRecordsOfTheFuture(t *testing.T) {
	for name, b := range goldenJSON(t) {
		latest := time.UnixMicro(goldenTS + 2_000_000) // the examples' newest time
		if kindOf(name) == "sensor" {
			latest = latest.Add(100 * time.Millisecond)
		}
		if _, err := read(kindOf(name), b, latest.Add(-24*time.Hour)); err != nil {
			t.Errorf("%s, a day ahead of the clock: %v", name, err)
		}
		if _, err := read(kindOf(name), b, latest.Add(-24*time.Hour-time.Microsecond)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "clock") {
			t.Errorf("%s, more than a day ahead of the clock: error %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]bool{
		"hall": true, "Größe 1": true, strings.Repeat("a", 255): true, `a"<b>`: true,
		"": false, strings.Repeat("a", 256): false, "a\n": false, "\x00": false, "\x7f": false, "\u0085": false, "\xff": false,
	} {
		if IsName(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
