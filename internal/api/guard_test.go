package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
)

const secret = "correct-horse-battery"

func TestHostIsChecked(t *testing.T) {
	f := start(t, func(o *Options) { o.AllowedHosts = []string{"NetLyra.example", "proxy.example:443"} })
	addr := f.Addrs()[0].String()
	for host, want := range map[string]int{
		addr: 200, "localhost": 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "[::1]:8090": 200, "netlyra.example": 200,
		"netlyra.example:99": 200, "proxy.example": 200,
		"evil.example": 421, "localhost.evil.example": 421, "192.0.2.1": 421, "[2001:db8::1]": 421, "127.0.0.2": 421, "localhost.": 421,
	} {
		t.Run(host, func(t *testing.T) {
			if a := f.get(t, "/api/v1/health", "Host", host); a.status != want {
				t.Errorf("%d, want %d: %s", a.status, want, a.body)
			}
			if want == 421 {
				if _, resp, err := websocket.Dial(t.Context(), f.wsURL(), &websocket.DialOptions{Host: host}); err == nil || resp.StatusCode != 421 { //nolint:bodyclose // the library closes it
					t.Errorf("WebSocket: %v", err)
				}
			}
		})
	}
}

func TestAnAddressThatTheRequestArrivedAtIsAHost(t *testing.T) {
	g := newHostGuard(nil, nil)
	for host, want := range map[string]bool{"198.51.100.4:8090": true, "198.51.100.5": false, "[::ffff:198.51.100.4]": true, "x.example": false} {
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey,
			&net.TCPAddr{IP: net.ParseIP("198.51.100.4"), Port: 8090}), http.MethodGet, "/", nil)
		r.Host = host
		if got := g.allows(r); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestOriginOfAWebSocketIsChecked(t *testing.T) {
	f := start(t, nil)
	rest, ws := port(f.Addrs()[0]), port(f.Addrs()[1])
	for origin, want := range map[string]int{
		"": 101, "http://127.0.0.1:" + rest: 101, "http://127.0.0.1:" + ws: 101, "https://127.0.0.1:" + rest: 101,
		"http://localhost:" + rest: 403, "http://127.0.0.1": 403, "http://127.0.0.1:1": 403, "http://evil.example": 403, "null": 403,
		"http://evil.example:" + rest: 403, "file://": 403, "http://127.0.0.1:" + rest + "@evil.example": 403,
	} {
		t.Run(origin, func(t *testing.T) {
			header := http.Header{}
			if origin != "" {
				header.Set("Origin", origin)
			}
			conn, resp, err := websocket.Dial(t.Context(), f.wsURL(), &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // the library closes it
			if resp == nil || resp.StatusCode != want {
				t.Fatalf("%v, want %d: %v", resp, want, err)
			}
			if err == nil {
				_ = conn.CloseNow()
			}
		})
	}
}

// lockedBuffer is a log that is written from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startSecret runs a server with a token; its log is checked for it at the end.
func startSecret(t *testing.T) *fixture {
	t.Helper()
	var log lockedBuffer
	t.Cleanup(func() {
		if strings.Contains(log.String(), secret) || !strings.Contains(log.String(), "listening") {
			t.Errorf("the token is in the log, or there is none: %s", log.String())
		}
	})
	return start(t, func(o *Options) {
		o.Token = secret
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
}

func TestTokenIsDemanded(t *testing.T) {
	f := startSecret(t)
	cookie := func(end time.Time) string { return sessionCookie + "=" + f.auth.newSession(end, mayDecide) }
	hour := time.Now().Add(time.Hour)
	other := newAuthenticator("another-token-of-old", "")
	for _, c := range []struct {
		name   string
		header []string
		want   int
	}{
		{"nothing", nil, 401},
		{"right", []string{"Authorization", "Bearer " + secret}, 200},
		{"wrong", []string{"Authorization", "Bearer " + secret + "x"}, 401},
		{"prefix", []string{"Authorization", "Bearer " + secret[:8]}, 401},
		{"empty", []string{"Authorization", "Bearer "}, 401},
		{"basic", []string{"Authorization", "Basic " + secret}, 401},
		{"session", []string{"Cookie", cookie(hour)}, 200},
		{"session that has ended", []string{"Cookie", cookie(time.Now().Add(-time.Second))}, 401},
		{"session that was made longer", []string{"Cookie", strings.Replace(cookie(hour), "=", "=9", 1)}, 401},
		{"session of another token", []string{"Cookie", sessionCookie + "=" + other.newSession(hour, mayDecide)}, 401},
		{"session that is none", []string{"Cookie", sessionCookie + "=" + secret}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"/api/v1/health", "/api/v1/stats", "/api/v1/alerts", "/api/v1/alerts/0000000000000001", "/api/v1/connections", "/metrics"} {
				a := f.get(t, path, c.header...)
				if a.status != c.want || (c.want == 401) != (a.header.Get("WWW-Authenticate") != "") {
					t.Errorf("%s: %d, want %d", path, a.status, c.want)
				}
			}
		})
	}
	for _, path := range []string{"/", "/openapi.yaml", "/api/v1/openapi.yaml"} {
		if a := f.get(t, path); a.status != 200 {
			t.Errorf("%s has no data, yet it is refused: %d", path, a.status)
		}
	}
	if a := f.get(t, "/api/v1/health?token="+secret); a.status != 401 {
		t.Errorf("a token in the URL ends in logs, yet it is taken: %d", a.status)
	}
}

func TestSession(t *testing.T) {
	f := startSecret(t)
	if a := f.do(t, "POST", "/api/v1/session", `{"token":"wrong"}`, "Content-Type", "application/json"); a.status != 401 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("wrong token: %d %v", a.status, a.header)
	}
	a := f.do(t, "POST", "/api/v1/session", `{"token":"`+secret+`"}`, "Content-Type", "application/json")
	set := a.header.Get("Set-Cookie")
	if a.status != 204 || !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Strict") || strings.Contains(set, secret) {
		t.Fatalf("%d %q", a.status, set)
	}
	cookie, _, _ := strings.Cut(set, ";")
	if a := f.get(t, "/api/v1/health", "Cookie", cookie); a.status != 200 {
		t.Errorf("with the cookie: %d", a.status)
	}
	if a := f.do(t, "DELETE", "/api/v1/session", ""); !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("%v", a.header)
	}
}

