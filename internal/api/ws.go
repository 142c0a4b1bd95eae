package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

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
	leaveFull
)

// label is the metric's.
func (l leaveReason) label() string {
	return [...]string{"none", "client", "shutdown", "no_ack", "write", "ping", "protocol", "token", "full"}[l]
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
		return websocket.StatusPolicyViolation, "that message is not one of those in docs/asyncapi.yaml"
	case leaveNoToken:
		return websocket.StatusPolicyViolation, "the first message did not bring the right token"
	case leaveNot, leaveGone:
	}
	return websocket.StatusNormalClosure, "goodbye"
}

// webSocket takes a client in and stays until it has left.
func (s *Server) webSocket(c *gin.Context) {
	r := c.Request
	authorized := s.auth.allows(r, time.Now())
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		s.abort(c, fail(codeNoUpgrade, "this is a WebSocket: connect with ws:// or wss://; docs/asyncapi.yaml tells what it says"))
		return
	case !s.hosts.allowsOrigin(r):
		s.abort(c, fail(codeBadOrigin, "this WebSocket is open to this server's own page and to programs, not to "+quote(r.Header.Get("Origin"))))
		return
	case !authorized && (r.Header.Get("Authorization") != "" || offeredProtocol(r) != ""):
		s.checkAuth(c) // the wrong token: no second chance on the same connection
		return
	case s.hub.full():
		s.abort(c, fail(codeBusy, "there are too many WebSocket clients; close one or try again later"))
		return
	}
	conn, err := websocket.Accept(c.Writer, r, acceptOptions(r))
	if err != nil {
		return // it has answered
	}
	raw := underlying(r)
	boundSendBuffer(raw)
	client := newClient(conn, s.hub)
	if !authorized {
		client.admit = s.auth.token
	}
	s.attend(r.Context(), client, raw)
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
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return conn
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
	if why, ok := s.hub.join(c); !ok {
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
	c.conn.SetReadLimit(maxClientMessage)
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
	if why == leaveSlow {
		_ = c.conn.CloseNow() // nothing more goes through
		return
	}
	cut := time.AfterFunc(farewellTime, func() { _ = raw.Close() })
	defer cut.Stop()
	if why != leaveGone {
		_ = c.writeOne(ctx, s.hub.aside(typeBye, byeData{int(code), text}).b) // if it fails, closing still is to be tried
	}
	_ = c.conn.Close(code, text) // an error says that the client has gone, which is what is wanted
}
