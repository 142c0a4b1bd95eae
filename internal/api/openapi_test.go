package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func description(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil // whatever port the test has
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// operations are "GET /path operationId" of the description.
func operations(doc *openapi3.T) map[string]string {
	all := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			all[method+" "+path] = op.OperationID
		}
	}
	return all
}

func TestEveryRouteIsDescribedAndEveryDescriptionIsARoute(t *testing.T) {
	f := start(t, nil)
	doc, _ := description(t)
	var described []string
	for route := range operations(doc) {
		described = append(described, route)
	}
	var served []string
	for _, r := range f.routes(true).Routes() {
		served = append(served, r.Method+" "+strings.NewReplacer(":id", "{id}", ":ip", "{ip}").Replace(r.Path))
	}
	sort.Strings(described)
	sort.Strings(served)
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("described (-) and served (+):\n%s", diff)
	}
}

func TestOperationsHaveDistinctIDs(t *testing.T) {
	doc, _ := description(t)
	seen := map[string]string{}
	for route, id := range operations(doc) {
		if other, twice := seen[id]; twice || id == "" {
			t.Errorf("%s: operationId %q; %s has it too", route, id, other)
		}
		seen[id] = route
	}
}

// exchange is one request and what it should give.
type exchange struct {
	name, method, path, body string
	header                   []string
	status                   int
	code                     string // of the error
	anyRequest               bool   // the request itself need not fit the description
	before                   func(*fixture)
}

