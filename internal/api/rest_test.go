package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"netlyra/internal/models"
)

// page is a list as a client reads it.
type page struct {
	Items []map[string]any `json:"items"`
	Next  *string          `json:"next"`
}

func (p page) ids() []string {
	var ids []string
	for _, i := range p.Items {
		ids = append(ids, fmt.Sprint(i["id"]))
	}
	return ids
}

func (f *fixture) list(t *testing.T, path string) page {
	t.Helper()
	a := f.get(t, path)
	var p page
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s: status %d, %v: %s", path, a.status, err, a.body)
	}
	return p
}

func TestFiltersSelect(t *testing.T) {
	f := start(t, nil)
	third := func(i int) bool { return i%3 == 0 }
	rest := func(i int) bool { return i%3 != 0 }
	all := func(int) bool { return true }
	for _, c := range []struct {
		list, query string
		want        func(i int) bool
	}{
		{"alerts", "", all},
		{"alerts", "host=2001:db8:0::7", third},
		{"alerts", "host=192.0.2.80", all},
		{"alerts", "port=443", rest},
		{"alerts", "proto=17", third},
		{"alerts", "min_score=0.9", rest},
		{"alerts", "state=closed", third},
		{"alerts", "category=flood", third},
		{"alerts", "triage=new", rest},
		{"alerts", "category=flood,beacon", third},
		{"alerts", "category=flood,port_scan", all},
		{"alerts", "severity=low,medium", third},
		{"alerts", "sensor=s2", third},
		{"alerts", "community_id=1:abc%3D", third},
		{"alerts", "text=FLOOD+of", third},
		{"alerts", "host=2001:db8::/32", third},
		{"alerts", "from=2026-01-31T11:50:00Z", func(i int) bool { return i <= 10 }},
		{"alerts", "to=2026-01-31T11:50:00Z", func(i int) bool { return i > 10 }},
		{"alerts", "from=2026-01-31T11:30:00Z&to=2026-01-31T11:50:00Z&state=open", func(i int) bool { return i > 10 && i <= 30 && rest(i) }},
		{"alerts", "host=203.0.113.1", func(int) bool { return false }},
		{"connections", "", all},
		{"connections", "host=2001:db8::7", third},
		{"connections", "port=50000", all},
		{"connections", "port=53", third},
		{"connections", "proto=tcp", rest},
		{"connections", "min_score=0.5", third},
		{"connections", "state=established", rest},
		{"connections", "state=established,active", all},
		{"connections", "sensor=s2", third},
		{"connections", "community_id=1:abc%3D", third},
		{"connections", "text=flood.EX", third},
		{"connections", "host=2001:db8::/64", third},
		{"connections", "alert=0000000000000003", func(i int) bool { return i == 3 }},
		{"connections", "from=2026-01-31T11:50:00Z&to=2026-01-31T11:55:00Z", func(i int) bool { return i <= 10 && i > 4 }},
	} {
		t.Run(c.list+"?"+c.query, func(t *testing.T) {
			var want []string
			for i := range 120 {
				switch {
				case !c.want(i):
				case c.list == "alerts":
					want = append(want, f.store.alerts[i].ID)
				default:
					want = append(want, fmt.Sprint(f.store.conns[i].ID))
				}
			}
			got := f.list(t, "/api/v1/"+c.list+"?limit=500&"+c.query)
			if diff := cmp.Diff(want, got.ids()); diff != "" || got.Next != nil {
				t.Errorf("next %v, (-want +got):\n%s", got.Next, diff)
			}
		})
	}
}

