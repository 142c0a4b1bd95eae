package api

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// hostGuard holds off DNS rebinding: a page of evil.example whose name is made to point to 127.0.0.1 reaches this server
// from the user's own browser, as its own origin. Its requests can be told by the Host header only.
type hostGuard struct {
	allowed map[string]bool // lower case, without port
	ports   []string        // of the listeners
}

func newHostGuard(extra []string, listeners []net.Listener) hostGuard {
	g := hostGuard{allowed: map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}}
	for _, h := range extra {
		g.allowed[strings.ToLower(hostOnly(h))] = true
	}
	for _, l := range listeners {
		g.ports = append(g.ports, port(l.Addr()))
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			g.allowed[tcp.IP.String()] = true
		}
	}
	return g
}

// names is what a certificate of this server is made out to.
func (g hostGuard) names() []string {
	var all []string
	for h := range g.allowed {
		all = append(all, h)
	}
	if name, err := os.Hostname(); err == nil {
		all = append(all, strings.ToLower(name))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// allows says whether a request names this server: by a name of the list, or by the address that it has arrived at (an
// address cannot be rebound; a listener on all addresses has no single one to list).
func (g hostGuard) allows(r *http.Request) bool {
	h := strings.ToLower(hostOnly(r.Host))
	if g.allowed[h] {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	literal, err := netip.ParseAddr(h)
	return ok && err == nil && literal.Unmap() == local.AddrPort().Addr().Unmap()
}

// allowsOrigin says whether a WebSocket may be opened by r's page: this server's own, on whichever of its ports, or none
// (a program). Browsers do not restrict WebSockets to the page's origin, and cookies know no ports.
func (g hostGuard) allowsOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) {
		return true
	}
	return strings.EqualFold(u.Hostname(), hostOnly(r.Host)) && slices.Contains(g.ports, u.Port())
}

// checkHost answers 421 (RFC 9110, section 15.5.20) to requests for other servers.
func (s *Server) checkHost(c *gin.Context) {
	if !s.hosts.allows(c.Request) {
		s.abort(c, fail(codeBadHost, "this server does not answer for the host "+quote(c.Request.Host)+
			": use localhost or the address it listens on, or allow the name with --allowed-hosts"))
	}
}

// checkCrossOrigin refuses what another site's page asks this server to change.
func (s *Server) checkCrossOrigin() gin.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if protection.Check(c.Request) != nil {
			s.abort(c, fail(codeBadOrigin, "this request comes from another site's page"))
		}
	}
}

// limitBody bounds what a request may send.
func limitBody(c *gin.Context) {
	const maxBody = 64 << 10
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
}

// secureHeaders tell the browser to run nothing but our own files, and to show the page in nobody's frame.
func (s *Server) secureHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", s.contentSecurityPolicy(c.Request))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if s.encrypted() && named(c.Request.Host) {
		h.Set("Strict-Transport-Security", "max-age=2592000")
	}
}

// named says whether a host is a name that belongs to one machine: HSTS (RFC 6797) holds for all ports of a host, and localhost is
// everybody's. Addresses are none of its business.
func named(host string) bool {
	host = strings.ToLower(hostOnly(host))
	_, err := netip.ParseAddr(host)
	return err != nil && host != "localhost"
}

// contentSecurityPolicy lets the page open the WebSocket on either port of the host it came from; not every browser takes
// 'self' for ws: too. The host has been checked before.
func (s *Server) contentSecurityPolicy(r *http.Request) string {
	scheme := " ws://"
	if s.encrypted() {
		scheme = " wss://"
	}
	var connect strings.Builder
	for _, p := range s.hosts.ports {
		connect.WriteString(scheme + net.JoinHostPort(hostOnly(r.Host), p))
	}
	return "default-src 'self'; connect-src 'self'" + connect.String() + "; img-src 'self' data:; object-src 'none'; base-uri 'none'; " +
		"form-action 'self'; frame-ancestors 'none'"
}