func TestWebSocketTakesTheTokenInFourWays(t *testing.T) {
	f := startSecret(t)
	session := sessionCookie + "=" + f.auth.newSession(time.Now().Add(time.Hour), mayDecide)
	for _, c := range []struct {
		name     string
		header   http.Header
		protocol []string
		first    string
		want     int // status; 1008: close code
	}{
		{name: "bearer", header: http.Header{"Authorization": {"Bearer " + secret}}, want: 101},
		{name: "wrong bearer", header: http.Header{"Authorization": {"Bearer x"}}, want: 401},
		{name: "cookie", header: http.Header{"Cookie": {session}}, want: 101},
		{name: "subprotocol", protocol: []string{"chat", tokenProtocol + secret}, want: 101},
		{name: "wrong subprotocol", protocol: []string{tokenProtocol + "x"}, want: 401},
		{name: "first message", first: `{"type":"hello","token":"` + secret + `"}`, want: 101},
		{name: "first message with a wrong token", first: `{"type":"hello","token":"x"}`, want: 1008},
		{name: "first message without", first: `{"type":"sub"}`, want: 1008},
		{name: "first message that is none", first: `{`, want: 1008},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, resp, err := websocket.Dial(t.Context(), f.wsURL(), &websocket.DialOptions{HTTPHeader: c.header, Subprotocols: c.protocol}) //nolint:bodyclose // the library closes it
			if c.want == 401 {
				if err == nil || resp.StatusCode != 401 {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			p := &peer{t: t, conn: conn}
			if c.first != "" {
				p.say("%s", c.first)
			}
			m := p.next()
			if c.want == 101 {
				if m.Type != typeHello {
					t.Errorf("first: %s", m.Type)
				}
				if c.protocol != nil && conn.Subprotocol() != tokenProtocol+secret {
					t.Errorf("chosen: %q", conn.Subprotocol())
				}
				return
			}
			if _, err := p.read(); m.Type != typeBye || websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("%s, then %v", m.Type, err)
			}
		})
	}
}

