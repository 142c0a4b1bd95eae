package store

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"netlyra/internal/models"
)

// incident is an alert of what matters to a match.
func incident(src, dst string, change func(*models.Alert), peers ...string) *models.Alert {
	a := &models.Alert{SrcIP: src, DstIP: dst, Proto: "TCP", Category: models.CategoryHostSweep, Sensor: "s1"}
	for _, p := range peers {
		a.Peers.Top = append(a.Peers.Top, models.Count{Name: p, Count: 1})
	}
	a.Peers.Total = uint64(len(peers))
	if change != nil {
		change(a)
	}
	return a
}

func TestMatching(t *testing.T) {
	const a, b, c = "10.0.0.1", "10.0.0.2", "192.0.2.3"
	pair := incident(a, b, nil, b)
	sweep := incident(a, b, nil, b, c)
	flood := func(al *models.Alert) { al.Category = models.CategoryFlood }
	manyFlood := incident(a, c, flood, a, b)
	cutOff := incident(a, c, flood, "10.0.0.8", "10.0.0.9") // of more sources than are listed, a is one
	single := incident(a, c, flood, a)
	for _, tt := range []struct {
		name  string
		e     models.Exception
		alert *models.Alert
		want  bool
	}{
		{"host is the culprit", models.Exception{Host: a}, pair, true},
		{"host is the victim", models.Exception{Host: b}, pair, true},
		{"host is neither", models.Exception{Host: c}, pair, false},
		{"peer alone is either end", models.Exception{Peer: a}, pair, true},
		{"pair", models.Exception{Host: a, Peer: b}, pair, true},
		{"pair, the other way round", models.Exception{Host: b, Peer: a}, pair, true},
		{"pair with another peer", models.Exception{Host: a, Peer: c}, pair, false},
		{"both ends in one", models.Exception{Host: "10.0.0.0/24", Peer: "10.0.0.0/24"}, pair, true},
		{"host twice", models.Exception{Host: a, Peer: a}, pair, false},
		{"culprit of many victims", models.Exception{Host: a}, sweep, true},
		{"one of many victims", models.Exception{Host: b}, sweep, false},
		{"pair, but there are more victims", models.Exception{Host: a, Peer: b}, sweep, false},
		{"pair the other way round, but there are more victims", models.Exception{Host: b, Peer: a}, sweep, false},
		{"prefix with some of the victims", models.Exception{Host: a, Peer: "10.0.0.0/8"}, sweep, false},
		{"prefix with all victims", models.Exception{Host: a, Peer: "0.0.0.0/1"}, incident(a, b, nil, b, "11.0.0.1"), true},
		{"victim of many sources", models.Exception{Host: c}, manyFlood, true},
		{"one of many sources", models.Exception{Host: a}, manyFlood, false},
		{"prefix with all sources", models.Exception{Host: "10.0.0.0/24", Peer: c}, manyFlood, true},
		{"pair, but there are more sources", models.Exception{Host: a, Peer: c}, manyFlood, false},
		{"victim, sources not all listed", models.Exception{Host: c}, cutOff, true},
		{"listed source, others are not", models.Exception{Host: a}, cutOff, false},
		{"victim of one source", models.Exception{Host: a, Peer: c}, single, true},
		{"no peers known", models.Exception{Host: a, Peer: b}, incident(a, b, nil), true},
		{"a peer that is no address", models.Exception{Host: a, Peer: b}, incident(a, b, nil, b, "?"), false},
		{"a peer that is no address, not asked for", models.Exception{Host: a}, incident(a, b, nil, b, "?"), true},
		{"mapped address", models.Exception{Host: a}, incident("::ffff:"+a, b, nil), true},
		{"IPv6", models.Exception{Peer: "2001:db8::/32"}, incident(a, "2001:db8:1::7", nil, "2001:db8:1::7"), true},
		{"IPv6 prefix and IPv4", models.Exception{Host: "::/1"}, pair, false},
		{"destination port", models.Exception{Port: 22}, incident(a, b, func(al *models.Alert) { al.DstPort = 22 }), true},
		{"source port", models.Exception{Port: 53}, incident(a, b, func(al *models.Alert) { al.SrcPort = 53 }), true},
		{"other port", models.Exception{Port: 23}, incident(a, b, func(al *models.Alert) { al.DstPort = 22 }), false},
		{"no single port", models.Exception{Port: 22}, pair, false},
		{"category", models.Exception{Category: models.CategoryHostSweep}, pair, true},
		{"other category", models.Exception{Category: models.CategoryBeacon}, pair, false},
		{"host and other category", models.Exception{Host: a, Category: models.CategoryBeacon}, pair, false},
		{"protocol", models.Exception{Host: a, Proto: "TCP"}, pair, true},
		{"other protocol", models.Exception{Host: a, Proto: "UDP"}, pair, false},
		{"sensor", models.Exception{Host: a, Sensor: "s1"}, pair, true},
		{"other sensor", models.Exception{Host: a, Sensor: "s2"}, pair, false},
		{"everything", models.Exception{
			Host: b, Peer: a, Port: 22, Proto: "TCP", Category: models.CategoryBruteForce, Sensor: "s1",
		}, incident(a, b, func(al *models.Alert) { al.DstPort, al.Category = 22, models.CategoryBruteForce }, b), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, tt.e.Normalize())
			r, err := newRule(tt.e)
			must(t, err)
			if got := r.matches(tt.alert, endsOf(tt.alert)); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestDecisions(t *testing.T) {
	now := time.UnixMicro(1_795_498_893_000_000)
	const made = 1_795_000_000_000_000
	e := func(id string, change func(*models.Exception)) models.Exception {
		e := models.Exception{ID: id, Created: made, Host: "192.0.2.1"}
		if change != nil {
			change(&e)
		}
		return e
	}
	hides := e("e1", nil)
	other := e("e0", func(e *models.Exception) { e.Host = "203.0.113.1" })
	past := e("past", func(e *models.Exception) { e.Expires = at(now) })
	coming := e("coming", func(e *models.Exception) { e.Expires = at(now) + 1 })
	visible, hidden := decision{models.TriageNew, ""}, decision{models.TriageHidden, "e1"}
	for _, tt := range []struct {
		name      string
		es        []models.Exception
		decided   models.Triage
		decidedAt models.Micros
		want      decision
		next      models.Micros
	}{
		{name: "nothing", want: visible},
		{name: "an exception that does not match", es: []models.Exception{other}, want: visible},
		{name: "an exception", es: []models.Exception{other, hides}, want: hidden},
		{name: "the oldest", es: []models.Exception{hides, e("e2", nil)}, want: hidden},
		{name: "an expired exception", es: []models.Exception{past}, want: visible},
		{name: "an expired and another exception", es: []models.Exception{past, hides}, want: hidden},
		{name: "an exception that expires", es: []models.Exception{past, coming}, want: decision{models.TriageHidden, "coming"}, next: at(now) + 1},
		{name: "acknowledged before", es: []models.Exception{hides}, decided: models.TriageAcknowledged, decidedAt: made - 1, want: hidden},
		{
			name: "acknowledged after", es: []models.Exception{hides}, decided: models.TriageAcknowledged, decidedAt: made + 1,
			want: decision{models.TriageAcknowledged, ""},
		},
		{name: "shown again by hand", es: []models.Exception{hides}, decided: models.TriageNew, decidedAt: made + 1, want: visible},
		{name: "hidden by hand", es: []models.Exception{hides}, decided: models.TriageHidden, want: decision{models.TriageHidden, ""}},
		{name: "acknowledged", decided: models.TriageAcknowledged, want: decision{models.TriageAcknowledged, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rs, err := newRules(tt.es, now)
			must(t, err)
			a := testAlert("a", 1)
			a.Decided, a.DecidedAt = tt.decided, tt.decidedAt
			if got := rs.decide(a, now); got != tt.want || rs.next != tt.next {
				t.Errorf("%+v and %d, want %+v and %d", got, rs.next, tt.want, tt.next)
			}
		})
	}
}

// FuzzMatching: an exception about host and peer hides no incident in which an address is in neither, and it does not
// matter which of the two is called the host.
func FuzzMatching(f *testing.F) {
	f.Add("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.0/24", "10.0.0.2", true)
	f.Add("10.0.0.1", "2001:db8::1", "x", "::ffff:10.0.0.1", "2001:db8::/64", false)
	f.Fuzz(func(t *testing.T, src, dst, peer, host, other string, flood bool) {
		e := models.Exception{Host: host, Peer: other, Category: models.CategoryHostSweep}
		if flood {
			e.Category = models.CategoryFlood
		}
		if e.Normalize() != nil || e.Host == "" || e.Peer == "" {
			return
		}
		again := e
		if err := again.Normalize(); err != nil || again != e {
			t.Fatalf("%+v is not canonical: %+v, %v", e, again, err)
		}
		r, err := newRule(e)
		if err != nil {
			t.Fatal(err)
		}
		swapped := e
		swapped.Host, swapped.Peer = e.Peer, e.Host
		r2, err := newRule(swapped)
		if err != nil {
			t.Fatal(err)
		}
		a := incident(src, dst, func(a *models.Alert) { a.Category = e.Category }, peer, dst)
		got := r.matches(a, endsOf(a))
		if got != r2.matches(a, endsOf(a)) {
			t.Errorf("%v, and %v the other way round", got, !got)
		}
		in := func(text string) bool {
			addr, err := netip.ParseAddr(text)
			return err == nil && (r.host.Contains(addr.Unmap().WithZone("")) || r.peer.Contains(addr.Unmap().WithZone("")))
		}
		if got && (!in(src) || !in(dst) || !in(peer)) {
			t.Errorf("%+v hides an incident of %v", e, []string{src, dst, peer})
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	var es []models.Exception
	for i := range models.MaxExceptions {
		es = append(es, models.Exception{ID: fmt.Sprint(i), Created: 1, Host: fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)})
	}
	now := time.Now()
	rs, err := newRules(es, now)
	if err != nil {
		b.Fatal(err)
	}
	a := testAlert("a", 1)
	a.Peers.Top = slices.Repeat(a.Peers.Top, 10)
	b.ReportAllocs()
	for b.Loop() {
		rs.decide(a, now)
	}
}