func TestPagesHoldEverythingOnce(t *testing.T) {
	f := start(t, nil)
	for i := range 117 {
		f.live.put(exampleConnection(int64(i*i + 10)))
	}
	for _, path := range []string{"/api/v1/alerts?", "/api/v1/connections?", "/api/v1/connections?live=true&"} {
		t.Run(path, func(t *testing.T) {
			want := f.list(t, path+"limit=500").ids()
			if len(want) < 119 {
				t.Fatalf("%d items", len(want))
			}
			var got []string
			next, pages := "", 0
			for {
				p := f.list(t, path+"limit=50"+next)
				got = append(got, p.ids()...)
				if pages++; p.Next == nil {
					break
				}
				next = "&cursor=" + url.QueryEscape(*p.Next)
			}
			if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
				t.Errorf("%d pages (-want +got):\n%s", pages, diff)
			}
		})
	}
	if p := f.list(t, "/api/v1/alerts"); len(p.Items) != models.DefaultPageLimit || p.Next == nil {
		t.Errorf("without limit: %d items, next %v", len(p.Items), p.Next)
	}
}

func TestLiveConnections(t *testing.T) {
	var all []models.Connection
	for i := range 10 {
		c := exampleConnection(int64(i) - 5)
		if i%2 == 0 {
			c.SrcPort, c.Proto = 53, "UDP"
		}
		all = append(all, c)
	}
	p, err := selectLive(all, models.ConnectionQuery{Port: 53, Proto: "UDP", Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	ids := func(p models.Page[models.Connection]) (ids []int64) {
		for _, c := range p.Items {
			ids = append(ids, c.ID)
		}
		return ids
	}
	if diff := cmp.Diff([]int64{3, 1, -1}, ids(p)); diff != "" {
		t.Error(diff)
	}
	// One below has ended, a new one has come: the rest of the pages is as if nothing had happened.
	all = slices.DeleteFunc(all, func(c models.Connection) bool { return c.ID == -3 })
	all = append(all, models.Connection{ID: 90, SrcPort: 53, Proto: "UDP"})
	p, err = selectLive(all, models.ConnectionQuery{Port: 53, Proto: "UDP", Limit: 3, Cursor: p.Next})
	if diff := cmp.Diff([]int64{-5}, ids(p)); diff != "" || err != nil || p.Next != "" {
		t.Errorf("next %q, %v: %s", p.Next, err, diff)
	}
	for _, bad := range []models.Cursor{"7", "!", "bGl2ZSAx ", "bGl2ZSB4", "bGl2ZSAxIDI"} {
		if _, err := selectLive(all, models.ConnectionQuery{Limit: 1, Cursor: bad}); !errors.Is(err, models.ErrBadQuery) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}

func TestErrorsGetTheirCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   code
		status int
	}{
		{fmt.Errorf("x: %w", models.ErrNotFound), codeNotFound, 404},
		{fmt.Errorf("x: %w", models.ErrBadQuery), codeBadCursor, 400},
		{fmt.Errorf("x: %w", models.ErrQueryTimeout), codeTimeout, 503},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), codeTimeout, 503},
		{fmt.Errorf("x: %w", context.Canceled), codeClientGone, 499},
		{&http.MaxBytesError{Limit: 1}, codeTooLarge, 413},
		{errors.New("disk I/O error: /secret/path"), codeStore, 503},
		{fail(codeInternal, "x"), codeInternal, 500},
	} {
		e := asAPIError(c.err)
		if e.code != c.code || e.code.status() != c.status || strings.Contains(e.message, "secret") {
			t.Errorf("%v: %v with %d, want %s with %d", c.err, e, e.code.status(), c.code, c.status)
		}
	}
}

// TestWhatChangesSomethingMustBeJSON: a form of another site's page can send the other kinds without being asked for by the
// browser first.
func TestWhatChangesSomethingMustBeJSON(t *testing.T) {
	f := start(t, nil)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"} {
		for _, route := range [][2]string{{"POST", "/api/v1/exceptions"}, {"PATCH", "/api/v1/exceptions/e0"}, {"PATCH", "/api/v1/alerts/0000000000000001"}} {
			a := f.do(t, route[0], route[1], `{"triage":"hidden"}`, "Content-Type", kind)
			if a.status != 415 || !strings.Contains(a.body, "json_required") {
				t.Errorf("%v as %q: %d %s", route, kind, a.status, a.body)
			}
		}
	}
	if a := f.do(t, "POST", "/api/v1/exceptions", `{"port":22,"reason":"r"}`, "Content-Type", "application/json; charset=utf-8"); a.status != 201 {
		t.Errorf("JSON with a charset: %d %s", a.status, a.body)
	}
}

