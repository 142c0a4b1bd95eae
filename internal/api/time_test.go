package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"netlyra/internal/models"
)

// pipes is a listener whose connections are pipes within the process, which a test's own clock can wait for.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.closed); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8090} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	mine, theirs := net.Pipe()
	p.conns <- theirs
	return mine, nil
}

// inTime runs a test against a server of pipes, in a bubble where time passes only while all wait.
func inTime(t *testing.T, change func(*Options), test func(t *testing.T, s *Server, live *memoryLive, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t)
		live := newLive()
		o.Live = live
		if change != nil {
			change(&o)
		}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil { // its listeners are not used
			t.Fatal(err)
		}
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 2)
		go func() { ended <- s.hub.run(ctx) }()
		go func() { ended <- s.main.server.Serve(p) }()
		test(t, s, live, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.main.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// dialPipe connects as a client that answers pings as long as it reads.
func dialPipe(t *testing.T, p *pipes) *peer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: p.dial}}
	conn, _, err := websocket.Dial(t.Context(), "ws://127.0.0.1/ws", &websocket.DialOptions{HTTPClient: client}) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	return &peer{t: t, conn: conn}
}

// dialRaw connects as a client that does nothing by itself.
func dialRaw(t *testing.T, p *pipes) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := p.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	return conn, r
}

func closedBecause(s *Server, why leaveReason) float64 {
	return testutil.ToFloat64(s.metrics.closed.WithLabelValues(why.label()))
}

func TestAClientThatSaysNothingIsGreetedAfterAQuarterOfASecond(t *testing.T) {
	inTime(t, nil, func(t *testing.T, _ *Server, _ *memoryLive, p *pipes) {
		start := time.Now()
		c := dialPipe(t, p)
		if m := c.next(); m.Type != typeHello || time.Since(start) != 0 {
			t.Errorf("%s after %v", m.Type, time.Since(start))
		}
		if m := c.next(); m.Type != typeSnapshot || time.Since(start) != greetingTime {
			t.Errorf("%s after %v", m.Type, time.Since(start))
		}
		_ = c.conn.CloseNow()
	})
}

// TestAClientThatNeverAcknowledgesGetsOneASecond for five minutes of a network that is never silent.
func TestAClientThatNeverAcknowledgesGetsOneASecond(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, live *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		stop := make(chan struct{})
		go busy(s, live, stop)
		defer close(stop)
		start, n := time.Now(), 0
		for time.Since(start) < 5*time.Minute {
			if c.next().Type == typeStats {
				n++
			}
		}
		if n < 290 || n > 302 {
			t.Errorf("%d stats in 5 minutes", n)
		}
		_ = c.conn.CloseNow()
	})
}

// busy changes the state every 4 ms, as a busy network does.
func busy(s *Server, live *memoryLive, stop chan struct{}) {
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			live.count(1)
			s.Changed()
		}
	}
}

func TestAClientThatAcknowledgesGetsSixtyASecond(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, live *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		c.greet()
		stop := make(chan struct{})
		go busy(s, live, stop)
		defer close(stop)
		start, n := time.Now(), 0
		var last time.Time
		for time.Since(start) < 10*time.Second {
			c.until(typeStats)
			if gap := time.Since(last); n > 0 && (gap < statsEvery || gap > 2*statsEvery) {
				t.Fatalf("%v between stats", gap)
			}
			last = time.Now()
			n++
		}
		if n < 480 || n > 630 {
			t.Errorf("%d stats in 10 s", n)
		}
		_ = c.conn.CloseNow()
	})
}

func TestNewsAfterSilenceComesAtOnce(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, live *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		c.greet()
		for i := range 20 {
			time.Sleep(statsEvery + time.Duration(i*7)*time.Millisecond)
			start := time.Now()
			live.count(1)
			s.Changed()
			for into[models.Stats](t, c.until(typeStats)).Packets != 1001+uint64(i) {
				continue
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("news %d came after %v", i, took)
			}
		}
		// Nobody says that there is news: it is seen at the next tick.
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		live.count(1)
		for into[models.Stats](t, c.until(typeStats)).Packets != 1021 {
			continue
		}
		if took := time.Since(start); took > statsEvery {
			t.Errorf("unannounced news came after %v", took)
		}
		_ = c.conn.CloseNow()
	})
}

