package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"netlyra/internal/models"
)

// received is an envelope as a client reads it.
type received struct {
	V     int             `json:"v"`
	Type  string          `json:"type"`
	Epoch string          `json:"epoch"`
	Seq   uint64          `json:"seq"`
	TS    int64           `json:"ts_us"`
	Data  json.RawMessage `json:"data"`
}

// rowsData is a connection message, of the columns that the tests look at.
type rowsData struct {
	Gen     uint64   `json:"gen"`
	Full    bool     `json:"full"`
	Omitted uint64   `json:"omitted"`
	ID      []string `json:"id"`
	SNI     []string `json:"sni"`
	BytesUp []uint64 `json:"bytes_up"`
	Gone    []string `json:"gone"`
}

// peer is a WebSocket client of the tests.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	last received
	raw  []byte // of last
}

func dial(t *testing.T, url string, header http.Header) *peer {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &peer{t: t, conn: conn}
}

func (p *peer) say(format string, args ...any) {
	p.t.Helper()
	if err := p.conn.Write(p.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Fatal(err)
	}
}

// next reads a message, which has to come within 20 s: not a measure, but an end for a test that hangs.
func (p *peer) next() received {
	p.t.Helper()
	m, err := p.read()
	if err != nil {
		p.t.Fatalf("after %s %d: %v", p.last.Type, p.last.Seq, err)
	}
	return m
}

func (p *peer) read() (received, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), 20*time.Second)
	defer cancel()
	_, b, err := p.conn.Read(ctx)
	if err != nil {
		return received{}, err
	}
	var m received
	if err := json.Unmarshal(b, &m); err != nil {
		p.t.Errorf("%s: %v", b, err)
	}
	p.raw = b
	if m.V != 1 || m.Epoch == "" || m.TS == 0 || m.Seq < p.last.Seq {
		p.t.Errorf("envelope of %s %d after seq %d", m.Type, m.Seq, p.last.Seq)
	}
	p.last = m
	return m, nil
}

// until reads, acknowledging, up to a message of the type, and gives it.
func (p *peer) until(typ string) received {
	p.t.Helper()
	for {
		m := p.next()
		p.say(`{"type":"ack","seq":%d}`, m.Seq)
		if m.Type == typ {
			return m
		}
	}
}

func into[T any](t *testing.T, m received) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(m.Data, &v); err != nil {
		t.Fatalf("%s: %v", m.Data, err)
	}
	return v
}

// greet says hello and reads to the snapshot, which it acknowledges.
func (p *peer) greet() (rowsData, models.Stats) {
	p.t.Helper()
	p.say(`{"type":"hello"}`)
	data := into[snapshotData](p.t, p.until(typeSnapshot))
	var rows rowsData
	var st models.Stats
	if err := json.Unmarshal(data.Connection, &rows); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(data.Stats, &st); err != nil {
		p.t.Fatal(err)
	}
	return rows, st
}

