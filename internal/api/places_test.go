package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
)

const readSecret = "only-for-reading-42"

// startTLS runs a server with both tokens and TLS, and logs into the buffer.
func startTLS(t *testing.T, log io.Writer) *fixture {
	t.Helper()
	f := start(t, func(o *Options) {
		o.Token, o.ReadToken, o.TLS = secret, readSecret, TLS{SelfSigned: true, Dir: t.TempDir()}
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own certificate
	f.http.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
	return f
}

func (f *fixture) dialTLS(t *testing.T, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), "wss://"+f.Addrs()[1].String()+"/ws", &websocket.DialOptions{HTTPClient: f.http, HTTPHeader: header})
	if err == nil {
		conn.SetReadLimit(1 << 20)
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, resp, err
}

// TestWhoShowsNothingTakesNoPlace: sockets that open /ws and say nothing, more than there are places, and such that do not even
// ask, leave a client with the token alone, and so does whoever connects again and again.
func TestWhoShowsNothingTakesNoPlace(t *testing.T) {
	var log lockedBuffer
	f := startTLS(t, &log)
	for range 2 * defaultClients {
		if _, _, err := f.dialTLS(t, nil); err != nil { //nolint:bodyclose // the library closes it
			t.Fatal(err)
		}
	}
	for range 2 * strangersOfOne {
		conn, err := net.Dial("tcp", f.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	for i := range 20 {
		conn, _, err := f.dialTLS(t, http.Header{"Authorization": {"Bearer " + secret}}) //nolint:bodyclose // the library closes it
		if err != nil {
			t.Fatalf("client %d with the token: %v", i, err)
		}
		(&peer{t: t, conn: conn}).greet()
		late, _, err := f.dialTLS(t, nil) //nolint:bodyclose // the library closes it
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{t: t, conn: late}
		p.say(`{"type":"hello","token":%q}`, secret)
		p.until(typeSnapshot)
	}
	if n := f.hub.count.Load(); n != 40 {
		t.Errorf("%d clients have a place, want the 40 with the token", n)
	}
	if n := strings.Count(log.String(), "requests refused"); n > 2 {
		t.Errorf("%d lines are logged:\n%s", n, log.String())
	}
	if n := testutil.ToFloat64(f.places.gauge.WithLabelValues("stranger")); n > strangersOfOne {
		t.Errorf("%v strangers", n)
	}
}

func TestConnectionsAreCounted(t *testing.T) {
	f := start(t, nil)
	guests := func(want float64) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); testutil.ToFloat64(f.places.gauge.WithLabelValues("guest")) != want; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatalf("%v guests, want %v", testutil.ToFloat64(f.places.gauge.WithLabelValues("guest")), want)
			}
		}
	}
	p := dial(t, f.wsURL(), nil)
	p.greet()
	guests(1)
	f.get(t, "/api/v1/health")
	guests(2)
	_ = p.conn.CloseNow()
	guests(1)
	f.http.CloseIdleConnections()
	guests(0)
	if n := len(f.places.of); n != 0 {
		t.Errorf("%d addresses are remembered", n)
	}
}

// TestTheAddressWithTheMostGivesWay: one machine does not take the places of the others.
func TestTheAddressWithTheMostGivesWay(t *testing.T) {
	refused := map[string]int{}
	p := newPlaces(func(whence string) { refused[whence]++ })
	conn := func(address string) net.Conn {
		mine, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		return addressed{mine, address}
	}
	one := p.seat(conn("192.0.2.1:1"))
	for range 3 * maxStrangers {
		p.seat(conn("198.51.100.7:1"))
		p.seat(conn("203.0.113.9:1"))
	}
	if one.gone || p.strangers > maxStrangers || refused["192.0.2.1"] != 0 || p.of[one.from].strangers.Len() != 1 {
		t.Errorf("gone %v, %d strangers, %v", one.gone, p.strangers, refused)
	}
	for i := range guestsOfOne + 1 {
		if ok := p.welcome(p.seat(conn("192.0.2.9:1"))); ok != (i < guestsOfOne) {
			t.Errorf("guest %d: %v", i, ok)
		}
	}
	for a, b := range map[string]string{
		"[::1]:1": "127.0.0.7:2", "[2001:db8::1]:1": "[2001:db8::ffff:1]:2", "[::ffff:192.0.2.1]:1": "192.0.2.1:2",
	} {
		if sourceOf(a) != sourceOf(b) {
			t.Errorf("%s and %s are %v and %v", a, b, sourceOf(a), sourceOf(b))
		}
	}
}

type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	tcp, _ := net.ResolveTCPAddr("tcp", a.from)
	return tcp
}

