package api

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netlyra/internal/models"
)

func TestAlertQuery(t *testing.T) {
	base := models.AlertQuery{Limit: 50}
	with := func(change func(*models.AlertQuery)) models.AlertQuery {
		q := base
		change(&q)
		return q
	}
	type Q = *models.AlertQuery
	for _, c := range []struct {
		raw  string
		want models.AlertQuery
	}{
		{"", base},
		{"host=192.0.2.7", with(func(q Q) { q.Host = netip.MustParsePrefix("192.0.2.7/32") })},
		{"host=::ffff:192.0.2.7", with(func(q Q) { q.Host = netip.MustParsePrefix("192.0.2.7/32") })},
		{"host=2001:0DB8:0:0::7", with(func(q Q) { q.Host = netip.MustParsePrefix("2001:db8::7/128") })},
		{"port=1", with(func(q Q) { q.Port = 1 })},
		{"port=65535", with(func(q Q) { q.Port = 65535 })},
		{"proto=tcp", with(func(q Q) { q.Proto = "TCP" })},
		{"proto=6", with(func(q Q) { q.Proto = "TCP" })},
		{"proto=icmpV6", with(func(q Q) { q.Proto = "ICMPv6" })},
		{"proto=SCTP", with(func(q Q) { q.Proto = "132" })},
		{"proto=255", with(func(q Q) { q.Proto = "255" })},
		{"from=2026-01-31T12:00:00Z", with(func(q Q) { q.From = t0 })},
		{"to=2026-01-31T13:00:00.000001%2B01:00", with(func(q Q) { q.To = t0 + 1 })},
		{"from=2026-01-31T12:00:00Z&to=2026-01-31T12:00:00.000001Z", with(func(q Q) { q.From, q.To = t0, t0+1 })},
		{"min_score=0", base},
		{"min_score=1", with(func(q Q) { q.MinScore = 1 })},
		{"min_score=0.8", with(func(q Q) { q.MinScore = .8 })},
		{"state=closed", with(func(q Q) { q.State = models.AlertClosed })},
		{"category=beacon", with(func(q Q) { q.Categories = []models.Category{models.CategoryBeacon} })},
		{"triage=hidden", with(func(q Q) { q.Triage = models.TriageHidden })},
		{"limit=1", with(func(q Q) { q.Limit = 1 })},
		{"limit=500", with(func(q Q) { q.Limit = 500 })},
		{"cursor=abc", with(func(q Q) { q.Cursor = "abc" })},
		{"state=open&port=7", with(func(q Q) { q.State, q.Port = models.AlertOpen, 7 })},
	} {
		t.Run(c.raw, func(t *testing.T) {
			got, err := parseAlertQuery(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConnectionQuery(t *testing.T) {
	got, err := parseConnectionQuery("host=192.0.2.7&port=443&proto=udp&from=2026-01-31T12:00:00Z&to=2026-01-31T12:01:00Z" +
		"&min_score=0.5&state=syn_sent&live=true&limit=7&cursor=x")
	if err != nil {
		t.Fatal(err)
	}
	want := connectionQuery{live: true, ConnectionQuery: models.ConnectionQuery{
		Host: netip.MustParsePrefix("192.0.2.7/32"), Port: 443, Proto: "UDP", From: t0, To: t0 + minute, MinScore: .5, States: []string{"syn_sent"}, Limit: 7, Cursor: "x",
	}}
	if diff := cmp.Diff(want.ConnectionQuery, got.ConnectionQuery, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || !got.live {
		t.Errorf("live %t (-want +got):\n%s", got.live, diff)
	}
}

func TestBadParametersAreNamedWithWhatIsAccepted(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want []string // in the message
	}{
		{"hosts=192.0.2.7", []string{`"hosts"`, "no such parameter", "host, limit, live"}},
		{"host=example.org", []string{"host", `"example.org"`, "IPv4 or IPv6 address"}},
		{"host=fe80::1%25eth0", []string{"host", "address"}},
		{"host=192.0.2.7&host=192.0.2.8", []string{"host", "more than once"}},
		{"host=", []string{"host", "empty"}},
		{"port=0", []string{"port", "1 to 65535"}},
		{"port=65536", []string{"port", "1 to 65535"}},
		{"port=-1", []string{"port", "1 to 65535"}},
		{"port=http", []string{"port", `"http"`}},
		{"proto=256", []string{"proto", "TCP, UDP"}},
		{"proto=ip", []string{"proto", "TCP, UDP"}},
		{"from=yesterday", []string{"from", "RFC 3339"}},
		{"from=2026-01-31", []string{"from", "RFC 3339"}},
		{"from=2026-01-31T12:00:00+01:00", []string{"from", "%2B"}}, // an unescaped + is a space
		{"from=2026-01-31T12:00:00Z&to=2026-01-31T12:00:00Z", []string{"to", "after from"}},
		{"min_score=-0.1", []string{"min_score", "0 to 1"}},
		{"min_score=1.01", []string{"min_score", "0 to 1"}},
		{"min_score=NaN", []string{"min_score", "0 to 1"}},
		{"state=open", []string{"state", "active, syn_sent"}},
		{"live=1", []string{"live", "true or false"}},
		{"live=null", []string{"live", "true or false"}},
		{"limit=0", []string{"limit", "1 to 500"}},
		{"limit=501", []string{"limit", "1 to 500"}},
		{"limit=1e2", []string{"limit", "1 to 500"}},
		{"cursor=" + strings.Repeat("x", 600), []string{"cursor", "next"}},
		{"host=%zz", []string{"query string"}},
		{"host=1.2.3.4;port=1", []string{"query string"}},
		{"a%1b[2J=1", []string{`\x1b`}},
	} {
		t.Run(c.raw, func(t *testing.T) {
			_, err := parseConnectionQuery(c.raw)
			var e *apiError
			if !errors.As(err, &e) || e.code != codeBadParameter || e.code.status() != http.StatusBadRequest {
				t.Fatalf("error %v, want a bad parameter", err)
			}
			for _, w := range c.want {
				if !strings.Contains(e.message, w) {
					t.Errorf("message %q lacks %q", e.message, w)
				}
			}
		})
	}
	if _, err := parseAlertQuery("live=true"); err == nil {
		t.Error("alerts have no live parameter, yet it was taken")
	}
	if _, err := parseAlertQuery("category=trojan"); err == nil || !strings.Contains(err.Error(), "port_scan, host_sweep") {
		t.Errorf("category: %v", err)
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{
		"", "host=192.0.2.7&port=443", "from=2026-01-31T12:00:00Z&to=2026-02-01T00:00:00Z", "min_score=.8&limit=500&cursor=%00",
		"state=open&category=flood&triage=new&proto=17", "live=true", "host=%ff", "a=b;c", "min_score=1e-320", "to=9999-12-31T23:59:59-23:59",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := parseAlertQuery(raw)
		checkError(t, err)
		if err == nil {
			checkCommon(t, a.Host, a.Proto, a.From, a.To, a.MinScore, a.Limit, a.Cursor)
			if a.State != "" && !slices.Contains(alertStates(), a.State) || !subset(a.Categories, models.Categories()) ||
				a.Triage != "" && !slices.Contains(append(models.Triages(), models.TriageAll), a.Triage) {
				t.Errorf("not of the closed lists: %+v", a)
			}
		}
		c, err := parseConnectionQuery(raw)
		checkError(t, err)
		if err == nil {
			checkCommon(t, c.Host, c.Proto, c.From, c.To, c.MinScore, c.Limit, c.Cursor)
			if !subset(c.States, models.ConnStateNames()) {
				t.Errorf("not a state: %+v", c)
			}
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *apiError
	if err == nil {
		return
	}
	if !errors.As(err, &e) || e.code != codeBadParameter {
		t.Fatalf("error %v is not a bad parameter", err)
	}
	if e.message == "" || len(e.message) > 1000 || !utf8.ValidString(e.message) || strings.ContainsFunc(e.message, isControl) {
		t.Errorf("message %q", e.message)
	}
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

func subset[T comparable](some, all []T) bool {
	return !slices.ContainsFunc(some, func(v T) bool { return !slices.Contains(all, v) })
}

func checkCommon(t *testing.T, host netip.Prefix, proto string, from, to models.Micros, score float64, limit int, cursor models.Cursor) {
	t.Helper()
	if p, ok := models.ParseProto(proto); proto != "" && (!ok || p.String() != proto) {
		t.Errorf("proto %q is not canonical", proto)
	}
	if host.IsValid() && (host != host.Masked() || host.Addr().Is4In6()) {
		t.Errorf("host %s is not canonical", host)
	}
	if from < 0 || to < 0 || from != 0 && to != 0 && to <= from || !(score >= 0 && score <= 1) || limit < 1 || limit > 500 || len(cursor) > maxCursor {
		t.Errorf("out of range: %v %v %v %v %v", from, to, score, limit, cursor)
	}
}
