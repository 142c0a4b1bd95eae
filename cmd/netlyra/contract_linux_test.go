package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/getkin/kin-openapi/openapi3"

	"netlyra/internal/models"
	"netlyra/internal/traffic"
)

// unfilled are the fields that these runs cannot fill, each with where it is.
func unfilled() map[string]string {
	const overload = "only when the analysis is behind its packets; internal/pipeline"
	return map[string]string{
		"/api/v1/series drops":                     "only an interface loses packets; internal/pipeline, TestTheSeriesHasLosses",
		"/api/v1/stats interfaces.dropped":         "likewise; internal/capture, TestLiveDropsAddUp",
		"/api/v1/stats detector.releases":          "after half an hour of an anomaly; internal/detect",
		"/api/v1/stats connections.unstored":       overload,
		"/api/v1/stats alerts.dropped":             "only when the database fails; cmd/netlyra, TestTerminateWithALockedDatabase",
		"/api/v1/stats detector.actual_per_day":    "what is learned raises nothing in its first hours; internal/bench",
		"/api/v1/stats detector.learned_alerts":    "likewise",
		"/api/v1/stats drops.count":                overload,
		"/api/v1/health sandbox.capabilities":      "only a program that watches an interface keeps one; cmd/netlyra, TestSandbox",
		"/api/v1/health sandbox.missing":           "only where the kernel has not all of it; internal/sandbox, TestStatusSaysWhatIsMissing",
		"/api/v1/sensors next":                     "all sensors are one page, in the form of every list",
		"/api/v1/sensors items.lost":               "only an interface loses packets; internal/role, TestSignsOfAFleet",
		"/api/v1/sensors items.interfaces.dropped": "likewise; internal/capture, TestLiveDropsAddUp",
		"/api/v1/exceptions next":                  "there are 500 exceptions at most: they are one page, in the form of every list",
	}
}