func TestWrongTokensAreLimited(t *testing.T) {
	var log lockedBuffer
	f := startTLS(t, &log)
	right := []string{"Authorization", "Bearer " + secret}
	if a := f.get(t, "/api/v1/health", right...); a.status != 200 {
		t.Fatal(a.status)
	}
	fresh := func() *fixture { // with a connection that has shown nothing
		g := *f
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own certificate
		g.http = &http.Client{Transport: transport}
		t.Cleanup(transport.CloseIdleConnections)
		return &g
	}
	statuses := map[int]int{}
	for i := range 100 {
		a := fresh().get(t, "/api/v1/health", "Authorization", fmt.Sprintf("Bearer wrong-token-%d", i))
		statuses[a.status]++
		if a.status == 429 && (a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "too_many_wrong_tokens")) {
			t.Fatalf("%v %s", a.header, a.body)
		}
	}
	if statuses[401] < wrongTokens || statuses[401] > wrongTokens+5 || statuses[401]+statuses[429] != 100 {
		t.Errorf("%v", statuses)
	}
	if a := fresh().get(t, "/api/v1/health", right...); a.status != 429 {
		t.Errorf("the right token, tried among wrong ones: %d; an answer would tell it from them", a.status)
	}
	a := f.get(t, "/api/v1/health", right...) // on the connection that has shown it
	if a.status != 200 || strings.Contains(a.body, "wrong_tokens") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for range manyWrongTokens {
		f.refusals.add(string(codeWrongToken), "192.0.2.1", nil)
	}
	if a := f.get(t, "/api/v1/health", right...); !strings.Contains(a.body, `"wrong_tokens"`) || !strings.Contains(a.body, "192.0.2.1") {
		t.Errorf("health does not tell: %s", a.body)
	}
	body := f.get(t, "/metrics", right...).body
	if !strings.Contains(body, `netlyra_api_refused_requests_total{reason="wrong_token"} `) || !strings.Contains(body, `{reason="too_many_wrong_tokens"} `) {
		t.Error("no metric")
	}
	if n := strings.Count(log.String(), "requests refused"); n > 2 {
		t.Errorf("%d lines are logged", n)
	}
}

// TestRefusalsAreLoggedOnceAMinute with a count that leaves none out.
func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		r := newRefusals(slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.run(ctx) }()
		for range 1000 {
			r.add("busy", "192.0.2.1", nil)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "\n"); n != 3 || !strings.Contains(log.String(), "count=1 ") {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
		told := 0
		for line := range strings.Lines(log.String()) {
			var n int
			_, after, _ := strings.Cut(line, "count=")
			if _, err := fmt.Sscan(after, &n); err != nil {
				t.Error(err)
			}
			told += n
		}
		if told != 1000 {
			t.Errorf("%d of 1000 are told", told)
		}
	})
}