func TestSilenceOfTheNetworkIsToldEverySecond(t *testing.T) {
	inTime(t, nil, func(t *testing.T, _ *Server, _ *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		c.greet()
		start := time.Now()
		for range 20 {
			c.until(typeStats)
		}
		if took := time.Since(start); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("20 stats came in %v", took)
		}
		_ = c.conn.CloseNow()
	})
}

func TestAClientThatStopsAcknowledgingIsSlowedDownAndClosed(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, live *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		c.greet()
		stop := make(chan struct{})
		go busy(s, live, stop)
		defer close(stop)
		start := time.Now()
		early, late := 0, 0
		for {
			m, err := c.read()
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
					t.Error(err)
				}
				break
			}
			switch since := time.Since(start); {
			case m.Type == typeBye:
				if bye := into[byeData](t, m); bye.Code != 1013 || since < abandonTime || since > abandonTime+2*time.Second {
					t.Errorf("%+v after %v", bye, since)
				}
			case m.Type == typeStats && since < stallTime:
				early++
			case m.Type == typeStats:
				late++
			}
		}
		if early != credit || late < 24 || late > 27 {
			t.Errorf("%d stats in the first 5 s, %d in the next 25", early, late)
		}
		synctest.Wait()
		if closedBecause(s, leaveAbandon) != 1 {
			t.Error("it was not counted as one that acknowledges nothing")
		}
	})
}

func TestAClientThatDoesNotReadIsCutOffAfterTwoSeconds(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, _ *memoryLive, p *pipes) {
		conn, _ := dialRaw(t, p)
		start := time.Now()
		for s.hub.count.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		for s.hub.count.Load() > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(start); took < writeTime || took > writeTime+100*time.Millisecond || closedBecause(s, leaveSlow) != 1 {
			t.Errorf("after %v, %v", took, closedBecause(s, leaveSlow))
		}
		_ = conn.Close()
	})
}

func TestAClientThatDoesNotAnswerPingsIsClosed(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, _ *memoryLive, p *pipes) {
		conn, r := dialRaw(t, p)
		start := time.Now()
		_, _ = io.Copy(io.Discard, r) // until the server closes
		if took := time.Since(start); took < 2*pingEvery || took > 2*pingEvery+2*time.Second {
			t.Errorf("after %v", took)
		}
		synctest.Wait()
		if closedBecause(s, leavePing) != 1 {
			t.Error("it was not counted as one that answers no ping")
		}
		_ = conn.Close()
	})
}

func TestAClientWithoutTokenHasFiveSeconds(t *testing.T) {
	inTime(t, func(o *Options) { o.Token = secret }, func(t *testing.T, s *Server, _ *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		a := exampleAlert("a", t0)
		s.PublishAlert(&a) // is not for it
		start := time.Now()
		m := c.next()
		if took := time.Since(start); m.Type != typeBye || took != loginTime {
			t.Errorf("%s after %v", m.Type, took)
		}
		if _, err := c.read(); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Error(err)
		}
		synctest.Wait()
		if closedBecause(s, leaveNoToken) != 1 {
			t.Error("it was not counted as one without token")
		}
	})
}

func TestWhatIsTooLongAgoIsNotResumed(t *testing.T) {
	inTime(t, nil, func(t *testing.T, s *Server, _ *memoryLive, p *pipes) {
		c := dialPipe(t, p)
		c.greet()
		epoch, seq := c.last.Epoch, c.last.Seq
		_ = c.conn.CloseNow()
		a := exampleAlert("a", t0)
		s.PublishAlert(&a)
		var got []string
		for range 2 {
			again := dialPipe(t, p)
			again.say(`{"type":"hello","since":{"epoch":%q,"seq":%d}}`, epoch, seq)
			again.next() // hello
			m := again.next()
			got = append(got, fmt.Sprintf("%s %s", m.Type, into[resyncData](t, m).Reason))
			_ = again.conn.CloseNow()
			time.Sleep(ringTime + time.Second)
		}
		if diff := cmp.Diff([]string{"alert ", "resync too_old"}, got); diff != "" {
			t.Error(diff)
		}
	})
}
