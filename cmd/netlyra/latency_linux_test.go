package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// What a fleet takes, and how long: ./task bench:fleet. These are measurements (docs/scale.md), and gate nothing but that everything arrives.
var measuring = flag.Bool("measure", false, "measure, through a real broker, what a fleet takes and how long")

func measured(t *testing.T) {
	t.Helper()
	if !*measuring {
		t.Skip("takes minutes: ./task bench:fleet")
	}
}

const (
	sendingEnd, watchedEnd = "send0", "watch0"
	measuredSensor         = "edge"
)

// fleet is a namespace with a broker, a console and a client of its WebSocket. Who uses it is on a thread of that namespace.
type fleet struct {
	t       *testing.T
	ns      *nettest.Namespace
	broker  *kafkatest.Broker
	sender  *nettest.Sender
	console *process
	page    *arrivals
}

// arrivals are what a client of a WebSocket has read, and when.
type arrivals struct {
	mu          sync.Mutex
	counted     uint64                   // packets in the last `stats`
	onStats     func(n uint64)           // called where counted has risen
	alerts      map[string]time.Time     // first revisions, by kind and source
	firsts      map[string]*models.Alert // the same
	connections map[uint16]time.Time     // by the initiator's port
}

// inFleet runs f in a namespace with a fleet.
func inFleet(t *testing.T, f func(*fleet)) {
	t.Helper()
	netlyraBinary(t)
	ns := nettest.New(t)
	ns.Veth(sendingEnd, watchedEnd)
	ns.Do(func() {
		l := &fleet{t: t, ns: ns, broker: kafkatest.Start(t), sender: ns.NewSender(sendingEnd)} // the broker ends with this thread
		l.console = startCommand(t, ns, []string{
			"serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", filepath.Join(t.TempDir(), "console.db"), "--console", "c",
			"--topic-partitions", "1", "--brokers", l.broker.Addr,
		})
		l.page = watch(l.console)
		f(l)
		var health struct {
			Reasons []struct{ Code, Message string }
		}
		l.console.get("api/v1/health", &health)
		for _, r := range health.Reasons { // which may be why something took long
			t.Logf("%s: %s", r.Code, r.Message)
		}
	})
}