// Every field that openapi.yaml promises for what can be read, and every column of the WebSocket's connections, is filled by a run: a
// promise that no code keeps is worse than a gap.
func TestEveryPromisedFieldIsFilled(t *testing.T) {
	long(t)
	dir := t.TempDir()
	capture := filepath.Join(dir, "everything.pcap")
	writeEverything(t, capture)
	seen := map[string]bool{}

	p := startRun(t, nil, filepath.Join(dir, "file.db"), "--read", capture, "--speed", "max", "--sensor", "contract", "--max-connections", "1024")
	doc := description(t, p)
	var health struct{ Reasons []any }
	p.await("the end of the file", func() bool {
		var st models.Stats
		p.get("api/v1/stats", &st)
		cover(p, doc, seen, "/api/v1/stats", "api/v1/stats")
		cover(p, doc, seen, "/api/v1/sensors", "api/v1/sensors")
		return len(st.Interfaces) == 1 && st.Interfaces[0].Link == "ended"
	})
	p.get("api/v1/health", &health)
	var alerts models.Page[models.Alert]
	p.get("api/v1/alerts?limit=500", &alerts)
	if len(alerts.Items) < 3 {
		t.Fatalf("only %d alerts: this test shows little", len(alerts.Items))
	}
	decide(t, p, http.MethodPatch, "api/v1/alerts/"+alerts.Items[0].ID, `{"triage":"acknowledged"}`)
	hide := alerts.Items[len(alerts.Items)-1]
	exception := fmt.Sprintf(`{"host":%q,"peer":%q,"port":%d,"proto":%q,"category":%q,"sensor":"contract","reason":"a test","expires":"2100-01-01T00:00:00Z"}`,
		hide.SrcIP, hide.DstIP, max(hide.DstPort, hide.SrcPort, 1), hide.Proto, hide.Category)
	decide(t, p, http.MethodPost, "api/v1/exceptions", `{"category":"port_scan","reason":"all of a kind"}`)
	decide(t, p, http.MethodPost, "api/v1/exceptions", exception)
	from, to := alerts.Items[len(alerts.Items)-1].TS.Time().Add(-time.Hour).Unix(), alerts.Items[0].TS.Time().Add(time.Hour).Unix()
	rfc := func(s int64) string { return time.Unix(s, 0).UTC().Format(time.RFC3339) }
	for _, one := range []struct{ path, url string }{
		{"/api/v1/alerts", "api/v1/alerts?triage=all&limit=500"},
		{"/api/v1/alerts", "api/v1/alerts?triage=all&limit=1"},
		{"/api/v1/alerts/{id}", "api/v1/alerts/" + alerts.Items[0].ID},
		{"/api/v1/connections", "api/v1/connections?limit=500"},
		{"/api/v1/connections", "api/v1/connections?limit=500&min_score=0.1"},
		{"/api/v1/connections", "api/v1/connections?limit=500&proto=ICMP"},
		{"/api/v1/connections", "api/v1/connections?host=10.9.0.0/16"},
		{"/api/v1/hosts", "api/v1/hosts?limit=3"},
		{"/api/v1/hosts/{ip}", "api/v1/hosts/" + alerts.Items[0].DstIP},
		{"/api/v1/series", "api/v1/series?step=60&from=" + rfc(from) + "&to=" + rfc(to)},
		{"/api/v1/exceptions", "api/v1/exceptions"},
		{"/api/v1/decisions", "api/v1/decisions?limit=1"},
		{"/api/v1/health", "api/v1/health"},
		{"/api/v1/stats", "api/v1/stats"},
	} {
		cover(p, doc, seen, one.path, one.url)
	}
	var exceptions models.Page[models.Exception]
	p.get("api/v1/exceptions", &exceptions)
	for _, e := range exceptions.Items {
		cover(p, doc, seen, "/api/v1/exceptions/{id}", "api/v1/exceptions/"+e.ID)
	}
	for _, a := range alerts.Items { // one that is a single connection, one that is hidden, one that was decided
		cover(p, doc, seen, "/api/v1/alerts/{id}", "api/v1/alerts/"+a.ID)
	}
	p.terminate()

	// A flood that evicts connections, and a scan that an exception hides.
	p = startRun(t, nil, filepath.Join(dir, "file.db"), "--read", sample, "--speed", "max", "--sensor", "contract", "--max-connections", "1024")
	p.await("an alert that is hidden", func() bool {
		cover(p, doc, seen, "/api/v1/stats", "api/v1/stats")
		return seen["/api/v1/stats alerts.suppressed"] && seen["/api/v1/stats connections.evicted"]
	})
	p.terminate()

	live := startRun(t, nil, filepath.Join(dir, "live.db"), "--read", capture, "--sensor", "contract", "--ws-listen", "127.0.0.1:0")
	c, response, err := websocket.Dial(t.Context(), strings.Replace(live.page, "http", "ws", 1)+"ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	c.SetReadLimit(8 << 20)
	heard := make(chan map[string]bool, 1)
	go listenColumns(t, c, heard)
	live.await("live connections with rates and an incident", func() bool {
		cover(live, doc, seen, "/api/v1/connections", "api/v1/connections?live=true&limit=500")
		cover(live, doc, seen, "/api/v1/health", "api/v1/health")
		cover(live, doc, seen, "/api/v1/sensors", "api/v1/sensors")
		return seen["/api/v1/connections items.rate_up"] && seen["/api/v1/connections items.rate_down"] && seen["/api/v1/connections total"]
	})
	time.Sleep(3 * time.Second) // of the sample's time: the columns are those of several messages
	_ = c.CloseNow()
	columns := <-heard
	live.terminate()
	for name, ok := range columns {
		switch name {
		case "alert", "score": // the incidents come later; REST has shown both
			continue
		case "full", "omitted", "gone": // for a client that has been away, for too many changes, and after a minute
			continue
		}
		if !ok {
			t.Errorf("no WebSocket message fills the connections' %s", name)
		}
	}
	if len(columns) < 20 {
		t.Errorf("only %d columns came: %v", len(columns), columns)
	}

	promised := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		if item.Get == nil || !strings.HasPrefix(path, "/api/v1/") {
			continue
		}
		if body := item.Get.Responses.Value("200"); body != nil {
			if json := body.Value.Content.Get("application/json"); json != nil {
				fields(json.Schema.Value, path+" ", promised)
			}
		}
	}
	allowed := unfilled()
	for _, field := range slices.Sorted(maps.Keys(promised)) {
		if _, known := allowed[field]; !seen[field] && !known {
			t.Errorf("no run fills %s", field)
		}
	}
	if len(promised) < 100 {
		t.Errorf("only %d fields are promised: the description was not read", len(promised))
	}
}

