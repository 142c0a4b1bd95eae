package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
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

	"netlyra/internal/models"
	"netlyra/internal/nettest"
	"netlyra/internal/store"
)

// patience is how long a test waits for what must come; it is no measure of speed.
const patience = 60 * time.Second

// built is the program, built once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	if database := os.Getenv(senderDatabase); database != "" {
		if err := sendAlerts(context.Background(), database, os.Getenv(senderBroker)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	status := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(status)
}

// netlyraBinary builds the real program where every user may execute it.
func netlyraBinary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "netlyra-test-"); built.err != nil { //nolint:usetesting // it outlives the first test that asks
			return
		}
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		c := exec.Command("go", "build", "-o", filepath.Join(built.dir, "netlyra"), ".")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "netlyra")
}

// process is a running `netlyra run`.
type process struct {
	t     *testing.T
	ns    *nettest.Namespace // nil: the tests' own
	cmd   *exec.Cmd
	page  string // its address, with a slash at the end
	mu    sync.Mutex
	log   strings.Builder
	ended chan struct{}
	err   error
}

// startRun starts `netlyra run` with args and a database, and waits until it watches. What it learns of an interface is kept beside the
// database.
func startRun(t *testing.T, ns *nettest.Namespace, database string, args ...string) *process {
	t.Helper()
	if !slices.Contains(args, "--read") {
		args = append([]string{"--state", memoryBeside(database)}, args...)
	}
	args = append([]string{
		"run", "--log-format", "json", "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", database,
	}, args...)
	return startCommand(t, ns, args)
}

// startCommand starts a command that serves, and waits until it does.
func startCommand(t *testing.T, ns *nettest.Namespace, args []string) *process {
	t.Helper()
	p := &process{t: t, ns: ns, ended: make(chan struct{})}
	if ns != nil {
		p.cmd = ns.Command(netlyraBinary(t), args...)
	} else {
		p.cmd = exec.CommandContext(t.Context(), netlyraBinary(t), args...)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watching := make(chan string, 1)
	go p.follow(stderr, watching)
	t.Cleanup(func() { p.kill() })
	select {
	case p.page = <-watching:
	case <-p.ended:
		t.Fatalf("%v ended: %v\n%s", args, p.err, p.said())
	case <-time.After(patience):
		t.Fatalf("%v does not watch\n%s", args, p.said())
	}
	return p
}

func memoryBeside(database string) string { return filepath.Join(filepath.Dir(database), "memory") }

// follow reads the log, and says the page's address when the program names it.
func (p *process) follow(stderr io.Reader, watching chan<- string) {
	defer close(p.ended)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		var line struct{ Msg, Page string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && (line.Msg == "watching" || line.Msg == "serving a fleet") {
			watching <- line.Page
		}
	}
	p.err = p.cmd.Wait()
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// terminate sends SIGTERM and returns how long the program took to end well.
func (p *process) terminate() time.Duration {
	p.t.Helper()
	started := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("still runs %v after SIGTERM\n%s", patience, p.said())
	}
	if p.err != nil {
		p.t.Errorf("after SIGTERM: %v\n%s", p.err, p.said())
	}
	return time.Since(started)
}

// client reaches the program's API, in its namespace.
func (p *process) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			dial := func() { c, err = (&net.Dialer{}).DialContext(ctx, network, address) }
			if p.ns != nil {
				p.ns.Do(dial)
			} else {
				dial()
			}
			return c, err
		},
	}}
}

// get reads JSON from the API.
func (p *process) get(path string, into any) {
	p.t.Helper()
	response, err := p.client().Get(p.page + path)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.said())
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %s, %v: %s", path, response.Status, err, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		p.t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

// listener is a WebSocket client that keeps the newest revision of every alert.
type listener struct {
	mu     sync.Mutex
	alerts map[string]models.Alert
	gone   chan struct{}
}

// listen connects, as a page does.
func (p *process) listen() *listener {
	p.t.Helper()
	c, response, err := websocket.Dial(p.t.Context(), strings.Replace(p.page, "http", "ws", 1)+"ws", &websocket.DialOptions{HTTPClient: p.client()})
	if err != nil {
		p.t.Fatalf("WebSocket: %v\n%s", err, p.said())
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	c.SetReadLimit(4 << 20)
	l := &listener{alerts: map[string]models.Alert{}, gone: make(chan struct{})}
	go l.read(p.t.Context(), c)
	p.t.Cleanup(func() { _ = c.CloseNow() })
	return l
}

func (l *listener) read(ctx context.Context, c *websocket.Conn) {
	defer close(l.gone)
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			return // the program has ended, or the test
		}
		var m struct {
			Type string
			Seq  uint64
			Data json.RawMessage
		}
		if json.Unmarshal(text, &m) != nil {
			return
		}
		switch m.Type {
		case "alert":
			var a models.Alert
			if json.Unmarshal(m.Data, &a) != nil {
				return
			}
			l.mu.Lock()
			if a.Rev > l.alerts[a.ID].Rev {
				l.alerts[a.ID] = a
			}
			l.mu.Unlock()
		case "stats", "connection", "snapshot":
			_ = c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"ack","seq":%d}`, m.Seq))
		}
	}
}

// seen is what has arrived.
func (l *listener) seen() map[string]models.Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.alerts)
}

// await waits until what has arrived satisfies ok.
func (l *listener) await(t *testing.T, what string, ok func(map[string]models.Alert) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		seen := l.seen()
		if ok(seen) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v; there are %d alerts: %v", what, patience, len(seen), summaries(seen))
		}
	}
}

func summaries(alerts map[string]models.Alert) (all []string) {
	for _, a := range alerts {
		all = append(all, a.Summary)
	}
	return all
}

// holds checks that a database has every alert that was seen, at least as new.
func holds(t *testing.T, database string, seen map[string]models.Alert) {
	t.Helper()
	s, err := store.New(context.Background(), store.Options{Path: database})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for id, want := range seen {
		got, err := s.Alert(t.Context(), id)
		if err != nil {
			t.Errorf("alert %s, rev %d, was shown and is not stored: %v", id, want.Rev, err)
		} else if got.Rev < want.Rev {
			t.Errorf("alert %s was shown with rev %d and is stored with rev %d", id, want.Rev, got.Rev)
		}
	}
}

// fails runs the program, which is to end by itself, and returns its exit status and what it said.
func fails(t *testing.T, credential *syscall.Credential, args ...string) (status int, stderr string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	c := exec.CommandContext(ctx, netlyraBinary(t), args...)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Exited() {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return exit.ExitCode(), string(out)
}