func TestExceptionsAreReadStrictly(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct{ name, body, want string }{
		{"misspelt", `{"porrt":22}`, `"porrt": there is no such field here; there are: category, expires, host, peer, port, proto, reason, sensor`},
		{"own id", `{"id":"x"}`, "no such field"},
		{"text for a number", `{"port":"22"}`, "port: a string is not accepted"},
		{"fraction", `{"port":2.5}`, "port: a number 2.5 is not accepted"},
		{"negative port", `{"port":-1}`, "port: -1 is not accepted: use a number from 1 to 65535"},
		{"list", `[]`, "a JSON object"},
		{"nothing", ``, "a JSON object"},
		{"cut off", `{"port":2`, "a JSON object"},
		{"name", `{"host":"printer"}`, `host: "printer" is not accepted: use an address or a prefix`},
		{"no reason", `{"port":22}`, "reason: say why"},
		{"null reason", `{"port":22,"reason":null}`, "reason: null is not accepted"},
		{"null host", `{"port":22,"reason":"r","expires":null,"host":null}`, "host: null is not accepted"},
		{"not UTF-8", "{\"port\":22,\"reason\":\"a\xff\"}", "must be UTF-8"},
		{"past in words", `{"port":22,"reason":"r","expires":"never"}`, "expires: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := f.do(t, "POST", "/api/v1/exceptions", c.body, "Content-Type", "application/json")
			var got problem
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 400 || !strings.Contains(got.Error.Message, c.want) {
				t.Errorf("%d %s, want %s", a.status, a.body, c.want)
			}
		})
	}
	if len(f.store.made) != 0 {
		t.Errorf("made: %+v", f.store.made)
	}
}

func TestPreviewStoresNothing(t *testing.T) {
	f := start(t, nil)
	preview := func(body string) answer {
		t.Helper()
		return f.do(t, "POST", "/api/v1/exceptions/preview", body, "Content-Type", "application/json")
	}
	a := preview(`{"host":"192.0.2.7"}`)
	var p models.ExceptionPreview
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Count != 80 || len(p.Items) != previewItems {
		t.Errorf("%d, %v, %d with %d items", a.status, err, p.Count, len(p.Items))
	}
	if len(f.store.made) != 0 {
		t.Errorf("made: %+v", f.store.made)
	}
	long := strings.Repeat("x", models.MaxExceptionReason+1)
	for _, body := range []string{
		`{"host":"192.0.2.7","reason":"` + long + `"}`, `{"host":"192.0.2.7","reason":" "}`, `{"port":22,"sensor":"a\u0007"}`, `{"port":22,"reason":"a\u202eb"}`,
		`{"port":0}`, `{"host":""}`, `{}`, `null`, `{"port":22} x`,
	} {
		if a := preview(body); a.status != 400 {
			t.Errorf("%.60s: %d %s", body, a.status, a.body)
		}
	}
}

// TestAnExceptionForAWholeKindIsWarnedOf where it is made, where it is seen, and in health.
func TestAnExceptionForAWholeKindIsWarnedOf(t *testing.T) {
	f := start(t, nil)
	for body, warned := range map[string]bool{
		`{"category":"port_scan","reason":"r"}`: true, `{"category":"port_scan","proto":"TCP","reason":"r"}`: true,
		`{"category":"port_scan","host":"192.0.2.7","reason":"r"}`: false, `{"port":22,"reason":"r"}`: false,
	} {
		for _, path := range []string{"/api/v1/exceptions/preview", "/api/v1/exceptions"} {
			a := f.do(t, "POST", path, body, "Content-Type", "application/json")
			if strings.Contains(a.body, `"hides_category"`) != warned {
				t.Errorf("%s %s: %s", path, body, a.body)
			}
			if path != "/api/v1/exceptions" {
				continue
			}
			where := a.header.Get("Location")
			if b := f.get(t, where); a.status != 201 || b.body != a.body {
				t.Errorf("%d, %s has %s", a.status, where, b.body)
			}
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		body := f.get(t, "/api/v1/health").body
		if strings.Count(body, "exception_hides_category") == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal(body)
		}
	}
}

