package api

import (
	_ "embed"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// openAPI describes every route but the page's; a test holds the handlers to it.
//
//go:embed openapi.yaml
var openAPI []byte

// asyncAPI describes the WebSocket; a test holds the messages to it.
//
//go:embed asyncapi.yaml
var asyncAPI []byte

const (
	// maxStoreRequests bounds what may wait for the database at a time; more are told to come back.
	maxStoreRequests = 32
)

// routes are all that a listener serves: everything, or only the WebSocket.
func (s *Server) routes(everything bool) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	fixed := map[string][]string{}
	defer func() {
		for _, r := range e.Routes() {
			if !strings.Contains(r.Path, ":") {
				fixed[r.Path] = append(fixed[r.Path], r.Method)
			}
		}
	}()
	e.RedirectTrailingSlash = false
	_ = e.SetTrustedProxies(nil) // no error without proxies; nothing here uses the client's address
	e.Use(s.observe, s.recover, s.checkHost, s.secureHeaders, limitBody, s.checkCrossOrigin(), s.fixedPaths(fixed))
	e.NoMethod(func(c *gin.Context) {
		s.wrongMethod(c, c.Writer.Header().Get("Allow"))
	})
	e.GET("/ws", s.webSocket)
	if !everything {
		e.NoRoute(func(c *gin.Context) {
			s.abort(c, fail(codeNoRoute, "this port serves /ws only; the rest is on port "+port(s.main.listener.Addr())))
		})
		return e
	}
	e.NoRoute(s.page)
	e.GET("/openapi.yaml", s.openAPI.serve)
	e.GET("/asyncapi.yaml", s.asyncAPI.serve)
	e.GET("/livez", s.livez)
	e.GET("/readyz", s.readyz)
	e.GET("/metrics", s.checkAuth, textOnly, gin.WrapH(promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{DisableCompression: true})))
	s.apiRoutes(e.Group("/api/v1"))
	return e
}

func (s *Server) apiRoutes(v1 *gin.RouterGroup) {
	v1.GET("/openapi.yaml", s.openAPI.serve)
	v1.GET("/asyncapi.yaml", s.asyncAPI.serve)
	v1.POST("/session", s.openSession)
	v1.DELETE("/session", s.closeSession)
	v1.GET("/health", s.checkAuth, s.health)
	v1.GET("/stats", s.checkAuth, s.getStats)
	v1.GET("/sensors", s.checkAuth, s.listSensors)
	busy := s.limitStore()
	v1.GET("/alerts", s.checkAuth, busy, s.listAlerts)
	v1.GET("/alerts/:id", s.checkAuth, busy, s.getAlert)
	v1.PATCH("/alerts/:id", s.checkAuth, busy, s.changeAlert)
	v1.GET("/exceptions", s.checkAuth, busy, s.listExceptions)
	v1.POST("/exceptions", s.checkAuth, busy, s.addException)
	v1.POST("/exceptions/preview", s.checkAuth, busy, s.previewException)
	v1.PATCH("/exceptions/:id", s.checkAuth, busy, s.changeException)
	v1.DELETE("/exceptions/:id", s.checkAuth, busy, s.removeException)
	v1.GET("/exceptions/:id", s.checkAuth, busy, s.getException)
	v1.GET("/decisions", s.checkAuth, busy, s.listDecisions)
	v1.GET("/hosts", s.checkAuth, busy, s.listHosts)
	v1.GET("/hosts/:ip", s.checkAuth, busy, s.getHost)
	v1.GET("/series", s.checkAuth, busy, s.getSeries)
	v1.GET("/connections", s.checkAuth, busy, s.listConnections)
}

// wrongMethod answers 405 with what is possible, and OPTIONS with that alone (RFC 9110, sections 9.3.7 and 10.2.1).
func (s *Server) wrongMethod(c *gin.Context, possible string) {
	methods := strings.Split(strings.ReplaceAll(possible, " ", ""), ",")
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	methods = append(methods, http.MethodOptions)
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	c.Header("Allow", allow)
	if c.Request.Method == http.MethodOptions {
		c.Header("Cache-Control", "no-store")
		c.Status(http.StatusNoContent)
		c.Writer.WriteHeaderNow()
		c.Abort()
		return
	}
	s.abort(c, fail(codeBadMethod, c.Request.Method+" is not possible here; possible: "+allow))
}

// fixedPaths keeps a path that is a route of its own from being taken for another route's parameter: /exceptions/preview is no
// exception with the id preview. methods are those of each such path.
func (s *Server) fixedPaths(methods map[string][]string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if possible := methods[c.Request.URL.Path]; possible != nil && c.FullPath() != c.Request.URL.Path {
			s.wrongMethod(c, strings.Join(possible, ","))
		}
	}
}

// textOnly has the metrics in the one format that is described, whatever else a client would take.
func textOnly(c *gin.Context) { c.Request.Header.Del("Accept") }

// headAsGet lets every GET be a HEAD too (RFC 9110, section 9.1); net/http leaves the body out.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			r = r.Clone(r.Context())
			r.Method = http.MethodGet
		}
		next.ServeHTTP(w, r)
	})
}

// observe counts and times requests. The route is the pattern, so that the label is bounded.
func (s *Server) observe(c *gin.Context) {
	start := time.Now()
	c.Next()
	route := c.FullPath()
	if route == "" {
		route = "other"
	}
	s.metrics.request(route, c.Writer.Status(), time.Since(start))
}

// limitStore bounds the requests that wait for the database: a queue would only make all of them late.
func (s *Server) limitStore() gin.HandlerFunc {
	slots := make(chan struct{}, maxStoreRequests)
	return func(c *gin.Context) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			c.Next()
		default:
			s.abort(c, fail(codeBusy, "too many requests at a time; try again in a second"))
		}
	}
}
