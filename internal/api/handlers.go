package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// storeTime is how long a request waits for the database: longer than the database waits for its own lock.
const storeTime = 8 * time.Second

// maxID bounds what is looked up, in bytes.
const maxID = 128

// recover answers 500 to a handler that panicked, instead of cutting the connection.
func (s *Server) recover(c *gin.Context) {
	defer func() {
		v := recover()
		switch v {
		case nil:
			return
		case http.ErrAbortHandler:
			panic(v) // net/http's own way to cut a connection
		}
		s.log.LogAttrs(c, slog.LevelError, "handler panicked", slog.String("route", c.FullPath()),
			slog.String("panic", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
		if !c.Writer.Written() {
			s.abort(c, fail(codeInternal, "a fault of this program; its log has the details"))
		}
	}()
	c.Next()
}

type healthBody struct {
	Status        string   `json:"status"` // "ok" or "degraded"
	Reasons       []Reason `json:"reasons"`
	Version       string   `json:"version"`
	UptimeSeconds float64  `json:"uptime_seconds"`
	WebSocketPort int      `json:"websocket_port"` // where else /ws is; 0: only here
	Sandbox       *Sandbox `json:"sandbox"`        // null: off
}

func (s *Server) health(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	h := healthBody{
		Status: "ok", Reasons: s.reasons(), Version: s.opts.Version, UptimeSeconds: time.Since(s.started).Seconds(),
	}
	if len(h.Reasons) > 0 {
		h.Status = "degraded"
	}
	if s.opts.Sandbox != nil {
		h.Sandbox = s.opts.Sandbox()
	}
	if s.ws.listener != nil {
		h.WebSocketPort, _ = strconv.Atoi(port(s.ws.listener.Addr())) // of a bound address: always a number
	}
	writeJSON(c.Writer, http.StatusOK, h)
}

// reasons are what the program's parts report, and what the numbers tell that no part has reported.
func (s *Server) reasons() []Reason {
	all := []Reason{}
	if s.opts.Health != nil {
		all = append(all, s.opts.Health()...)
	}
	reported := map[string]bool{}
	for _, r := range all {
		reported[r.Code] = true
	}
	for _, r := range append(s.measured(), s.store.reasons()...) {
		if !reported[r.Code] {
			all = append(all, r)
		}
	}
	return all
}

// measured are the reasons that Stats holds.
func (s *Server) measured() []Reason {
	var all []Reason
	st := s.stats()
	for _, i := range st.Interfaces {
		if i.Link == "gone" || i.Link == "down" {
			all = append(all, Reason{"interface_" + i.Link, fmt.Sprintf("interface %s is %s: no packets come from it", i.Name, i.Link)})
		}
	}
	if n, whence := s.refusals.wrongTokens(); n >= manyWrongTokens {
		all = append(all, Reason{"wrong_tokens", fmt.Sprintf("%d wrong tokens were tried in the last two minutes, the latest from %s: "+
			"if that is no client of yours, somebody tries to get in", n, whence)})
	}
	if lost := s.drops.recent(st); lost != "" {
		all = append(all, Reason{"drops", "lost in the last minute: " + lost + "; stats has them by stage and reason"})
	}
	return all
}

func (s *Server) getStats(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	writeJSON(c.Writer, http.StatusOK, s.stats())
}

// listSensors answers with all of them: there is no further page.
func (s *Server) listSensors(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	writeJSON(c.Writer, http.StatusOK, models.Page[models.SensorState]{Items: s.opts.Live.Sensors()})
}

func (s *Server) getAlert(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	id := c.Param("id")
	if len(id) > maxID {
		s.abort(c, models.ErrNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), storeTime)
	defer cancel()
	a, err := s.opts.Store.Alert(ctx, id)
	if err != nil {
		s.abort(c, err)
		return
	}
	writeJSON(c.Writer, http.StatusOK, a)
}

type connKey struct{}

// withConn remembers a request's connection, which the WebSocket bounds the send buffer of.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}