// watch connects as a page does, and acknowledges like one.
func watch(p *process) *arrivals {
	p.t.Helper()
	c, response, err := websocket.Dial(p.t.Context(), strings.Replace(p.page, "http", "ws", 1)+"ws", &websocket.DialOptions{HTTPClient: p.client()})
	if err != nil {
		p.t.Fatalf("WebSocket: %v\n%s", err, p.said())
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	c.SetReadLimit(4 << 20)
	if err := c.Write(p.t.Context(), websocket.MessageText, []byte(`{"type":"hello","rate":60}`)); err != nil {
		p.t.Fatal(err)
	}
	a := &arrivals{alerts: map[string]time.Time{}, firsts: map[string]*models.Alert{}, connections: map[uint16]time.Time{}}
	go a.read(p.t.Context(), c)
	p.t.Cleanup(func() { _ = c.CloseNow() })
	return a
}

func (a *arrivals) read(ctx context.Context, c *websocket.Conn) {
	for {
		_, text, err := c.Read(ctx)
		now := time.Now()
		if err != nil {
			return // the test is over
		}
		var m struct {
			Type string
			Seq  uint64
			Data json.RawMessage
		}
		if json.Unmarshal(text, &m) != nil {
			return
		}
		a.note(m.Type, m.Data, now)
		if m.Type != "hello" && m.Type != "alert" {
			_ = c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"ack","seq":%d}`, m.Seq))
		}
	}
}

func (a *arrivals) note(kind string, data json.RawMessage, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch kind {
	case "alert":
		var alert models.Alert
		if json.Unmarshal(data, &alert) != nil {
			return
		}
		key := string(alert.Category) + " " + alert.SrcIP
		if _, known := a.alerts[key]; !known {
			a.alerts[key], a.firsts[key] = now, &alert
		}
	case "stats":
		var s struct{ Packets uint64 }
		if json.Unmarshal(data, &s) == nil && s.Packets > a.counted {
			a.counted = s.Packets
			if a.onStats != nil {
				a.onStats(s.Packets)
			}
		}
	case "connection":
		var columns struct {
			Ports []uint16 `json:"src_port"`
		}
		if json.Unmarshal(data, &columns) != nil {
			return
		}
		for _, port := range columns.Ports {
			if _, known := a.connections[port]; !known {
				a.connections[port] = now
			}
		}
	}
}

// told gives when the first alert of a scan by a source came.
func (a *arrivals) told(source netip.Addr) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.alerts[string(models.CategoryPortScan)+" "+source.String()]
	return at, ok
}

// report says how long things took.
func report(t *testing.T, what string, took []time.Duration) {
	t.Helper()
	if len(took) == 0 {
		t.Errorf("%s: nothing arrived", what)
		return
	}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(100 * time.Microsecond) }
	t.Logf("%s: %d, p50 %v, p99 %v, most %v", what, len(took), at(0.5), at(0.99), at(1))
}

// sensor starts a sensor of the fleet's interface.
func (l *fleet) sensor(args ...string) *process {
	l.t.Helper()
	return startRun(l.t, l.ns, filepath.Join(l.t.TempDir(), "edge.db"), append([]string{
		"--interface", watchedEnd, "--sensor", measuredSensor, "--topic-partitions", "1", "--brokers", l.broker.Addr,
	}, args...)...)
}

// known waits until the console has the sensor, and someone judges what it sees.
func (l *fleet) known() {
	l.t.Helper()
	until(l.t, "sensor with a detector", func() bool { return l.console.fleetSensors()[measuredSensor].Detector != "" })
}

// frame is a frame of 60 bytes from one address to another: TCP (RFC 9293) or a datagram (RFC 768).
func frame(proto byte) []byte {
	f := make([]byte, 60)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, proto})
	if proto == unix.IPPROTO_UDP {
		f[39] = 20
	}
	return f
}

func address(f []byte, src, dst netip.Addr, sport, dport uint16) {
	copy(f[26:], src.AsSlice())
	copy(f[30:], dst.AsSlice())
	binary.BigEndian.PutUint16(f[34:], sport)
	binary.BigEndian.PutUint16(f[36:], dport)
}

// Packets are counted, and new connections shown, on the page of the sensor and on that of the console.
func TestLatencyOfCounters(t *testing.T) {
	measured(t)
	inFleet(t, func(l *fleet) {
		sensor := l.sensor()
		l.known()
		pages := []struct {
			name string
			*arrivals
			took []time.Duration
		}{{name: "sensor", arrivals: watch(sensor)}, {name: "console", arrivals: l.page}}
		const rate, seconds, newEvery = 1000, 20, 10
		at := make([]time.Time, 0, rate*seconds)
		var sending sync.Mutex // at
		for i := range pages {
			p := &pages[i]
			p.mu.Lock()
			p.onStats = func(n uint64) {
				now := time.Now()
				sending.Lock()
				defer sending.Unlock()
				for k := len(p.took); k < min(int(n), len(at)); k++ {
					p.took = append(p.took, now.Sub(at[k]))
				}
			}
			p.mu.Unlock()
		}
		f := frame(unix.IPPROTO_UDP)
		opened := map[uint16]time.Time{}
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		for i := range rate * seconds {
			<-tick.C
			port := uint16(10_000 + i/newEvery)
			address(f, netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.8.0.1"), port, 5000)
			now := time.Now()
			sending.Lock()
			at = append(at, now)
			sending.Unlock()
			if i%newEvery == 0 {
				opened[port] = now
			}
			if err := l.sender.Send(f); err != nil {
				t.Fatal(err)
			}
		}
		for i := range pages {
			p := &pages[i]
			until(t, "count of every packet on the page of the "+p.name, func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.counted >= uint64(len(at))
			})
			p.mu.Lock()
			report(t, "packet to counters on the page of the "+p.name, p.took)
			var took []time.Duration
			for port, sent := range opened {
				if shown, ok := p.connections[port]; ok {
					took = append(took, shown.Sub(sent))
				}
			}
			report(t, fmt.Sprintf("packet to its new connection on the page of the %s, of %d", p.name, len(opened)), took)
			p.mu.Unlock()
		}
	})
}

// scan is a scan of ports that crosses a limit within a millisecond.
type scan struct {
	source netip.Addr
	sent   time.Time // before its first packet
}

// scanAs tries forty ports, each of which is refused.
func (l *fleet) scanAs(i int) scan {
	l.t.Helper()
	s := scan{source: netip.AddrFrom4([4]byte{203, 0, byte(113 + i/250), byte(1 + i%250)}), sent: time.Now()}
	target := netip.AddrFrom4([4]byte{10, 8, byte(i / 250), byte(1 + i%250)})
	f := frame(unix.IPPROTO_TCP)
	f[46] = 5 << 4
	for port := range uint16(40) {
		for _, answer := range []bool{false, true} {
			if address(f, s.source, target, 40_000+port, 1+port); answer {
				address(f, target, s.source, 1+port, 40_000+port)
			}
			if f[47] = 0x02; answer { // SYN; RST, ACK
				f[47] = 0x14
			}
			if err := l.sender.Send(f); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return s
}

// scans makes n scans, one every 150 to 190 ms, so that they begin anywhere in a slot. during is called before each.
func (l *fleet) scans(first, n int, during func(i int)) (all []scan) {
	l.t.Helper()
	for i := range n {
		during(i)
		all = append(all, l.scanAs(first+i))
		time.Sleep(150*time.Millisecond + time.Duration(i%37)*1100*time.Microsecond)
	}
	return all
}

// await waits for the alert of each scan on a page and says how long each took.
func (l *fleet) await(all []scan, page *arrivals) (took []time.Duration) {
	l.t.Helper()
	for _, s := range all {
		var at time.Time
		until(l.t, "alert of "+s.source.String(), func() (ok bool) { at, ok = page.told(s.source); return ok })
		took = append(took, at.Sub(s.sent))
	}
	return took
}

// A scan crosses a limit: judged in the sensor, and by netlyra detect.
func TestLatencyOfLimits(t *testing.T) {
	measured(t)
	const scans = 200
	for _, tc := range []struct {
		name  string
		flags []string
	}{{"the sensor", nil}, {"netlyra detect", []string{"--publish", "slots", "--detector", "external"}}} {
		inFleet(t, func(l *fleet) {
			sensor := l.sensor(tc.flags...)
			if tc.flags != nil {
				startDetect(t, "--brokers", l.broker.Addr, "--topic-partitions", "1")
			}
			l.known()
			own := watch(sensor)
			all := l.scans(0, scans, func(int) {})
			report(t, "first packet of a scan to its alert by "+tc.name+" on the page of the console", l.await(all, l.page))
			report(t, "first packet of a scan to its alert by "+tc.name+" on the page of the sensor", l.await(all, own))
		})
	}
}

// A detector is killed while scans go on; another one waits.
func TestLatencyOfATakeover(t *testing.T) {
	measured(t)
	var outages []time.Duration
	for range 3 {
		inFleet(t, func(l *fleet) {
			l.sensor("--publish", "slots", "--detector", "external")
			args := []string{"--brokers", l.broker.Addr, "--topic-partitions", "1"}
			owner := startDetect(t, args...)
			l.known()
			startDetect(t, args...)
			var killed time.Time
			all := l.scans(0, 120, func(i int) {
				if i == 30 {
					killed = time.Now()
					owner.kill()
				}
			})
			l.await(all, l.page) // none is lost
			first := time.Duration(1 << 62)
			for _, s := range all {
				if at, _ := l.page.told(s.source); s.sent.After(killed) {
					first = min(first, at.Sub(killed))
				}
			}
			outages = append(outages, first)
		})
	}
	report(t, "SIGKILL of a detector to the first alert of what came after it", outages)
}

// The Python engine judges at the end of each second: how long it takes from there. An office is played, and what is rare in it is reported.
func TestLatencyOfTheEngine(t *testing.T) {
	measured(t)
	engine := "../../engine/.venv/bin/netlyra-engine"
	if _, err := os.Stat(engine); err != nil {
		nettest.Unavailable(t, "no engine/.venv: ./task engine:setup makes it")
	}
	office := filepath.Join(t.TempDir(), "office.pcap")
	if _, stderr, status := netlyra(t, "bench", "office", "--office-hosts", "120", "--hours", "0.1", "--learn", "3m", "--seed", "11", "--families", "attacks", "--output", office); status != exitOK {
		t.Fatal(stderr)
	}
	for _, form := range []string{"packets", "slots"} {
		inFleet(t, func(l *fleet) {
			e := l.ns.Command(engine, "--brokers", l.broker.Addr, "--input", form, "--alert-budget", "10000")
			e.Stderr = os.Stderr
			if err := e.Start(); err != nil {
				t.Fatal(err)
			}
			defer func(e *exec.Cmd) {
				_ = e.Process.Signal(syscall.SIGTERM)
				_ = e.Wait() // what it says is not measured
			}(e)
			startRun(t, l.ns, filepath.Join(t.TempDir(), "edge.db"), "--read", office, "--sensor", measuredSensor, "--topic-partitions", "1", "--brokers", l.broker.Addr, "--publish", form, "--detector", "external")
			l.known()
			time.Sleep(5 * time.Minute) // its first alerts come in the third
			var took []time.Duration
			l.page.mu.Lock()
			defer l.page.mu.Unlock()
			for key, alert := range l.page.firsts {
				took = append(took, l.page.alerts[key].Sub(time.UnixMicro(int64(alert.LastTS)))) // the address that stands for the peers may be new in a later revision
			}
			report(t, "end of a second to the alert of the Python engine on the page of the console, over "+form, took)
		})
	}
}