// exchanges cover every operation, with success and with every error that it can be brought to.
func exchanges() []exchange {
	unavailable := func(f *fixture) { f.store.fail(io.ErrUnexpectedEOF) }
	withException := func(f *fixture) {
		f.store.keep([]models.Exception{{ID: "e0", Created: t0, Host: "192.0.2.7", Port: 22, Category: models.CategoryBruteForce, Reason: "r", Hits: 1}})
	}
	foreign := []string{"Origin", "https://evil.example"}
	const exceptions = "/api/v1/exceptions"
	return []exchange{
		{name: "health", path: "/api/v1/health", status: 200},
		{name: "degraded", path: "/api/v1/health", status: 200, before: func(f *fixture) { f.live.stats.Interfaces[0].Link = "gone" }},
		{name: "health with parameter", path: "/api/v1/health?a=1", status: 400, code: "bad_parameter"},
		{name: "stats", path: "/api/v1/stats", status: 200},
		{name: "stats with parameter", path: "/api/v1/stats?a=1", status: 400, code: "bad_parameter"},
		{name: "alerts", path: "/api/v1/alerts", status: 200},
		{name: "alerts with all filters", status: 200, path: "/api/v1/alerts?host=192.0.2.7&port=443&proto=tcp&from=2026-01-30T00:00:00Z" +
			"&to=2026-02-01T00:00:00%2B01:00&min_score=0.8&state=open&category=port_scan&triage=new&limit=500"},
		{name: "no alerts", path: "/api/v1/alerts?host=203.0.113.1", status: 200},
		{name: "alerts by lists", path: "/api/v1/alerts?category=flood,beacon&severity=low,high&sensor=s1&text=x&community_id=1:x&sort=severity", status: 200},
		{name: "alerts, bad cursor", path: "/api/v1/alerts?cursor=x", status: 400, code: "bad_cursor"},
		{name: "alerts, bad state", path: "/api/v1/alerts?state=ajar", status: 400, code: "bad_parameter", anyRequest: true},
		{name: "alerts without store", path: "/api/v1/alerts", status: 503, code: "store_unavailable", before: unavailable},
		{name: "alert", path: "/api/v1/alerts/0000000000000003", status: 200},
		{name: "alert that is not there", path: "/api/v1/alerts/ffff", status: 404, code: "not_found"},
		{name: "alert with parameter", path: "/api/v1/alerts/ffff?x=1", status: 400, code: "bad_parameter"},
		{name: "alert with a long id", path: "/api/v1/alerts/" + strings.Repeat("f", 4000), status: 404, code: "not_found"},
		{name: "alert without store", path: "/api/v1/alerts/ffff", status: 503, code: "store_unavailable", before: unavailable},
		{name: "hidden alerts", path: "/api/v1/alerts?triage=hidden", status: 200},
		{name: "all alerts", path: "/api/v1/alerts?triage=all", status: 200},
		{name: "acknowledge", method: "PATCH", path: "/api/v1/alerts/0000000000000003", body: `{"triage":"acknowledged"}`, status: 200},
		{name: "acknowledge one that is not there", method: "PATCH", path: "/api/v1/alerts/ffff", body: `{"triage":"new"}`, status: 404, code: "not_found"},
		{name: "unknown triage", method: "PATCH", path: "/api/v1/alerts/ffff", body: `{"triage":"all"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "no triage", method: "PATCH", path: "/api/v1/alerts/ffff", body: `{}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "acknowledge from another site", method: "PATCH", path: "/api/v1/alerts/ffff", body: `{"triage":"new"}`, header: foreign, status: 403, code: "origin_not_allowed"},
		{name: "acknowledge without store", method: "PATCH", path: "/api/v1/alerts/ffff", body: `{"triage":"new"}`, status: 503, code: "store_unavailable", before: unavailable},
		{name: "no exceptions", path: "/api/v1/exceptions", status: 200},
		{name: "exceptions", path: "/api/v1/exceptions", status: 200, before: withException},
		{name: "exceptions with parameter", path: "/api/v1/exceptions?limit=7", status: 400, code: "bad_parameter"},
		{name: "exceptions without store", path: "/api/v1/exceptions", status: 503, code: "store_unavailable", before: unavailable},
		{
			name: "exception with everything", method: "POST", path: exceptions, status: 201, body: `{"host":"192.0.2.0/24","peer":"2001:db8::1","port":443,
			"proto":"TCP","category":"beacon","sensor":"s1","reason":"r","expires":"2126-01-31T13:45:00+01:00"}`,
		},
		{name: "exception for ever", method: "POST", path: exceptions, body: `{"host":"192.0.2.7","reason":"r","expires":null}`, status: 201},
		{name: "preview", method: "POST", path: exceptions + "/preview", body: `{"host":"192.0.2.7"}`, status: 200},
		{name: "preview of nothing", method: "POST", path: exceptions + "/preview", body: `{"host":"203.0.113.7"}`, status: 200},
		{name: "preview, bad host", method: "POST", path: exceptions + "/preview", body: `{"host":"printer"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "preview, bad parameter", method: "POST", path: exceptions + "/preview?x=1", body: `{"port":22}`, status: 400, code: "bad_parameter"},
		{name: "exception about nothing", method: "POST", path: exceptions, body: `{"reason":"r"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "exception, bad port", method: "POST", path: exceptions, body: `{"port":70000,"reason":"r"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "exception, port as text", method: "POST", path: exceptions, body: `{"port":"22","reason":"r"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "exception, bad expiry", method: "POST", path: exceptions, body: `{"port":22,"reason":"r","expires":"tomorrow"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "exception, misspelt field", method: "POST", path: exceptions, body: `{"hots":"192.0.2.7","reason":"r"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "exception, no JSON", method: "POST", path: exceptions, body: `host=192.0.2.7`, status: 400, code: "bad_body", anyRequest: true},
		{name: "exception, two objects", method: "POST", path: exceptions, body: `{"port":22,"reason":"r"}{}`, status: 400, code: "bad_body"},
		{name: "exception, large body", method: "POST", path: exceptions, body: `{"reason":"` + strings.Repeat("x", 70000) + `"}`, status: 413, code: "body_too_large", anyRequest: true},
		{name: "exception from another site", method: "POST", path: exceptions, body: `{"port":22,"reason":"r"}`, header: foreign, status: 403, code: "origin_not_allowed"},
		{
			name: "one exception too many", method: "POST", path: exceptions, body: `{"port":22,"reason":"r"}`, status: 409, code: "limit_reached",
			before: func(f *fixture) { f.store.keep(make([]models.Exception, models.MaxExceptions)) },
		},
		{name: "the same exception again", method: "POST", path: exceptions, body: `{"host":"192.0.2.7/32","reason":"another"}`, status: 409, code: "exception_exists", before: func(f *fixture) {
			f.store.keep([]models.Exception{{ID: "e0", Host: "192.0.2.7", Reason: "r"}})
		}},
		{name: "exception without store", method: "POST", path: exceptions, body: `{"port":22,"reason":"r"}`, status: 503, code: "store_unavailable", before: unavailable},
		{name: "change", method: "PATCH", path: exceptions + "/e0", body: `{"reason":"q","expires":"2126-01-31T13:45:00Z"}`, status: 200, before: withException},
		{name: "change to never", method: "PATCH", path: exceptions + "/e0", body: `{"expires":null}`, status: 200, before: withException},
		{name: "change of nothing", method: "PATCH", path: exceptions + "/e0", body: `{}`, status: 400, code: "bad_body", anyRequest: true, before: withException},
		{name: "change of the host", method: "PATCH", path: exceptions + "/e0", body: `{"host":"192.0.2.8"}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "change, bad expiry", method: "PATCH", path: exceptions + "/e0", body: `{"expires":7}`, status: 400, code: "bad_body", anyRequest: true},
		{name: "change, no reason", method: "PATCH", path: exceptions + "/e0", body: `{"reason":" "}`, status: 400, code: "bad_body", anyRequest: true, before: withException},
		{name: "change of one that is not there", method: "PATCH", path: exceptions + "/none", body: `{"reason":"q"}`, status: 404, code: "not_found"},
		{name: "change from another site", method: "PATCH", path: exceptions + "/e0", body: `{"reason":"q"}`, header: foreign, status: 403, code: "origin_not_allowed"},
		{name: "remove", method: "DELETE", path: exceptions + "/e0", status: 204, before: withException},
		{name: "remove one that is not there", method: "DELETE", path: exceptions + "/none", status: 404, code: "not_found"},
		{name: "remove with a long id", method: "DELETE", path: exceptions + "/" + strings.Repeat("e", 4000), status: 404, code: "not_found"},
		{name: "remove with parameter", method: "DELETE", path: exceptions + "/e0?x=1", status: 400, code: "bad_parameter"},
		{name: "remove from another site", method: "DELETE", path: exceptions + "/e0", header: foreign, status: 403, code: "origin_not_allowed"},
		{name: "remove without store", method: "DELETE", path: exceptions + "/e0", status: 503, code: "store_unavailable", before: unavailable},
		{name: "exception", path: exceptions + "/e0", status: 200, before: withException},
		{name: "exception that is not there", path: exceptions + "/none", status: 404, code: "not_found"},
		{name: "exception for a whole kind", method: "POST", path: exceptions, body: `{"category":"port_scan","reason":"r"}`, status: 201},
		{name: "exception with a coded body", method: "POST", path: exceptions, body: `{"port":22,"reason":"r"}`, header: []string{"Content-Encoding", "gzip"}, status: 415, code: "encoding_not_supported"},
		{name: "decisions", path: "/api/v1/decisions?object=0000000000000003", status: 200},
		{name: "decisions, bad limit", path: "/api/v1/decisions?limit=0", status: 400, code: "bad_parameter", anyRequest: true},
		{name: "hosts", path: "/api/v1/hosts?host=192.0.2.0/24&text=02:00&from=2026-01-01T00:00:00Z&sort=bytes&limit=7", status: 200},
		{name: "hosts, bad sort", path: "/api/v1/hosts?sort=score", status: 400, code: "bad_parameter", anyRequest: true},
		{name: "host", path: "/api/v1/hosts/192.0.2.7", status: 200},
		{name: "host that was not seen", path: "/api/v1/hosts/203.0.113.7", status: 404, code: "not_found"},
		{name: "sensors", path: "/api/v1/sensors", status: 200},
		{name: "sensors with parameter", path: "/api/v1/sensors?x=1", status: 400, code: "bad_parameter"},
		{name: "series", path: "/api/v1/series?from=2026-01-31T12:00:00Z&to=2026-01-31T12:10:00Z&step=60", status: 200},
		{name: "series of now", path: "/api/v1/series", status: 200},
		{name: "series, bad step", path: "/api/v1/series?step=7", status: 400, code: "bad_parameter", anyRequest: true},
		{name: "series, too long", path: "/api/v1/series?from=2020-01-31T12:00:00Z&step=1", status: 400, code: "bad_parameter"},
		{name: "live", path: "/livez", status: 200},
		{name: "live with parameter", path: "/livez?x=1", status: 400, code: "bad_parameter"},
		{name: "not ready", path: "/readyz", status: 503, code: "not_ready", before: func(f *fixture) { f.live.stats.Interfaces[0].Link = "gone" }},
		{name: "description of the WebSocket", path: "/asyncapi.yaml", status: 200},
		{name: "description of the WebSocket, v1", path: "/api/v1/asyncapi.yaml", status: 200},
		{name: "locked database", method: "PATCH", path: "/api/v1/alerts/ffff", body: `{"triage":"new"}`, status: 503, code: "database_busy", before: func(f *fixture) { f.store.fail(fmt.Errorf("x: %w", models.ErrBusy)) }},
		{name: "connections", path: "/api/v1/connections", status: 200},
		{name: "connections with all filters", status: 200, path: "/api/v1/connections?host=2001:DB8:0::7&port=53&proto=17&from=2026-01-30T00:00:00Z" +
			"&to=2026-02-01T00:00:00Z&min_score=0.1&state=active&live=false&limit=7"},
		{name: "live connections", path: "/api/v1/connections?live=true&limit=1", status: 200},
		{name: "connections, bad port", path: "/api/v1/connections?port=0", status: 400, code: "bad_parameter", anyRequest: true},
		{name: "live connections, bad cursor", path: "/api/v1/connections?live=true&cursor=7", status: 400, code: "bad_cursor"},
		{name: "connections without store", path: "/api/v1/connections", status: 503, code: "store_unavailable", before: unavailable},
		{name: "description", path: "/openapi.yaml", status: 200},
		{name: "description, v1", path: "/api/v1/openapi.yaml", status: 200},
		{name: "metrics", path: "/metrics", status: 200},
		{name: "no upgrade", path: "/ws", status: 426, code: "websocket_required"},
		{name: "session", method: "POST", path: "/api/v1/session", body: `{"token":"any"}`, status: 204},
		{name: "session, no JSON", method: "POST", path: "/api/v1/session", body: `token=any`, status: 400, code: "bad_body", anyRequest: true},
		{
			name: "session, large body", method: "POST", path: "/api/v1/session", body: `{"token":"` + strings.Repeat("x", 70000) + `"}`,
			status: 413, code: "body_too_large",
		},
		{
			name: "session from another site", method: "POST", path: "/api/v1/session", body: `{"token":"any"}`,
			header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, code: "origin_not_allowed",
		},
		{name: "end of session", method: "DELETE", path: "/api/v1/session", status: 204},
		{
			name: "end of session from another site", method: "DELETE", path: "/api/v1/session",
			header: []string{"Origin", "https://evil.example"}, status: 403, code: "origin_not_allowed",
		},
		{name: "another host", path: "/api/v1/health", header: []string{"Host", "evil.example"}, status: 421, code: "host_not_allowed"},
	}
}

func TestAnswersAreAsDescribed(t *testing.T) {
	_, router := description(t)
	covered := map[string]bool{}
	for _, x := range exchanges() {
		t.Run(x.name, func(t *testing.T) {
			f := start(t, nil)
			if x.before != nil {
				x.before(f)
			}
			if x.method == "" {
				x.method = http.MethodGet
			}
			got := f.do(t, x.method, x.path, x.body, append(x.header, "Content-Type", "application/json")...)
			if got.status != x.status || !strings.Contains(got.body, `"code":"`+x.code) && x.code != "" {
				t.Fatalf("status %d, want %d with code %q:\n%s", got.status, x.status, x.code, got.body)
			}
			covered[validate(t, router, x, got)] = true
		})
	}
	doc, _ := description(t)
	for route := range operations(doc) {
		if !covered[route] {
			t.Errorf("no exchange covers %s", route)
		}
	}
}

// validate holds a request and its answer to the description, and tells which operation it was.
func validate(t *testing.T, router routers.Router, x exchange, got answer) string {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), x.method, x.path, strings.NewReader(x.body))
	if x.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatalf("%s %s: %v", x.method, x.path, err)
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true},
	}
	err = openapi3filter.ValidateRequest(t.Context(), in)
	if bad := err != nil; bad != x.anyRequest {
		t.Errorf("by the description, the request is wrong: %v, want %v: %v", bad, x.anyRequest, err)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: got.status, Header: got.header,
		Body: io.NopCloser(bytes.NewReader([]byte(got.body))), Options: in.Options,
	}
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("answer: %v", err)
	}
	return route.Method + " " + route.Path
}