func TestWebSocketTellsAllThatHappens(t *testing.T) {
	f := start(t, nil)
	for _, url := range []string{f.wsURL(), "ws" + f.base[len("http"):] + "/ws"} {
		t.Run(url, func(t *testing.T) {
			p := dial(t, url, nil)
			hello := p.next()
			want := helloData{Server: "netlyra", Version: "test", Topics: topics(), Rates: []int{60, 1}, Credit: 2, MaxBytes: 256 << 10}
			if diff := cmp.Diff(want, into[helloData](t, hello)); hello.Type != typeHello || diff != "" {
				t.Fatalf("%s (-want +got):\n%s", hello.Type, diff)
			}
			rows, st := p.greet()
			if !rows.Full || len(rows.ID) < 2 || st.Source != "eth0" {
				t.Fatalf("snapshot: %+v %+v", rows, st)
			}
			f.live.count(7)
			f.Changed()
			if got := into[models.Stats](t, p.until(typeStats)).Packets; got < st.Packets+7 {
				t.Errorf("packets: %d after %d", got, st.Packets)
			}
			c := exampleConnection(1<<62 + 3)
			c.SNI = "<b>\x1b\"é"
			f.live.put(c)
			f.Changed()
			got := into[rowsData](t, p.until(typeConnection))
			if diff := cmp.Diff(rowsData{
				Gen: got.Gen, ID: []string{"4611686018427387907"}, SNI: []string{c.SNI}, BytesUp: []uint64{1000}, Gone: []string{},
			}, got); diff != "" {
				t.Errorf("new connection (-want +got):\n%s", diff)
			}
			f.live.end(c.ID)
			f.Changed()
			if got := into[rowsData](t, p.until(typeConnection)); len(got.ID) != 0 || !cmp.Equal(got.Gone, []string{"4611686018427387907"}) {
				t.Errorf("connection that has gone: %+v", got)
			}
			a := exampleAlert("a1", t0)
			f.PublishAlert(&a)
			a.InsertedAt, a.Triage = 0, models.TriageNew
			if diff := cmp.Diff(a, into[models.Alert](t, p.until(typeAlert))); diff != "" {
				t.Errorf("alert (-want +got):\n%s", diff)
			}
		})
	}
}