// description fetches and reads the description that the server serves.
func description(t *testing.T, p *process) *openapi3.T {
	t.Helper()
	response, err := p.client().Get(p.page + "openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// fields collects the names of a schema's fields, with those that they are in.
func fields(s *openapi3.Schema, prefix string, into map[string]bool) {
	for _, part := range s.AllOf {
		fields(part.Value, prefix, into)
	}
	if s.Items != nil {
		fields(s.Items.Value, prefix, into)
	}
	for name, of := range s.Properties {
		into[prefix+name] = true
		fields(of.Value, prefix+name+".", into)
	}
}

// cover notes which fields an answer fills.
func cover(p *process, doc *openapi3.T, seen map[string]bool, path, url string) {
	p.t.Helper()
	if doc.Paths.Value(path) == nil {
		p.t.Fatalf("%s is not described", path)
	}
	var answer any
	p.get(url, &answer)
	fill(answer, path+" ", seen)
}

func fill(v any, prefix string, seen map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, of := range v {
			if filled(of) {
				seen[prefix+name] = true
			}
			fill(of, prefix+name+".", seen)
		}
	case []any:
		for _, of := range v {
			fill(of, prefix, seen)
		}
	}
}

// filled: a zero, an empty text or list, and null could as well be a field that nobody fills.
func filled(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case float64:
		return v != 0
	case []any:
		return slices.ContainsFunc(v, filled)
	case map[string]any:
		return len(v) > 0
	}
	return true
}

func decide(t *testing.T, p *process, method, path, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.page+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(response.Body)
	if response.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s %s: %s %s", method, path, body, response.Status, answer)
	}
}

// await asks again and again.
func (p *process) await(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %v\n%s", what, patience, p.said())
		}
	}
}

// listenColumns notes which members of the messages about connections are filled, until the connection ends.
func listenColumns(t *testing.T, c *websocket.Conn, heard chan<- map[string]bool) {
	columns := map[string]bool{}
	defer func() { heard <- columns }()
	for {
		_, b, err := c.Read(t.Context())
		if err != nil {
			return
		}
		var m struct {
			Type string
			Data map[string]any
		}
		if json.Unmarshal(b, &m) != nil {
			continue
		}
		for _, block := range append(slices.Collect(maps.Values(m.Data)), any(m.Data)) { // a message of its own, or in the snapshot
			rows, ok := block.(map[string]any)
			if _, are := rows["src_ip"].([]any); !ok || !are {
				continue
			}
			for name, v := range rows {
				columns[name] = columns[name] || filled(v)
			}
		}
	}
}

// writeEverything writes an office in which there are incidents of several kinds, among them one that is a single connection; with VLANs, fragments,
// broken packets, ICMP, a packet that comes late, one with a wrong time and a clock that is set back.
func writeEverything(t *testing.T, path string) {
	t.Helper()
	office := filepath.Join(t.TempDir(), "office.pcap")
	o := traffic.Options{Seed: 11, Duration: 40 * time.Minute}
	for i, family := range []string{"flood_icmp", "scan_top100", "exfil_https_upload", "arp_spoof", "dns_tunnel_txt"} {
		o.Plays = append(o.Plays, traffic.Play{Family: family, At: 16*time.Minute + time.Duration(20*i)*time.Second, Seed: uint64(i)})
	}
	writeOffice(t, office, o)
	frames := readCapture(t, office)
	third, half := len(frames)/3, len(frames)/2
	at := frames[third].TS
	var extra []models.Frame
	add := func(kind uint16, payload []byte) {
		b := slices.Concat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, binary.BigEndian.AppendUint16(nil, kind), payload)
		extra = append(extra, models.Frame{TS: at, Data: b, WireLen: uint32(len(b))})
	}
	ip := func(flags uint16, proto byte, payload []byte) []byte {
		h := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 1, 0, 0, 64, proto, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2}
		binary.BigEndian.PutUint16(h[6:], flags)
		return append(h, payload...)
	}
	datagram := append([]byte{0x9c, 0x40, 0x9c, 0x41, 0, 28, 0, 0}, bytes.Repeat([]byte{7}, 20)...)
	add(0x8100, append([]byte{0, 42, 8, 0}, ip(0, 17, datagram)...))                      // VLAN 42
	add(0x0800, ip(0x2000, 17, datagram))                                                 // the first fragment
	add(0x0800, ip(0x0003, 17, datagram))                                                 // a later one
	add(0x0800, ip(0, 1, append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, ip(0, 17, datagram)...))) // ICMP: host unreachable
	add(0x0800, []byte{0x45, 0})                                                          // cut off
	add(0x88cc, bytes.Repeat([]byte{0}, 40))                                              // LLDP: no IP
	add(0x0800, ip(0, 17, datagram))
	extra[len(extra)-1].TS = at - 3_000_000 // late
	add(0x0800, ip(0, 17, datagram))
	extra[len(extra)-1].TS = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	frames = slices.Insert(frames, third, extra...)
	for i := half; i < len(frames); i++ {
		frames[i].TS -= 30_000_000
	}
	if err := os.WriteFile(path, pcapOf(frames), 0o600); err != nil {
		t.Fatal(err)
	}
}
