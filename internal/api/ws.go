package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
)

const (
	greetingTime = 250 * time.Millisecond // for a client that wants to resume to say so
	loginTime    = 5 * time.Second        // for the token to come
	farewellTime = time.Second            // for the last message and the closing handshake

	// sendBuffer bounds what the kernel holds for one client, in bytes.
	sendBuffer = 128 << 10
)

// leaveReason is why a connection ends.
type leaveReason int

const (
	leaveNot leaveReason = iota
	leaveGone
	leaveShutdown
	leaveAbandon
	leaveSlow
	leavePing
	leaveProtocol
	leaveNoToken
	leaveWrongToken
	leaveWrongTooOften
	leaveFull
	leaveFlood
	leaveTooLarge
)

// label is the metric's.
func (l leaveReason) label() string {
	return [...]string{"none", "client", "shutdown", "no_ack", "write", "ping", "protocol", "token", "wrong_token", "too_many_wrong_tokens", "full", "flood", "too_large"}[l]
}

// bye is what the client is told. 1013, "try again later", is in IANA's registry of close codes, not in RFC 6455.
func (l leaveReason) bye() (websocket.StatusCode, string) {
	switch l {
	case leaveShutdown:
		return websocket.StatusGoingAway, "the server ends; come back in a moment"
	case leaveAbandon:
		return websocket.StatusTryAgainLater, "nothing was acknowledged for 30 s"
	case leaveSlow:
		return websocket.StatusTryAgainLater, "a message could not be written within 2 s"
	case leavePing:
		return websocket.StatusTryAgainLater, "a ping was not answered within 15 s"
	case leaveFull:
		return websocket.StatusTryAgainLater, "there are too many clients"
	case leaveProtocol:
		return websocket.StatusPolicyViolation, "a message is not as /asyncapi.yaml says"
	case leaveNoToken:
		return websocket.StatusPolicyViolation, "the first message did not bring the token within 5 s: say hello with it"
	case leaveWrongToken:
		return websocket.StatusPolicyViolation, "that is not a token of this server"
	case leaveWrongTooOften:
		return websocket.StatusTryAgainLater, "too many wrong tokens came from this address"
	case leaveFlood:
		return websocket.StatusPolicyViolation, "too many messages came: one for each that was sent, and 20 a second beside, are enough"
	case leaveTooLarge:
		return websocket.StatusMessageTooBig, "a message had more than 8 KiB"
	case leaveNot, leaveGone:
	}
	return websocket.StatusNormalClosure, "goodbye"
}

// webSocket takes a client in and stays until it has left.
func (s *Server) webSocket(c *gin.Context) {
	r := c.Request
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		s.abort(c, fail(codeNoUpgrade, "this is a WebSocket: connect with ws:// or wss://; /asyncapi.yaml tells what it says"))
		return
	case !s.hosts.allowsOrigin(r):
		s.abort(c, fail(codeBadOrigin, "this WebSocket is open to this server's own page and to programs, not to "+quote(r.Header.Get("Origin"))))
		return
	}
	_, err := s.enter(r)
	if err != nil && err.code != codeUnauthorized {
		s.abort(c, err) // the wrong token: no second chance on the same connection
		return
	}
	authorized := err == nil
	from := sourceOf(r.RemoteAddr)
	if authorized && s.hub.full(from) {
		s.abort(c, fail(codeBusy, "there are too many WebSocket clients; close one or try again later"))
		return
	}
	s.accept(c, authorized, from)
}

// accept makes a WebSocket of the request.
func (s *Server) accept(c *gin.Context, authorized bool, from netip.Addr) {
	r := c.Request
	conn, err := websocket.Accept(c.Writer, r, acceptOptions(r))
	if err != nil {
		return // it has answered
	}
	raw := underlying(r)
	boundSendBuffer(raw)
	client := newClient(conn, s.hub, from)
	if !authorized {
		client.admit = func(token string) leaveReason { return s.admit(r, token) }
	}
	s.attend(r.Context(), client, raw)
}

// admit takes the token of a first message.
func (s *Server) admit(r *http.Request, token string) leaveReason {
	_, err := s.try(r, token)
	switch {
	case err == nil && s.seatGuest(r):
		return leaveNot
	case err == nil:
		return leaveFull
	}
	s.refusals.add(string(err.code), sourceOf(r.RemoteAddr).String(), nil)
	if err.code == codeWrongTooOften {
		return leaveWrongTooOften
	}
	return leaveWrongToken
}

func acceptOptions(r *http.Request) *websocket.AcceptOptions {
	o := &websocket.AcceptOptions{
		InsecureSkipVerify: true, // allowsOrigin has verified it; the library knows nothing of the other port
	}
	if p := offeredProtocol(r); p != "" {
		o.Subprotocols = []string{p} // a browser closes the connection unless one it offered is chosen
	}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && !a.Addr().Unmap().IsLoopback() {
		o.CompressionMode = websocket.CompressionNoContextTakeover // pays on a network only
	}
	return o
}

// underlying is the TCP connection of a request, below TLS.
func underlying(r *http.Request) net.Conn {
	conn, _ := r.Context().Value(connKey{}).(net.Conn) // withConn has put it there
	for {
		t, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = t.NetConn()
	}
}

// boundSendBuffer keeps the kernel from holding megabytes for a client that does not read: auto-tuning would.
func boundSendBuffer(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // without it the client costs more, but works
	}
}

// attend is the life of a client: taken in, talked to, seen off.
func (s *Server) attend(ctx context.Context, c *client, raw net.Conn) {
	// net/http does not define what becomes of the context of a hijacked request.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if why := s.hub.join(c, c.admit == nil); why != leaveNot {
		s.farewell(ctx, c, raw, why)
		return
	}
	s.converse(ctx, cancel, c, raw)
	s.hub.leave(c, c.why)
}

// converse runs reader, writer and pings until one of them is at its end.
func (s *Server) converse(ctx context.Context, cancel context.CancelFunc, c *client, raw net.Conn) {
	if c.admit == nil {
		c.send(s.hub.hello())
	}
	c.conn.SetReadLimit(-1) // read has its own bound, and says what was wrong
	var running sync.WaitGroup
	running.Go(func() { c.read(ctx) })
	running.Go(func() { c.ping(ctx) })
	greeting := time.AfterFunc(greetingTime, c.greet)
	login := time.AfterFunc(loginTime, c.demandToken)
	c.write(ctx)
	greeting.Stop()
	login.Stop()
	s.farewell(ctx, c, raw, c.why)
	cancel()
	running.Wait()
}

// farewell tells the client why, and closes. What takes longer than a second is cut off.
func (s *Server) farewell(ctx context.Context, c *client, raw net.Conn, why leaveReason) {
	code, text := why.bye()
	if c.detail != "" {
		text += ": " + c.detail
	}
	if why == leaveSlow {
		_ = c.conn.CloseNow() // nothing more goes through
		return
	}
	cut := time.AfterFunc(farewellTime, func() { _ = raw.Close() })
	defer cut.Stop()
	if why != leaveGone {
		_ = c.writeOne(ctx, s.hub.aside(typeBye, byeData{int(code), text}).b) // if it fails, closing still is to be tried
	}
	_ = c.conn.Close(code, cutText(text, maxCloseReason)) // an error says that the client has gone, which is what is wanted
}

// maxCloseReason is what a close frame has room for beside its code, in bytes (RFC 6455, section 5.5).
const maxCloseReason = 123

// cutText shortens a text to n bytes at most, and leaves its characters whole.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
