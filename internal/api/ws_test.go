package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

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
	if m.V != 1 || m.Epoch == "" || m.TS == 0 || m.Seq < p.last.Seq {
		p.t.Errorf("envelope %+v after seq %d", m, p.last.Seq)
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