func TestTheReadTokenReads(t *testing.T) {
	f := startTLS(t, io.Discard)
	read := []string{"Authorization", "bearer " + readSecret, "Content-Type", "application/json"}
	for _, path := range []string{"/api/v1/health", "/api/v1/alerts", "/api/v1/exceptions", "/metrics"} {
		if a := f.get(t, path, read...); a.status != 200 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	session := f.do(t, "POST", "/api/v1/session", `{"token":"`+readSecret+`"}`, "Content-Type", "application/json")
	cookie, _, _ := strings.Cut(session.header.Get("Set-Cookie"), ";")
	for _, who := range [][]string{read, {"Cookie", cookie, "Content-Type", "application/json"}} {
		for _, r := range [][3]string{
			{"POST", "/api/v1/exceptions", `{"port":22,"reason":"r"}`},
			{"PATCH", "/api/v1/alerts/0000000000000001", `{"triage":"hidden"}`},
			{"DELETE", "/api/v1/exceptions/e0", ""},
		} {
			if a := f.do(t, r[0], r[1], r[2], who...); a.status != 403 || !strings.Contains(a.body, "not_permitted") {
				t.Errorf("%v: %d %s", r, a.status, a.body)
			}
		}
	}
	conn, _, err := f.dialTLS(t, http.Header{"Authorization": {"Bearer " + readSecret}}) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	(&peer{t: t, conn: conn}).greet()
	if a := f.do(t, "PATCH", "/api/v1/alerts/0000000000000001", `{"triage":"hidden"}`, "Authorization", "BEARER "+secret, "Content-Type", "application/json"); a.status != 200 {
		t.Errorf("the full token: %d %s", a.status, a.body)
	}
	if by := f.store.by; by.Who != "token" || by.Whence != "127.0.0.1" {
		t.Errorf("decided by %+v", by)
	}
}

func TestTokensThatCanBeGuessedAreRefused(t *testing.T) {
	for token, ok := range map[string]bool{
		secret: true, readSecret: true, "0123456789abcdef": true,
		"aaaaaaaaaaaaaaaa": false, "abababababababababab": false, "short-1234": false, "correct horse battery": false, "correct-horse-\x00battery": false,
	} {
		if err := CheckToken(token); (err == nil) != ok {
			t.Errorf("%q: %v", token, err)
		}
	}
}

// asUser connects a socket that belongs to another user, as one of its programs would.
func asUser(t *testing.T, uid int, address string) net.Conn {
	t.Helper()
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		_ = unix.Setfsuid(uid)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			fd = -1
		}
		made <- fd
	}()
	fd := <-made
	if fd < 0 {
		t.Fatal("no socket")
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		t.Fatal(err)
	}
	file := osFile(fd)
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestOnLoopbackDecisionsComeFromWhoMay asks over sockets of root and of another user: the kernel tells them apart.
func TestOnLoopbackDecisionsComeFromWhoMay(t *testing.T) {
	if unix.Getuid() != 0 {
		missing(t, "only root can make sockets of other users: run the tests as root")
	}
	const nobody, someone = 65534, 65533
	var log lockedBuffer
	f := start(t, func(o *Options) {
		o.Deciders = []int{0, someone}
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	ask := func(uid int, method, path, body string) answer {
		t.Helper()
		conn := asUser(t, uid, f.Addrs()[0].String())
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
		defer transport.CloseIdleConnections()
		g := *f
		g.http = &http.Client{Transport: transport}
		return g.do(t, method, path, body, "Content-Type", "application/json")
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/v1/exceptions", `{"category":"port_scan","reason":"r"}`},
		{"PATCH", "/api/v1/exceptions/e0", `{"reason":"q"}`},
		{"PATCH", "/api/v1/alerts/0000000000000001", `{"triage":"hidden"}`},
		{"DELETE", "/api/v1/exceptions/e0", ""},
	} {
		a := ask(nobody, c.method, c.path, c.body)
		if a.status != 403 || !strings.Contains(a.body, `"not_permitted"`) || !strings.Contains(a.body, "65534") || !strings.Contains(a.body, "--token-file") {
			t.Errorf("nobody, %s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	if len(f.store.made) != 0 {
		t.Fatalf("nobody has made %+v", f.store.made)
	}
	if a := ask(nobody, "GET", "/api/v1/alerts", ""); a.status != 200 {
		t.Errorf("nobody may read: %d", a.status)
	}
	if a := ask(nobody, "POST", "/api/v1/exceptions/preview", `{"port":22}`); a.status != 200 {
		t.Errorf("a preview decides nothing: %d", a.status)
	}
	for uid, who := range map[int]string{0: "root", someone: "uid 65533"} {
		if a := ask(uid, "POST", "/api/v1/exceptions", fmt.Sprintf(`{"port":%d,"reason":"r"}`, 22+uid%2)); a.status != 201 {
			t.Errorf("%s: %d %s", who, a.status, a.body)
		}
		if by := f.store.by; by.Who != who || by.Whence != "127.0.0.1" {
			t.Errorf("%s: decided by %+v", who, by)
		}
		if !strings.Contains(log.String(), "msg=decision who="+strings.ReplaceAll(fmt.Sprintf("%q", who), `"root"`, "root")+" whence=127.0.0.1 action=exception_added") {
			t.Errorf("the log does not tell of %s:\n%s", who, log.String())
		}
	}
}

// TestASocketThatWasClosedBelongsToNobody: the kernel then says 0, as for root.
func TestASocketThatWasClosedBelongsToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	table := openSockets()
	defer func() { _ = table.close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	ends := func() (int, error) {
		return table.owner(server.RemoteAddr().(*net.TCPAddr).AddrPort(), server.LocalAddr().(*net.TCPAddr).AddrPort()) //nolint:errcheck // they are TCP
	}
	if uid, err := ends(); err != nil || uid != unix.Getuid() {
		t.Errorf("while it is open: %d, %v", uid, err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if uid, err := ends(); err == nil {
		t.Errorf("closed, it belongs to %d", uid)
	}
}

func TestAClientThatSendsTooMuchIsClosed(t *testing.T) {
	f := start(t, nil)
	p := dial(t, f.wsURL(), nil)
	p.say(`{"type":"sub","topics":[]}`)
	sent := 0
	for ; sent < 100_000; sent++ {
		if p.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ack","seq":1}`)) != nil {
			break
		}
	}
	bye, err := p.toTheEnd()
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(bye.Reason, "too many messages") {
		t.Errorf("after %d: %+v, %v", sent, bye, err)
	}
	for end := time.Now().Add(20 * time.Second); testutil.ToFloat64(f.metrics.closed.WithLabelValues("flood")) != 1; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it was not counted as one that sends too much")
		}
	}
}

func osFile(fd int) *os.File { return os.NewFile(uintptr(fd), "socket") }