// options are good for New, on free ports.
func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Listen: "127.0.0.1:0", WSListen: "127.0.0.1:0", Store: populated(), Live: newLive(),
		Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	}
}

func TestNewRefuses(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = used.Close() }()
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   []string
	}{
		{"no store", func(o *Options) { o.Store = nil }, []string{"Store"}},
		{"port in use", func(o *Options) { o.Listen = used.Addr().String() }, []string{"--listen", used.Addr().String(), "in use", "choose another"}},
		{"WebSocket's port in use", func(o *Options) { o.WSListen = used.Addr().String() }, []string{"--ws-listen", used.Addr().String(), "in use"}},
		{"no port", func(o *Options) { o.Listen = "127.0.0.1" }, []string{"--listen", "host:port"}},
		{"not our address", func(o *Options) { o.Token, o.TLS.Dir, o.Listen = secret, t.TempDir(), "192.0.2.1:0" }, []string{"--listen", "192.0.2.1", "does not have"}},
		{"open without token", func(o *Options) { o.Listen = "0.0.0.0:0" }, []string{"--listen", "token", "127.0.0.1"}},
		{"all addresses without token", func(o *Options) { o.WSListen = ":0" }, []string{"--ws-listen", "token"}},
		{"open without TLS", func(o *Options) { o.Listen, o.Token = "0.0.0.0:0", secret }, []string{"--listen", "TLS"}},
		{"short token", func(o *Options) { o.Token = "123" }, []string{"16"}},
		{"certificate without key", func(o *Options) { o.TLS.CertFile = "a.pem" }, []string{"key"}},
		{"no such certificate", func(o *Options) { o.TLS.CertFile, o.TLS.KeyFile = "no-such.pem", "no-such.key" }, []string{"no-such.pem"}},
		{"negative clients", func(o *Options) { o.MaxClients = -1 }, []string{"-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(t)
			c.change(&o)
			s, err := New(o)
			if err == nil {
				_ = s.Close()
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Error("the token is in the error")
			}
		})
	}
}

func TestNewReportsAllErrorsAtOnce(t *testing.T) {
	o := options(t)
	o.Token, o.Listen, o.WSListen = "123", "x", "0.0.0.0"
	_, err := New(o)
	for _, w := range []string{"16", "--listen", "--ws-listen"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v lacks %q", err, w)
		}
	}
}

func TestAServerThatIsNotRunCanBeClosed(t *testing.T) {
	o := options(t)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Listen, o.Registry = s.Addrs()[0].String(), prometheus.NewRegistry()
	again, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheOtherPortCanBeOff(t *testing.T) {
	f := start(t, func(o *Options) { o.WSListen = "off" })
	if len(f.Addrs()) != 1 {
		t.Errorf("%v", f.Addrs())
	}
	if a := f.get(t, "/api/v1/health"); !strings.Contains(a.body, `"websocket_port":0`) {
		t.Error(a.body)
	}
	p := dial(t, "ws"+f.base[len("http"):]+"/ws", nil)
	p.greet()
}

func TestTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	f := start(t, func(o *Options) { o.Token, o.TLS = secret, TLS{SelfSigned: true, Dir: dir} })
	b, err := os.ReadFile(filepath.Join(dir, certName))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(cert.Raw)), " ", ":")
	if f.Fingerprint() != sum || !strings.HasPrefix(f.base, "https://") {
		t.Errorf("fingerprint %s, want %s; %s", f.Fingerprint(), sum, f.base)
	}
	if info, err := os.Stat(filepath.Join(dir, keyName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v %v", info.Mode(), err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer trusting.CloseIdleConnections()
	f.http.Transport = trusting
	a := f.do(t, "POST", "/api/v1/session", `{"token":"`+secret+`"}`, "Content-Type", "application/json")
	if set := a.header.Get("Set-Cookie"); !strings.Contains(set, "Secure") {
		t.Errorf("cookie %q", set)
	}
	if csp := f.get(t, "/").header.Get("Content-Security-Policy"); !strings.Contains(csp, "wss://127.0.0.1:") {
		t.Errorf("policy %q", csp)
	}
	conn, _, err := websocket.Dial(t.Context(), "wss://"+f.Addrs()[1].String()+"/ws", &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPClient: f.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + secret}},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	defer func() { _ = conn.CloseNow() }()
	(&peer{t: t, conn: conn}).greet()
	http.DefaultClient.CloseIdleConnections()
}

