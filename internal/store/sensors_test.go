package store

import (
	"database/sql"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"netlyra/internal/models"
)

// Two sensors that see the same address, or count the same second, have each their own; without a sensor one asks for all of them.
func TestHostsAndSeriesAreThoseOfASensor(t *testing.T) {
	s := open(t, Options{GroupCommit: time.Millisecond})
	stop := run(t, s)
	s.OfferHosts([]models.Host{{Sensor: "a", IP: "192.0.2.1", LastTS: 2, BytesSent: 10}, {Sensor: "b", IP: "192.0.2.1", LastTS: 1, BytesSent: 5}})
	s.OfferHosts([]models.Host{{Sensor: "b", IP: "192.0.2.1", LastTS: 7, BytesSent: 1}})
	s.OfferSeries([]models.SeriesPoint{{Sensor: "a", TS: 60, Packets: 3}, {Sensor: "b", TS: 60, Packets: 4}, {Sensor: "b", TS: 61, Packets: 2}})
	stop()
	for sensor, want := range map[string]uint64{"a": 10, "b": 6, "": 6} { // without one: that which saw it last
		if h, err := s.Host(t.Context(), "192.0.2.1", sensor); err != nil || h.BytesSent != want {
			t.Errorf("sensor %q: %+v, %v", sensor, h, err)
		}
	}
	for sensor, want := range map[string]int{"a": 1, "b": 1, "": 2, "c": 0} {
		p, err := s.Hosts(t.Context(), models.HostQuery{Sensor: sensor, Limit: 1})
		must(t, err)
		if *p.Total != uint64(want) {
			t.Errorf("sensor %q: %d hosts, want %d", sensor, *p.Total, want)
		}
		if p.Next == "" {
			continue
		}
		if p, err = s.Hosts(t.Context(), models.HostQuery{Limit: 1, Cursor: p.Next}); err != nil || len(p.Items) != 1 || p.Items[0].Sensor != "a" {
			t.Errorf("second page: %+v, %v", p, err)
		}
	}
	for sensor, want := range map[string]uint64{"a": 3, "b": 6, "": 9} {
		points, err := s.Series(t.Context(), models.SeriesQuery{From: 0, To: 120, Step: 60, Sensor: sensor})
		must(t, err)
		if len(points) != 1 || points[0].Packets != want {
			t.Errorf("sensor %q: %+v", sensor, points)
		}
	}
}

// A database of before keeps its hosts and seconds: they are of the sensor whose connections it has.
func TestHostsOfBeforeGetTheirSensor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netlyra.db")
	db, err := sql.Open("sqlite", path)
	must(t, err)
	before := versions(t)
	for name := range before {
		if name >= "00006" {
			delete(before, name)
		}
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, before)
	must(t, err)
	_, err = provider.Up(t.Context())
	must(t, err)
	var names, values []string
	for name, typ := range columns(t, db, "connections") {
		value := map[string]string{"INTEGER": "1", "REAL": "0.0", "TEXT": "''"}[typ]
		if name == "sensor" {
			value = "'hall'"
		}
		names, values = append(names, quote(name)), append(values, value)
	}
	_, err = db.ExecContext(t.Context(), "INSERT INTO connections ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(values, ", ")+")")
	must(t, err)
	for _, q := range []string{"INSERT INTO hosts VALUES ('192.0.2.1', '', 1, 2, 3, 4, 5, 6, 7)", "INSERT INTO series_points VALUES (60, 60, 1, 2, 3, 4, 5, 6, 7)"} {
		_, err := db.ExecContext(t.Context(), q)
		must(t, err)
	}
	must(t, db.Close())
	s := open(t, Options{Path: path})
	h, err := s.Host(t.Context(), "192.0.2.1", "hall")
	must(t, err)
	if h.BytesSent != 5 || h.BytesRecv != 6 || h.InsertedAt != 7 {
		t.Errorf("%+v", h)
	}
	points, err := s.Series(t.Context(), models.SeriesQuery{From: 0, To: 120, Step: 60, Sensor: "hall"})
	if err != nil || !slices.EqualFunc(points, []models.SeriesPoint{{Step: 60, TS: 60, Packets: 1}}, func(a, b models.SeriesPoint) bool { return a.TS == b.TS && a.Packets == b.Packets }) {
		t.Errorf("%+v, %v", points, err)
	}
}

// Counters at their end, as a sensor that is wrong sends them and as a database of before may have them: sums stay at the end, and nothing is lost or
// unreadable for it.
func TestCountersAtTheirEnd(t *testing.T) {
	s := open(t, Options{GroupCommit: time.Millisecond})
	stop := run(t, s)
	const end = math.MaxInt64 // of a column
	for range 3 {             // in one flush and in several
		for _, sensor := range []string{"a", "b"} {
			p := models.SeriesPoint{Sensor: sensor, TS: 60, Packets: math.MaxUint64, Bytes: end - 1, TCPBytes: end, UDPBytes: 1 << 62, OtherBytes: 1, Connections: end, Drops: end}
			s.OfferSeries([]models.SeriesPoint{p, p})
			s.OfferHosts([]models.Host{{Sensor: sensor, IP: "192.0.2.1", LastTS: 1, PacketsSent: math.MaxUint64, BytesSent: end, BytesRecv: end - 1}})
		}
		s.OfferHosts([]models.Host{{Sensor: "c", IP: "192.0.2.2", LastTS: 1, BytesSent: 7}})
		must(t, s.Settle(t.Context()))
	}
	stop()
	if drops := s.Drops(); len(drops) != 0 {
		t.Errorf("lost: %+v", drops)
	}
	for _, q := range []models.SeriesQuery{{To: 120, Step: 1}, {To: 120, Step: 10}, {To: 120, Step: 60}, {To: 7200, Step: 3600}, {To: 120, Step: 60, Sensor: "a"}} {
		points, err := s.Series(t.Context(), q)
		if err != nil || len(points) != 1 {
			t.Fatalf("%+v: %+v, %v", q, points, err)
		}
		sensors := uint64(2)
		if q.Sensor != "" {
			sensors = 1
		}
		p := points[0]
		if p.Packets != end || p.Bytes != end || p.UDPBytes != end || p.OtherBytes != 6*sensors || p.Drops != end {
			t.Errorf("%+v: %+v", q, p)
		}
	}
	var order []string
	for q := (models.HostQuery{Sort: models.SortBytes, Limit: 1}); ; {
		p, err := s.Hosts(t.Context(), q)
		must(t, err)
		order = append(order, p.Items[0].IP)
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"192.0.2.1", "192.0.2.1", "192.0.2.2"}, order); diff != "" {
		t.Errorf("hosts by bytes (-want +got):\n%s", diff)
	}
	if h := s.Health(); !h.Healthy {
		t.Errorf("health %+v", h)
	}
}