func TestHosts(t *testing.T) {
	f := start(t, nil)
	if got := f.list(t, "/api/v1/hosts?host=192.0.2.64/26&text=:00:07&from=2026-01-31T10:50:00Z"); len(got.Items) != 7 || got.Items[0]["ip"] != "192.0.2.64" {
		t.Errorf("%v", got)
	}
	if a := f.get(t, "/api/v1/hosts/192.0.2.9"); a.status != 200 || !strings.Contains(a.body, `"bytes_sent":64`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, path := range []string{"/api/v1/hosts/203.0.113.1", "/api/v1/hosts/printer", "/api/v1/hosts/fe80::1%25eth0"} {
		if a := f.get(t, path); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestSeries(t *testing.T) {
	f := start(t, nil)
	a := f.get(t, "/api/v1/series?from=2026-01-31T12:00:30Z&to=2026-01-31T12:03:01Z&step=60")
	want := `{"step":60,"from":"2026-01-31T12:00:00.000000Z","to":"2026-01-31T12:04:00.000000Z","packets":[7,7,null,7],"bytes":[700,700,null,700],` +
		`"tcp_bytes":[500,500,null,500],"udp_bytes":[150,150,null,150],"other_bytes":[50,50,null,50],"connections":[2,2,null,2],"drops":[1,1,null,1]}` + "\n"
	if a.status != 200 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	now := time.Date(2026, 1, 31, 12, 0, 30, 0, time.UTC)
	for raw, n := range map[string]int64{
		"": 60, "step=1": 60, "from=2026-01-31T11:00:00Z&to=2026-01-31T12:00:00Z": 60, "from=2026-01-31T11:00:00Z&to=2026-01-31T12:00:00Z&step=3600": 1,
		"from=2026-01-31T11:59:59.5Z&to=2026-01-31T12:00:00.1Z&step=10": 2, "from=2026-01-24T12:00:00Z&to=2026-01-31T12:00:00Z": 7 * 24 * 60,
		"from=2026-01-01T12:00:00Z&step=1": -1, "step=7": -1, "from=2026-02-01T12:00:00Z": -1,
	} {
		q, err := parseSeriesQuery(raw, now)
		if n < 0 && err != nil {
			continue
		}
		if err != nil || (q.To-q.From)/q.Step != n || q.From%q.Step != 0 || q.To%q.Step != 0 {
			t.Errorf("%s: %+v, %v, want %d steps", raw, q, err, n)
		}
	}
}

func TestDecisionsAreListed(t *testing.T) {
	f := start(t, nil)
	got := f.list(t, "/api/v1/decisions?limit=1")
	if len(got.Items) != 1 || got.Items[0]["id"] != "120" || got.Items[0]["who"] != "alice" || got.Next == nil {
		t.Errorf("%v", got)
	}
	if got := f.list(t, "/api/v1/decisions?object=0000000000000007"); len(got.Items) != 1 || got.Items[0]["object"] != "0000000000000007" {
		t.Errorf("%v", got)
	}
}

// TestACursorIsGoodForItsListOnly and for its filters; the limit may differ.
func TestACursorIsGoodForItsListOnly(t *testing.T) {
	f := start(t, nil)
	next := func(path string) string {
		t.Helper()
		return url.QueryEscape(*f.list(t, path).Next)
	}
	alerts, live := next("/api/v1/alerts?limit=1&port=443"), next("/api/v1/connections?live=true&limit=1")
	for path, want := range map[string]int{
		"/api/v1/alerts?port=443&limit=7&cursor=" + alerts: 200, "/api/v1/alerts?port=443&cursor=" + alerts: 200,
		"/api/v1/alerts?cursor=" + alerts: 400, "/api/v1/alerts?port=53&cursor=" + alerts: 400, "/api/v1/connections?port=443&cursor=" + alerts: 400,
		"/api/v1/connections?live=true&cursor=" + live: 200, "/api/v1/connections?cursor=" + live: 400, "/api/v1/alerts?port=443&cursor=" + alerts + "x": 400,
		"/api/v1/alerts?cursor=MQ": 400,
	} {
		if a := f.get(t, path); a.status != want || want == 400 && !strings.Contains(a.body, `"bad_cursor"`) {
			t.Errorf("%s: %d, want %d: %.200s", path, a.status, want, a.body)
		}
	}
}

// TestTheNextPageIsInALinkHeader (RFC 8288) and so are all that follow.
func TestTheNextPageIsInALinkHeader(t *testing.T) {
	f := start(t, nil)
	path, n := "/api/v1/alerts?limit=50&text=192.0.2", 0
	for path != "" {
		a := f.get(t, path)
		var p page
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 200 {
			t.Fatalf("%d %v", a.status, err)
		}
		n += len(p.Items)
		link := a.header.Get("Link")
		if (link == "") != (p.Next == nil) || link != "" && !strings.HasSuffix(link, `>; rel="next"`) {
			t.Fatalf("%q", link)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
	}
	if n != 120 {
		t.Errorf("%d alerts", n)
	}
}

func TestLiveConnectionsHaveATotal(t *testing.T) {
	f := start(t, nil)
	for i := range 30 {
		c := exampleConnection(int64(i + 100))
		c.BytesDown = uint64(i) * 1000
		f.live.put(c)
	}
	a := f.get(t, "/api/v1/connections?live=true&limit=3")
	if !strings.Contains(a.body, `"total":32}`) {
		t.Errorf("%s", a.body)
	}
	if got := f.list(t, "/api/v1/connections?live=true&limit=2&sort=bytes").ids(); !slices.Equal(got, []string{"129", "128"}) {
		t.Errorf("%v", got)
	}
}

func TestOptions(t *testing.T) {
	f := start(t, nil)
	for path, want := range map[string]string{
		"/api/v1/alerts": "GET, HEAD, OPTIONS", "/api/v1/alerts/x": "GET, HEAD, OPTIONS, PATCH", "/api/v1/session": "DELETE, OPTIONS, POST",
		"/": "GET, HEAD, OPTIONS", "/metrics": "GET, HEAD, OPTIONS",
		"/api/v1/exceptions/preview": "OPTIONS, POST", "/api/v1/exceptions/e0": "DELETE, GET, HEAD, OPTIONS, PATCH",
	} {
		if a := f.do(t, "OPTIONS", path, ""); a.status != 204 || a.header.Get("Allow") != want {
			t.Errorf("%s: %d %q", path, a.status, a.header.Get("Allow"))
		}
	}
	if a := f.get(t, "/api/v1/exceptions/preview"); a.status != 405 || a.header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("a path of its own is read as an id: %d %v", a.status, a.header)
	}
	if a := f.do(t, "OPTIONS", "/nothing", ""); a.status != 404 {
		t.Errorf("%d", a.status)
	}
	a := f.do(t, "POST", "/api/v1/exceptions", `{"port":22,"reason":"r"}`, "Content-Type", "application/json", "Content-Encoding", "gzip")
	if a.status != 415 || a.header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%d %v", a.status, a.header)
	}
}

func TestErrorsAreProblems(t *testing.T) {
	f := start(t, nil)
	a := f.get(t, "/api/v1/alerts?port=http")
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatal(err)
	}
	want := problem{
		Type: "about:blank", Title: "Bad Request", Status: 400, Detail: p.Error.Message, Field: "port",
		Error: errorDetail{codeBadParameter, `port: "http" is not accepted: use a number from 1 to 65535`},
	}
	if diff := cmp.Diff(want, p); diff != "" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%v %s", a.header, diff)
	}
}