func TestOwnCertificateIsKeptWhileItIsGood(t *testing.T) {
	own := TLS{Dir: t.TempDir()}
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	names := []string{"localhost", "127.0.0.1", "::1", "192.0.2.7", "netlyra.example"}
	make1 := func(names []string, now time.Time) string {
		t.Helper()
		c, err := own.certificate(names, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if err := c.Leaf.VerifyHostname(n); err != nil {
				t.Error(err)
			}
		}
		return fingerprint(c)
	}
	first := make1(names, now)
	if make1(names[:3], now.Add(24*time.Hour)) != first {
		t.Error("a good certificate was replaced")
	}
	if make1(append(names, "new.example"), now) == first {
		t.Error("a certificate without a name was kept")
	}
	second := make1(names, now)
	if make1(names, now.Add(certTime-certRenew+2*time.Hour)) == second {
		t.Error("a certificate that ends soon was kept")
	}
	if err := os.WriteFile(filepath.Join(own.Dir, certName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := own.certificate(names, now); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("damaged: %v", err)
	}
}

func TestOwnFilesAreUsedAndBeyondLoopbackTLSIsOn(t *testing.T) {
	dir := t.TempDir()
	if err := makeCertificate(dir, []string{"own.example"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.Listen, o.Token = "0.0.0.0:0", secret
	o.TLS = TLS{CertFile: filepath.Join(dir, certName), KeyFile: filepath.Join(dir, keyName)}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if s.Fingerprint() == "" || !strings.HasPrefix(s.URL(), "https://") {
		t.Errorf("%s without TLS", s.URL())
	}
}

// TestACertificateThatChangesIsReadAgain without a restart; one that cannot be read leaves the one before.
func TestACertificateThatChangesIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, certName), filepath.Join(dir, keyName)
	if err := makeCertificate(dir, []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	f := start(t, func(o *Options) { o.TLS = TLS{CertFile: certFile, KeyFile: keyFile} })
	served := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", f.Addrs()[0].String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // which one it is, is the question
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return fingerprint(tls.Certificate{Certificate: [][]byte{conn.ConnectionState().PeerCertificates[0].Raw}})
	}
	look := func() { // as a second later
		f.cert.mu.Lock()
		f.cert.looked = time.Time{}
		f.cert.mu.Unlock()
	}
	first := served()
	if first != f.Fingerprint() {
		t.Errorf("%s is served, %s is told", first, f.Fingerprint())
	}
	if err := os.WriteFile(certFile, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	if served() != first {
		t.Error("a damaged file has changed the certificate")
	}
	if err := makeCertificate(dir, []string{"127.0.0.1", "new.example"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	look()
	if second := served(); second == first || second != f.Fingerprint() {
		t.Errorf("after the change %s is served, %s is told; before it was %s", second, f.Fingerprint(), first)
	}
	for host, want := range map[string]bool{"netlyra.example": true, "127.0.0.1": false, "localhost": false, "[::1]:8090": false} {
		if named(host) != want {
			t.Errorf("%s: HSTS %v", host, named(host))
		}
	}
}