// liveEvents reads the schemas of internal/api/asyncapi.yaml, which are where and as OpenAPI has them.
func liveEvents(t *testing.T) *openapi3.T {
	t.Helper()
	const path = "asyncapi.yaml"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, components, found := strings.Cut(string(b), "\ncomponents:\n")
	if !found {
		t.Fatalf("%s has no components", path)
	}
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true
	doc, err := loader.LoadFromDataWithPath([]byte("openapi: 3.0.3\ncomponents:\n"+components), &url.URL{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestMessagesAreAsDescribed holds every kind of message, both ways, to internal/api/asyncapi.yaml.
func TestMessagesAreAsDescribed(t *testing.T) {
	doc := liveEvents(t)
	check := func(schema string, raw []byte) {
		t.Helper()
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		ref := doc.Components.Schemas[schema]
		if ref == nil {
			t.Fatalf("no schema %s", schema)
		}
		if err := ref.Value.VisitJSON(v); err != nil {
			t.Errorf("%s: %v", schema, err)
		}
	}
	f := start(t, nil)
	f.live.put(models.Connection{ID: 3, State: "active", PacketsUp: maxExact + 1})
	p := dial(t, f.wsURL(), nil)
	say := func(schema, text string) {
		check(schema, []byte(text))
		p.say("%s", text)
	}
	say("ClientHello", `{"type":"hello","since":{"epoch":"x","seq":1,"gen":1},"topics":["stats","alert","connection"],"rate":60}`)
	seen := map[string]bool{}
	see := func(typ string) {
		t.Helper()
		for m := p.next(); ; m = p.next() {
			check(strings.ToUpper(m.Type[:1])+m.Type[1:], p.raw)
			seen[m.Type] = true
			say("ClientAck", fmt.Sprintf(`{"type":"ack","seq":%d}`, m.Seq))
			if m.Type == typ {
				return
			}
		}
	}
	see(typeSnapshot)
	f.live.put(exampleConnection(4))
	f.live.end(1)
	f.Changed()
	see(typeConnection)
	see(typeStats)
	a := exampleAlert("a", t0)
	f.PublishAlert(&a)
	see(typeAlert)
	f.TriageChanged()
	see(typeResync)
	say("ClientSub", `{"type":"sub","topics":["stats"],"rate":1}`)
	f.stop()
	see(typeBye)
	for _, typ := range []string{typeHello, typeResync, typeSnapshot, typeConnection, typeStats, typeAlert, typeBye} {
		if !seen[typ] {
			t.Errorf("no %s was seen", typ)
		}
	}
}

func TestResume(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	snapshot, _ := p.greet()
	publish := func(ids ...string) {
		for _, id := range ids {
			a := exampleAlert(id, t0)
			f.PublishAlert(&a)
		}
	}
	publish("a1")
	a1 := p.until(typeAlert)
	epoch, seq := a1.Epoch, a1.Seq
	_ = p.conn.CloseNow()
	publish("a2", "a3")
	f.live.put(exampleConnection(77))
	f.live.end(1)

	again := dial(t, f.wsURL(), nil)
	again.say(`{"type":"hello","since":{"epoch":%q,"seq":%d,"gen":%d}}`, epoch, seq, snapshot.Gen)
	if m := again.next(); m.Type != typeHello {
		t.Fatal(m.Type)
	}
	for _, want := range []string{"a2", "a3"} {
		if m := again.next(); m.Type != typeAlert || into[models.Alert](t, m).ID != want {
			t.Fatalf("%s %s, want alert %s", m.Type, m.Data, want)
		}
	}
	rows := into[rowsData](t, again.until(typeConnection))
	if rows.Full || !cmp.Equal(rows.ID, []string{"77"}) || !cmp.Equal(rows.Gone, []string{"1"}) {
		t.Errorf("what has changed: %+v", rows)
	}
	publish("a4")
	if m := again.until(typeAlert); into[models.Alert](t, m).ID != "a4" {
		t.Errorf("then: %s", m.Data)
	}

	// Without gen the alerts are sent again, and all connections.
	third := dial(t, f.wsURL(), nil)
	third.say(`{"type":"hello","since":{"epoch":%q,"seq":%d}}`, epoch, seq)
	if m := third.until(typeAlert); into[models.Alert](t, m).ID != "a2" {
		t.Errorf("%s", m.Data)
	}
	if rows := into[rowsData](t, third.until(typeConnection)); !rows.Full || len(rows.ID) != 2 {
		t.Errorf("all: %+v", rows)
	}
}

// TestAChangedListIsTold to whoever listens, and to who comes back and has missed it, once.
func TestAChangedListIsTold(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	snapshot, _ := p.greet()
	deaf := dial(t, f.wsURL(), nil)
	deaf.say(`{"type":"hello","topics":["stats"]}`)
	deaf.until(typeSnapshot)

	before := p.until(typeStats)
	f.TriageChanged()
	told := p.until(typeResync)
	if diff := cmp.Diff(resyncData{Reason: "triage"}, into[resyncData](t, told)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.live.count(1)
	f.Changed()
	after := p.until(typeStats)
	next := func(p *peer) string { // the first message that is not about connections
		t.Helper()
		for {
			m := p.next()
			p.say(`{"type":"ack","seq":%d}`, m.Seq)
			if m.Type != typeHello && m.Type != typeConnection {
				return m.Type
			}
		}
	}
	if got := next(deaf); got != typeStats {
		t.Errorf("who wants no alerts gets %s", got)
	}
	for seq, want := range map[uint64]string{before.Seq: typeResync, after.Seq: typeStats} {
		again := dial(t, f.wsURL(), nil)
		again.say(`{"type":"hello","since":{"epoch":%q,"seq":%d,"gen":%d}}`, before.Epoch, seq, snapshot.Gen)
		if got := next(again); got != want {
			t.Errorf("who comes back after %d gets %s, want %s; the list changed before %d", seq, got, want, after.Seq)
		}
	}
}

func TestResyncWhenResumingIsNotPossible(t *testing.T) {
	f := start(t, nil)
	for _, since := range []string{`{"epoch":"another","seq":0}`, fmt.Sprintf(`{"epoch":%q,"seq":999999}`, f.hub.epoch)} {
		p := dial(t, f.wsURL(), nil)
		p.say(`{"type":"hello","since":%s}`, since)
		if r := into[resyncData](t, p.until(typeResync)); r.Reason != "epoch" {
			t.Errorf("%s: %+v", since, r)
		}
		if m := p.next(); m.Type != typeSnapshot {
			t.Errorf("%s: then %s", since, m.Type)
		}
	}
}

// TestASilentClientGetsSomethingUseful says nothing at all, as websocat does.
func TestASilentClientGetsSomethingUseful(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	if m := p.next(); m.Type != typeHello {
		t.Fatal(m.Type)
	}
	if m := p.next(); m.Type != typeSnapshot {
		t.Fatal(m.Type)
	}
	for range 100 {
		f.live.count(1)
		f.Changed()
	}
	// More than the credit: it comes though nothing is acknowledged.
	for range credit + 1 {
		for m := p.next(); m.Type != typeStats; m = p.next() {
			continue
		}
	}
	a := exampleAlert("a", t0)
	f.PublishAlert(&a)
	for m := p.next(); m.Type != typeAlert; m = p.next() {
		continue
	}
}

func TestAClientWithoutCreditGetsTheLatestOnly(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	p.greet()
	// Two updates under way, of which the client acknowledges none: it has before, so that it is waited for.
	for range credit {
		f.live.count(1)
		f.Changed()
		for m := p.next(); m.Type != typeStats; m = p.next() {
			continue
		}
	}
	waiting := p.last.Seq
	for range 500 {
		f.live.count(1)
		f.Changed()
		runtime.Gosched()
	}
	a := exampleAlert("a", t0)
	f.PublishAlert(&a) // needs no credit, so that it overtakes
	if m := p.next(); m.Type != typeAlert {
		t.Fatalf("%s before the alert", m.Type)
	}
	p.say(`{"type":"ack","seq":%d}`, waiting)
	m := p.next()
	if got := into[models.Stats](t, m).Packets; m.Type != typeStats || got != 1000+credit+500 {
		t.Errorf("%s with %d packets, want one with all 500", m.Type, got)
	}
}

func TestAllClientsOfAKindShareOneMessage(t *testing.T) {
	f := start(t, nil)
	var peers []*peer
	for range 8 {
		p := dial(t, f.wsURL(), nil)
		p.greet()
		peers = append(peers, p)
	}
	a := exampleAlert("a", t0)
	f.PublishAlert(&a)
	seqs := map[uint64]bool{}
	for _, p := range peers {
		seqs[p.until(typeAlert).Seq] = true
	}
	if len(seqs) != 1 {
		t.Errorf("an alert was made %d times", len(seqs))
	}
}

func TestSubscription(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	p.say(`{"type":"hello","topics":["alert"]}`)
	if data := into[snapshotData](t, p.until(typeSnapshot)); data.Stats != nil || data.Connection != nil {
		t.Errorf("%+v", data)
	}
	f.live.put(exampleConnection(9))
	f.Changed()
	a := exampleAlert("a", t0)
	f.PublishAlert(&a)
	if m := p.next(); m.Type != typeAlert {
		t.Errorf("%s", m.Type)
	}
	p.say(`{"type":"sub","topics":["connection"]}`)
	rows := into[rowsData](t, p.until(typeConnection))
	if !slices.Contains(rows.ID, "9") {
		t.Errorf("%+v", rows)
	}
}

func TestBadMessagesEndTheConnection(t *testing.T) {
	f := start(t, nil)
	for bad, want := range map[string]string{
		`{`: "not JSON", `[]`: "not a JSON object", `{"type":"shout"}`: `"shout"`, `{"type":"sub","topics":["packets"]}`: `"packets"`,
		`{"type":"ack","seq":-1}`: "seq: a number -1", `""`: "not a JSON object", `{"type":"` + strings.Repeat("é", 300) + `"}`: "type",
	} {
		t.Run(bad, func(t *testing.T) {
			p := dial(t, f.wsURL(), nil)
			p.say("%s", bad)
			bye, err := p.toTheEnd()
			if bye.Code != 1008 || websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(bye.Reason, want) {
				t.Errorf("%+v, %v, want %s", bye, err, want)
			}
		})
	}
	p := dial(t, f.wsURL(), nil)
	p.say(`{"type":"sub","x":"%s"}`, strings.Repeat("x", maxClientMessage))
	if bye, err := p.toTheEnd(); websocket.CloseStatus(err) != websocket.StatusMessageTooBig || bye.Code != 1009 || !strings.Contains(bye.Reason, "8 KiB") {
		t.Errorf("long message: %+v, %v", bye, err)
	}
	p = dial(t, f.wsURL(), nil)
	if err := p.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"hello"}`)); err != nil {
		t.Fatal(err)
	}
	if bye, err := p.toTheEnd(); bye.Code != 1008 || !strings.Contains(bye.Reason, "binary") {
		t.Errorf("binary message: %+v, %v", bye, err)
	}
}

// toTheEnd reads until the connection ends, and gives the bye if there was one.
func (p *peer) toTheEnd() (byeData, error) {
	var bye byeData
	for {
		m, err := p.read()
		if err != nil {
			return bye, err
		}
		if m.Type == typeBye {
			bye = into[byeData](p.t, m)
		}
	}
}

func TestByeFromTheClient(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	p.greet()
	p.say(`{"type":"bye"}`)
	if _, err := p.toTheEnd(); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("%v", err)
	}
}

func TestByeFromTheServer(t *testing.T) {
	f := start(t, nil)
	var peers []*peer
	for range 3 {
		p := dial(t, f.wsURL(), nil)
		p.greet()
		peers = append(peers, p)
	}
	silent := dial(t, f.wsURL(), nil) // never reads: must not hold up the end for long
	_ = silent
	f.stop()
	for _, p := range peers {
		if bye, err := p.toTheEnd(); bye.Code != 1001 || websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("%+v, %v", bye, err)
		}
	}
}

func TestTooManyClientsAreTurnedAway(t *testing.T) {
	f := start(t, func(o *Options) { o.MaxClients = 2 })
	first, second := dial(t, f.wsURL(), nil), dial(t, f.wsURL(), nil)
	first.greet()
	second.greet()
	_, resp, err := websocket.Dial(t.Context(), f.wsURL(), nil) //nolint:bodyclose // the library closes it
	if err == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("%v", err)
	}
	first.say(`{"type":"bye"}`)
	if _, err := first.toTheEnd(); err == nil {
		t.Fatal("no end")
	}
	for f.hub.count.Load() > 1 { // it has left soon after
		runtime.Gosched()
	}
	third := dial(t, f.wsURL(), nil)
	third.greet()
}

// TestAClientThatNeverReadsDelaysNobody keeps one client from reading while alerts of megabytes are published, and has
// another get every one of them in order.
func TestAClientThatNeverReadsDelaysNobody(t *testing.T) {
	f := start(t, nil)
	stuck := dial(t, f.wsURL(), nil)
	stuck.greet()
	p := dial(t, f.wsURL(), nil)
	p.greet()
	const n = 2000
	a := exampleAlert("", t0)
	a.Counterfactual = strings.Repeat("x", 8000) // 16 MB in all: more than any socket swallows
	for i := range n {
		a.ID = fmt.Sprint(i)
		f.PublishAlert(&a)
		if m := p.until(typeAlert); into[models.Alert](t, m).ID != a.ID {
			t.Fatalf("alert %d: %s", i, m.Data)
		}
	}
	if lost := f.hub.droppedQueue.Load(); lost == 0 || lost >= n {
		t.Errorf("%d alerts were not queued for the client that does not read", lost)
	}
	f.hub.mu.Lock()
	for c := range f.hub.clients {
		c.mu.Lock()
		if c.queued > maxQueue {
			t.Errorf("%d bytes wait", c.queued)
		}
		c.mu.Unlock()
	}
	f.hub.mu.Unlock()
	for end := time.Now().Add(20 * time.Second); f.hub.count.Load() > 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) { // ten times what it should take
			t.Fatal("the client that does not read has not been cut off")
		}
	}
	if n := testutil.ToFloat64(f.metrics.closed.WithLabelValues("write")); n != 1 {
		t.Errorf("%v clients were cut off because of a write", n)
	}
}

// TestLostAlertsAreTold has a client read again after its queue was full.
func TestLostAlertsAreTold(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	p.greet()
	a := exampleAlert("", t0)
	a.Counterfactual = strings.Repeat("x", 8000)
	published := 0
	for f.hub.droppedQueue.Load() == 0 {
		f.PublishAlert(&a)
		if published++; published%64 == 0 {
			runtime.Gosched()
		}
	}
	got := 0
	for {
		m := p.next()
		p.say(`{"type":"ack","seq":%d}`, m.Seq)
		if m.Type == typeAlert {
			got++
		}
		if m.Type == typeResync {
			r := into[resyncData](t, m)
			if r.Reason != "missed" || r.Missed != uint64(published-got) && r.Missed != f.hub.droppedQueue.Load()+f.hub.droppedFull.Load() {
				t.Errorf("%+v; %d of %d came", r, got, published)
			}
			return
		}
	}
}

// BenchmarkLatency is from Changed to the client's having read the stats, for a client that acknowledges at once: what this
// package adds to the time from packet to client. The pipeline changes 250 or 10 times a second, and there are others who
// listen too.
func BenchmarkLatency(b *testing.B) {
	for _, every := range []time.Duration{4 * time.Millisecond, 100 * time.Millisecond} {
		for _, others := range []int{0, 30} {
			b.Run(fmt.Sprintf("every=%v/others=%d", every, others), func(b *testing.B) { benchmarkLatency(b, every, others) })
		}
	}
}

// listenOn reads and acknowledges everything until ctx ends.
func listenOn(ctx context.Context, b *testing.B, s *Server) {
	conn, _, err := websocket.Dial(ctx, "ws://"+s.Addrs()[1].String()+"/ws", nil) //nolint:bodyclose // the library closes it
	if err != nil {
		b.Error(err)
		return
	}
	conn.SetReadLimit(1 << 20)
	go func() {
		defer func() { _ = conn.CloseNow() }()
		for {
			_, text, err := conn.Read(ctx)
			var m received
			if err != nil || json.Unmarshal(text, &m) != nil {
				return
			}
			_ = conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"ack","seq":%d}`, m.Seq))
		}
	}()
}