func TestProbes(t *testing.T) {
	f := start(t, func(o *Options) { o.Token = secret })
	ready := func(want int, why string) {
		t.Helper()
		f.poke(t)
		a := f.get(t, "/readyz")
		if a.status != want || !strings.Contains(a.body, why) || (want == 503) != (a.header.Get("Retry-After") != "") {
			t.Errorf("%d %s, want %d %s", a.status, a.body, want, why)
		}
		if l := f.get(t, "/livez"); l.status != 200 {
			t.Errorf("livez: %d", l.status)
		}
	}
	ready(200, "ok")
	f.store.fail(errors.New("disk I/O error"))
	ready(503, "store_unreadable")
	f.store.fail(nil)
	f.live.mu.Lock()
	f.live.stats.Interfaces = []models.Interface{{Name: "eth0", Link: "gone"}, {Name: "eth1", Link: "up"}}
	f.live.mu.Unlock()
	ready(200, "ok")
	f.live.mu.Lock()
	f.live.stats.Interfaces = []models.Interface{{Name: "eth0", Link: "gone"}, {Name: "eth1", Link: "down"}}
	f.live.mu.Unlock()
	ready(503, "interfaces_down")
}

// poke has the database asked at once.
func (f *fixture) poke(t *testing.T) {
	t.Helper()
	f.Server.store.look(t.Context(), f.store)
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		want, allow  string
	}{
		{"GET", "/api/v1/nothing", 404, "no_such_route", ""},
		{"GET", "/api/v1/alerts/", 404, "no_such_route", ""},
		{"GET", "/api/v1/alerts/a/b", 404, "no_such_route", ""},
		{"GET", "/api/v2/health", 404, "no_such_route", ""},
		{"GET", "/<b>", 404, "no_such_route", ""},
		{"POST", "/nothing", 404, "no_such_route", ""},
		{"POST", "/api/v1/alerts", 405, "method_not_allowed", "GET, HEAD, OPTIONS"},
		{"GET", "/api/v1/session", 405, "method_not_allowed", "DELETE, OPTIONS, POST"},
		{"PUT", "/", 405, "method_not_allowed", "GET, HEAD, OPTIONS"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := f.do(t, c.method, c.path, "")
			if a.status != c.status || !strings.Contains(a.body, c.want) || a.header.Get("Allow") != c.allow ||
				a.header.Get("Content-Type") != "application/problem+json" || strings.Contains(a.body, "<b>") {
				t.Errorf("%d %v %s", a.status, a.header, a.body)
			}
		})
	}
	if a := f.do(t, "HEAD", "/api/v1/health", ""); a.status != 200 || a.body != "" || a.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d, %q, %v", a.status, a.body, a.header)
	}
}

