package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

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
	p, err := liveConnections(all, models.ConnectionQuery{Port: 53, Proto: "UDP", Limit: 3})
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
	p, err = liveConnections(all, models.ConnectionQuery{Port: 53, Proto: "UDP", Limit: 3, Cursor: p.Next})
	if diff := cmp.Diff([]int64{-5}, ids(p)); diff != "" || err != nil || p.Next != "" {
		t.Errorf("next %q, %v: %s", p.Next, err, diff)
	}
	for _, bad := range []models.Cursor{"7", "!", "bGl2ZSAx ", "bGl2ZSB4", "bGl2ZSAxIDI"} {
		if _, err := liveConnections(all, models.ConnectionQuery{Limit: 1, Cursor: bad}); !errors.Is(err, models.ErrBadQuery) {
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
	for _, query := range []string{"preview", "preview=", "preview=true"} {
		a := f.do(t, "POST", "/api/v1/exceptions?"+query, `{"host":"192.0.2.7"}`, "Content-Type", "application/json")
		var p models.ExceptionPreview
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.Count != 80 || len(p.Items) != previewItems {
			t.Errorf("%s: %d, %v, %d with %d items", query, a.status, err, p.Count, len(p.Items))
		}
	}
	if len(f.store.made) != 0 {
		t.Errorf("made: %+v", f.store.made)
	}
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
		{"POST", "/api/v1/alerts", 405, "method_not_allowed", "GET"},
		{"GET", "/api/v1/session", 405, "method_not_allowed", "POST, DELETE"},
		{"PUT", "/", 405, "method_not_allowed", "GET"},
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
	f.store.block = make(chan struct{})
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
	close(f.store.block)
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
	f.live.stats.Drops = append(f.live.stats.Drops, models.Drop{Stage: "kernel", Reason: "ring", Count: 41})
	f.live.mu.Unlock()
	var codes []string
	for _, r := range health().Reasons {
		codes = append(codes, r.Code)
		if r.Code == "drops" && !strings.Contains(r.Message, "41") {
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

func TestDropsCountForAMinute(t *testing.T) {
	var d dropWatch
	now := func(n uint64) models.Stats { return models.Stats{Drops: []models.Drop{{Count: n}}} }
	if n := d.recent(now(5)); n != 0 {
		t.Errorf("before the first sample: %d", n)
	}
	for range 30 {
		d.sample(100)
	}
	if n := d.recent(now(107)); n != 7 {
		t.Errorf("at once: %d", n)
	}
	for range 45 {
		d.sample(107)
	}
	if n := d.recent(now(107)); n != 7 {
		t.Errorf("after 45 s: %d", n)
	}
	for range 16 {
		d.sample(107)
	}
	if n := d.recent(now(107)); n != 0 {
		t.Errorf("after 61 s: %d", n)
	}
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
		`netlyra_pipeline_latency_p99_seconds{stage="decode"} 0.005`,
		`netlyra_api_requests_total{route="/api/v1/alerts/:id",status="400"} 1`,
		`netlyra_api_requests_total{route="/api/v1/alerts/:id",status="404"} 1`,
		`netlyra_api_requests_total{route="other",status="404"} 1`,
		`netlyra_api_ws_clients 0`,
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