func benchmarkLatency(b *testing.B, every time.Duration, others int) {
	live := newLive()
	o := Options{
		Listen: "127.0.0.1:0", WSListen: "127.0.0.1:0", Store: populated(), Live: live,
		Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	}
	s, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	for range others {
		listenOn(ctx, b, s)
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+s.Addrs()[1].String()+"/ws", nil) //nolint:bodyclose // the library closes it
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	born := make([]time.Time, 0, b.N+1) // of the packet with that number
	var mu sync.Mutex
	var took []time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := uint64(1000)
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				return
			}
			var m received
			_ = json.Unmarshal(text, &m)
			_ = conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"ack","seq":%d}`, m.Seq))
			var st models.Stats
			if m.Type != typeStats || json.Unmarshal(m.Data, &st) != nil {
				continue
			}
			now := time.Now()
			mu.Lock()
			for ; seen < st.Packets; seen++ {
				took = append(took, now.Sub(born[seen-1000]))
			}
			all := len(took) == cap(born)-1
			mu.Unlock()
			if all {
				return
			}
		}
	}()
	time.Sleep(400 * time.Millisecond) // past the greeting
	for range b.N {
		mu.Lock()
		born = append(born, time.Now())
		mu.Unlock()
		live.count(1)
		s.Changed()
		time.Sleep(every)
	}
	<-done
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(0, "ns/op")
}