func TestTheWebSocketPortServesNothingElse(t *testing.T) {
	f := start(t, nil)
	f.base = "http://" + f.Addrs()[1].String()
	if a := f.get(t, "/api/v1/health"); a.status != 404 || !strings.Contains(a.body, port(f.Addrs()[0])) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := f.get(t, "/ws"); a.status != 426 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestTooManyRequestsAreTurnedAway(t *testing.T) {
	f := start(t, nil)
	block := make(chan struct{})
	f.store.hold(block)
	statuses := make(chan int)
	for range maxStoreRequests + 8 {
		go func() {
			resp, err := f.http.Get(f.base + "/api/v1/alerts")
			if err != nil {
				statuses <- -1
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
				statuses <- -2
				return
			}
			statuses <- resp.StatusCode
		}()
	}
	for i := range 8 {
		if s := <-statuses; s != 503 { // only the surplus is answered while the store does not answer
			t.Errorf("surplus request %d: %d", i, s)
		}
	}
	if a := f.get(t, "/api/v1/health"); a.status != 200 {
		t.Errorf("health while the store is busy: %d", a.status)
	}
	close(block)
	for range maxStoreRequests {
		if s := <-statuses; s != 200 {
			t.Errorf("request that waited: %d", s)
		}
	}
}

func TestHealth(t *testing.T) {
	var reasons []Reason
	f := start(t, func(o *Options) { o.Health = func() []Reason { return reasons } })
	health := func() (h healthBody) {
		t.Helper()
		if err := json.Unmarshal([]byte(f.get(t, "/api/v1/health").body), &h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := health()
	wsPort := f.Addrs()[1].String()
	if h.Status != "ok" || len(h.Reasons) != 0 || h.Version != "test" || !strings.HasSuffix(wsPort, fmt.Sprintf(":%d", h.WebSocketPort)) {
		t.Errorf("%+v", h)
	}
	reasons = []Reason{{"store_failing", "the disk is full"}}
	f.live.mu.Lock()
	f.live.stats.Interfaces = []models.Interface{{Name: "eth0", Link: "up"}, {Name: "eth1", Link: "gone"}, {Name: "eth2", Link: "down"}}
	f.live.stats.Drops = append(f.live.stats.Drops, models.Drop{Stage: "kernel", Reason: "ring", Count: 41, Unit: models.DropPackets, Effect: models.DropUnseen},
		models.Drop{Stage: "export", Reason: "hosts_at_once", Count: 1_910_000, Unit: models.DropRows, Effect: models.DropUnlisted})
	f.live.mu.Unlock()
	var codes []string
	for _, r := range health().Reasons {
		codes = append(codes, r.Code)
		if r.Code == "drops" && !strings.Contains(r.Message, ": 41 packets that nothing has looked at;") {
			t.Errorf("drops: %s", r.Message)
		}
	}
	if diff := cmp.Diff([]string{"store_failing", "interface_gone", "interface_down", "drops"}, codes); diff != "" {
		t.Error(diff)
	}
	reasons = []Reason{{"interface_gone", "eth1 was pulled out"}}
	if r := health().Reasons; len(r) != 3 || r[0] != reasons[0] || r[1].Code != "interface_down" {
		t.Errorf("what is reported is measured again: %+v", r)
	}
}

func TestLossesCountForAMinute(t *testing.T) {
	var d dropWatch
	totals := func(n uint64) map[loss]uint64 {
		return map[loss]uint64{{models.DropUnseen, models.DropPackets}: n, {models.DropUnjudged, models.DropRows}: 3}
	}
	check := func(when, want string) {
		t.Helper()
		got := d.recent(models.Stats{Drops: []models.Drop{
			{Count: 100, Unit: models.DropPackets, Effect: models.DropUnseen},
			{Count: 7, Unit: models.DropPackets, Effect: models.DropUnseen},
			{Count: 3, Unit: models.DropRows, Effect: models.DropUnjudged},
			{Count: 1e6, Unit: models.DropRows, Effect: models.DropUnlisted},
			{Count: 1e6, Unit: models.DropRows, Effect: models.DropUnstored},
		}})
		if got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	check("before the first sample", "")
	for range 30 {
		d.sample(totals(100))
	}
	check("at once", "7 packets that nothing has looked at")
	for range 45 {
		d.sample(totals(107))
	}
	check("after 45 s", "7 packets that nothing has looked at")
	for range 16 {
		d.sample(totals(107))
	}
	check("after 61 s", "")
}

func TestAPanicIsAnAnswer(t *testing.T) {
	f := start(t, func(o *Options) { o.Health = func() []Reason { panic("out of order") } })
	a := f.get(t, "/api/v1/health")
	if a.status != 500 || !strings.Contains(a.body, `"internal"`) || strings.Contains(a.body, "out of order") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestValuesThatJSONCannotHoldAreNotSuccess(t *testing.T) {
	f := start(t, nil)
	zero := 0.0
	f.live.mu.Lock()
	f.live.stats.PacketRate = 1 / zero
	f.live.mu.Unlock()
	if a := f.get(t, "/api/v1/stats"); a.status != 500 || !json.Valid([]byte(a.body)) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestMetrics(t *testing.T) {
	f := start(t, nil)
	f.get(t, "/api/v1/alerts/a?b=c")
	f.get(t, "/api/v1/alerts/d")
	f.get(t, "/no/such/route")
	problems, err := testutil.GatherAndLint(f.reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	body := f.get(t, "/metrics").body
	for _, want := range []string{
		`netlyra_capture_received_packets_total 1000`,
		`netlyra_decode_proto_packets_total{proto="TCP"} 900`,
		`netlyra_decode_proto_packets_total{proto="other"} 8`,
		`netlyra_decode_malformed_packets_total{reason="truncated"} 6`,
		`netlyra_pipeline_dropped_items_total{reason="queue_full",stage="store"} 2`,
		`netlyra_pipeline_dropped_items_total{reason="ws_client_slow",stage="api"} 0`,
		`netlyra_capture_interface_up{interface="eth0"} 1`,
		`netlyra_capture_interface_packets_total{interface="eth0"} 1000`,
		`netlyra_capture_interface_dropped_packets_total{interface="eth0"} 3`,
		`netlyra_pipeline_latency_p99_seconds{stage="decode"} 0.005`,
		`netlyra_api_requests_total{route="/api/v1/alerts/:id",status="400"} 1`,
		`netlyra_api_requests_total{route="/api/v1/alerts/:id",status="404"} 1`,
		`netlyra_api_requests_total{route="other",status="404"} 1`,
		`netlyra_api_ws_clients 0`,
		`netlyra_build_info{goversion="` + runtime.Version() + `",version="test"} 1`,
		`netlyra_pipeline_latency_seconds_bucket{stage="decode",le="0.001"} 1`,
		`netlyra_pipeline_latency_seconds_bucket{stage="decode",le="0.0025"} 3`,
		`netlyra_pipeline_latency_seconds_bucket{stage="decode",le="+Inf"} 4`,
		`netlyra_pipeline_latency_seconds_count{stage="decode"} 4`,
	} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, "192.0.2") {
		t.Error("an address is in a label")
	}
}

func TestDropsOfTheSameReasonAreAddedUp(t *testing.T) {
	got := mergeDrops([]models.Drop{{Stage: "a", Reason: "x", Count: 1}, {Stage: "b", Reason: "x", Count: 2}, {Stage: "a", Reason: "x", Count: 4}})
	want := []models.Drop{{Stage: "a", Reason: "x", Count: 5}, {Stage: "b", Reason: "x", Count: 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPage(t *testing.T) {
	ui := fstest.MapFS{
		"index.html":          {Data: []byte("<!doctype html><title>x</title>")},
		"assets/app-3f2a.js":  {Data: []byte("export {}")},
		"assets/app-3f2a.css": {Data: []byte("a{}")},
		"favicon.svg":         {Data: []byte("<svg/>")},
	}
	f := start(t, func(o *Options) { o.UI = ui })
	connect := fmt.Sprintf("connect-src 'self' ws://%s ws://%s;", f.Addrs()[0], f.Addrs()[1])
	for _, c := range []struct {
		path          string
		status        int
		kind, caching string
	}{
		{"/", 200, "text/html", "no-cache"},
		{"/?filter=x", 200, "text/html", "no-cache"},
		{"/index.html", 200, "text/html", "no-cache"},
		{"/favicon.svg", 200, "image/svg+xml", "no-cache"},
		{"/assets/app-3f2a.js", 200, "text/javascript", "public, max-age=31536000, immutable"},
		{"/assets/app-3f2a.css", 200, "text/css", "public, max-age=31536000, immutable"},
		{"/assets/", 404, "application/problem+json", "no-store"},
		{"/assets/app-0000.js", 404, "application/problem+json", "no-store"},
		{"/..%2f..%2fetc/passwd", 404, "application/problem+json", "no-store"},
		{"/%00", 404, "application/problem+json", "no-store"},
	} {
		t.Run(c.path, func(t *testing.T) {
			a := f.get(t, c.path)
			h := a.header
			if a.status != c.status || !strings.HasPrefix(h.Get("Content-Type"), c.kind) || h.Get("Cache-Control") != c.caching {
				t.Errorf("%d %v", a.status, h)
			}
			if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") ||
				!strings.Contains(csp, connect) || !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("policy %q", csp)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%v", h)
			}
		})
	}
}

func TestWithoutAPageThereIsANote(t *testing.T) {
	f := start(t, func(o *Options) { o.UI = fs.FS(nil) })
	if a := f.get(t, "/"); a.status != 200 || !strings.Contains(a.body, "./task build") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if a := f.get(t, "/assets/x.js"); a.status != 404 {
		t.Errorf("%d", a.status)
	}
}