func TestClosedListsAreThoseOfModels(t *testing.T) {
	doc, _ := description(t)
	for schema, want := range map[string][]string{
		"Category": texts(models.Categories()), "Severity": texts(models.Severities()), "ConnectionState": models.ConnStateNames(),
		"AlertState": texts(alertStates()), "Triage": texts(models.Triages()),
	} {
		var got []string
		for _, v := range doc.Components.Schemas[schema].Value.Enum {
			got = append(got, fmt.Sprint(v))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-models +openapi.yaml):\n%s", schema, diff)
		}
	}
}

func texts[T ~string](all []T) []string {
	var s []string
	for _, t := range all {
		s = append(s, string(t))
	}
	return s
}

func TestErrorCodesAreDescribed(t *testing.T) {
	doc, _ := description(t)
	var described []string
	for _, v := range doc.Components.Schemas["Error"].Value.Properties["error"].Value.Properties["code"].Value.Enum {
		if s, ok := v.(string); ok {
			described = append(described, s)
		}
	}
	// code_client_gone is never read by anybody.
	want := []code{
		codeBadParameter, codeBadCursor, codeBadBody, codeUnauthorized, codeWrongToken, codeWrongTooOften, codeNotPermitted, codeBadOrigin, codeNotFound, codeNoRoute, codeBadMethod,
		codeTooLarge, codeBadHost, codeNoUpgrade, codeNotJSON, codeEncoded, codeLimit, codeExists, codeBusy, codeStore, codeTimeout, codeDatabaseBusy, codeNotReady, codeInternal,
	}
	for _, c := range want {
		if !slices.Contains(described, string(c)) {
			t.Errorf("%s is not described", c)
		}
		if s := c.status(); s < 400 || s > 599 {
			t.Errorf("%s: status %d", c, s)
		}
	}
	if len(described) != len(want) {
		t.Errorf("described: %v", described)
	}
}
