package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"netlyra/internal/models"
)

const (
	latencyAddress = "127.0.0.1:8090" // in the namespace nobody else has it
	startPatience  = 20 * time.Second
	latePatience   = 3 * time.Second // for packets to be counted after the last one was sent
	maxMessage     = 4 << 20
)

// Latency runs the real program on one end of a pair of interfaces, sends packets into the other, and reads the program's WebSocket as a
// page does, with an acknowledgement for every message. `stats` that count n packets end the journey of all packets up to
// the n-th that have not arrived before.
func Latency(ctx context.Context, o LatencyOptions) (r LatencyResult, err error) {
	l, err := newLink(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	defer raiseSession()()
	if err := eachThread(func(tid int) error { goFirst(tid); return nil }); err != nil {
		return r, err
	}
	args := append(o.Program[1:len(o.Program):len(o.Program)],
		"--interface", watchingEnd, "--listen", latencyAddress, "--ws-listen", "off", "--database", filepath.Join(o.Dir, "netlyra.db"))
	program := l.command(ctx, o.Program[0], args...)
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGTERM) }
	program.WaitDelay = startPatience
	var stderr bytes.Buffer
	program.Stderr = &stderr
	if err := program.Start(); err != nil {
		return r, fmt.Errorf("bench: %w", err)
	}
	defer func() {
		_ = program.Process.Signal(syscall.SIGTERM) // it may have ended
		werr := program.Wait()
		r.CPUSeconds = (program.ProcessState.UserTime() + program.ProcessState.SystemTime()).Seconds()
		if werr != nil || err != nil {
			err = errors.Join(err, werr, fmt.Errorf("bench: the program said: %s", bytes.TrimSpace(stderr.Bytes())))
		}
	}()
	c, err := l.connect(ctx)
	if err != nil {
		return r, err
	}
	defer func() { _ = c.CloseNow() }()
	return l.measure(ctx, c, o)
}

// connect waits until the program answers.
func (l *link) connect(ctx context.Context) (*websocket.Conn, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = l.do(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}}}
	for deadline := time.Now().Add(startPatience); ; time.Sleep(50 * time.Millisecond) {
		c, response, err := websocket.Dial(ctx, "ws://"+latencyAddress+"/ws", &websocket.DialOptions{HTTPClient: client})
		if response != nil && response.Body != nil {
			_ = response.Body.Close()
		}
		if err == nil {
			c.SetReadLimit(maxMessage)
			return c, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, fmt.Errorf("bench: the program does not answer on %s: %w", latencyAddress, err)
		}
	}
}

// journal says when each packet was sent: the sender writes an entry and then raises sent, the reader looks only below sent.
type journal struct {
	started time.Time
	at      []time.Duration // since started
	sent    atomic.Int64
}

// measure sends and reads.
func (l *link) measure(ctx context.Context, c *websocket.Conn, o LatencyOptions) (r LatencyResult, err error) {
	j := &journal{started: time.Now(), at: make([]time.Duration, int64(o.Rate)*int64(o.Duration)/int64(time.Second))}
	r.Rate = o.Rate
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reader := &statsReader{conn: c, journal: j}
	if err := reader.greet(ctx); err != nil {
		return r, err
	}
	sending := make(chan error, 1)
	go func() {
		err := l.do(func() error { return j.send(ctx, o) })
		sending <- err
		if err != nil {
			stop()
			return
		}
		time.AfterFunc(latePatience, stop)
	}()
	err = reader.run(ctx)
	if serr := <-sending; serr != nil {
		return r, serr
	}
	if err != nil {
		return r, err
	}
	r.Packets, r.Lost = uint64(len(reader.took)), uint64(len(j.at)-len(reader.took))
	r.Offered = float64(len(j.at)-1) / (j.at[len(j.at)-1] - j.at[0]).Seconds()
	r.Updates, r.Analysed = reader.updates, reader.analysed
	if slices.Sort(reader.took); len(reader.took) > 0 {
		at := func(q float64) float64 {
			return float64(reader.took[int(q*float64(len(reader.took)-1))].Microseconds()) / 1000
		}
		r.P50, r.P99, r.Max = at(0.5), at(0.99), at(1)
	}
	return r, nil
}

// send sends every packet of the journal, each in a call of its own and with its own time.
func (j *journal) send(ctx context.Context, o LatencyOptions) error {
	runtime.LockOSThread()
	s, err := newPacketSender(sendingEnd)
	if err != nil {
		return err
	}
	n := 0
	err = pace(ctx, SendOptions{Rate: o.Rate, Duration: o.Duration}, func(burst int) error {
		for range burst {
			j.at[n] = time.Since(j.started)
			if _, err := s.send(1); err != nil {
				return err
			}
			n++
			j.sent.Store(int64(n))
		}
		return nil
	})
	return errors.Join(err, s.close())
}

// statsReader is a client of the WebSocket.
type statsReader struct {
	conn     *websocket.Conn
	journal  *journal
	took     []time.Duration
	updates  int
	analysed [2]float64
}

type envelope struct {
	Type string `json:"type"`
	Seq  uint64 `json:"seq"`
	Data struct {
		Packets   int64                 `json:"packets"`
		LatencyMS []models.StageLatency `json:"latency_ms"`
	} `json:"data"`
}

// greet asks for everything, as often as there is news.
func (r *statsReader) greet(ctx context.Context) error {
	return r.conn.Write(ctx, websocket.MessageText, []byte(`{"type":"hello","rate":60}`))
}

// run reads until every packet has been counted, or ctx ends.
func (r *statsReader) run(ctx context.Context) error {
	for {
		_, text, err := r.conn.Read(ctx)
		now := time.Since(r.journal.started)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil //nolint:nilerr // the end that was asked for
		case err != nil:
			return fmt.Errorf("bench: the program's WebSocket: %w", err)
		}
		var m envelope
		if err := json.Unmarshal(text, &m); err != nil {
			return fmt.Errorf("bench: the program's WebSocket says %q: %w", text, err)
		}
		if m.Type == "stats" {
			r.note(&m, now)
		}
		if m.Type != "hello" && m.Type != "alert" {
			if err := r.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"ack","seq":%d}`, m.Seq)); err != nil && ctx.Err() == nil {
				return fmt.Errorf("bench: acknowledge: %w", err)
			}
		}
		if len(r.took) == len(r.journal.at) {
			return nil
		}
	}
}

// note ends the journey of the packets that are counted for the first time.
func (r *statsReader) note(m *envelope, now time.Duration) {
	counted := min(m.Data.Packets, r.journal.sent.Load())
	if counted > int64(len(r.took)) {
		r.updates++
	}
	for i := int64(len(r.took)); i < counted; i++ {
		r.took = append(r.took, now-r.journal.at[i])
	}
	for _, s := range m.Data.LatencyMS {
		if s.Stage == "analysed" {
			r.analysed = [2]float64{s.P50, s.P99}
		}
	}
}
