package api

import (
	_ "embed"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// openAPI describes every route but the page's; a test holds the handlers to it.
//
//go:embed openapi.yaml
var openAPI []byte

const (
	// maxStoreRequests bounds what may wait for the database at a time; more are told to come back.
	maxStoreRequests = 32
)

// routes are all that a listener serves: everything, or only the WebSocket.
func (s *Server) routes(everything bool) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	_ = e.SetTrustedProxies(nil) // no error without proxies; nothing here uses the client's address
	e.Use(s.observe, s.recover, s.checkHost, s.secureHeaders, limitBody, s.checkCrossOrigin())
	e.NoMethod(func(c *gin.Context) {
		s.abort(c, fail(codeBadMethod, c.Request.Method+" is not possible here; possible: "+c.Writer.Header().Get("Allow")))
	})
	e.GET("/ws", s.webSocket)
	if !everything {
		e.NoRoute(func(c *gin.Context) {
			s.abort(c, fail(codeNoRoute, "this port serves /ws only; the rest is on port "+port(s.main.listener.Addr())))
		})
		return e
	}
	e.NoRoute(s.page)
	e.GET("/openapi.yaml", s.serveOpenAPI)
	e.GET("/metrics", s.checkAuth, gin.WrapH(promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{})))
	s.apiRoutes(e.Group("/api/v1"))
	return e
}

func (s *Server) apiRoutes(v1 *gin.RouterGroup) {
	v1.GET("/openapi.yaml", s.serveOpenAPI)
	v1.POST("/session", s.openSession)
	v1.DELETE("/session", s.closeSession)
	v1.GET("/health", s.checkAuth, s.health)
	v1.GET("/stats", s.checkAuth, s.getStats)
	busy := s.limitStore()
	v1.GET("/alerts", s.checkAuth, busy, s.listAlerts)
	v1.GET("/alerts/:id", s.checkAuth, busy, s.getAlert)
	v1.PATCH("/alerts/:id", s.checkAuth, busy, s.changeAlert)
	v1.GET("/exceptions", s.checkAuth, busy, s.listExceptions)
	v1.POST("/exceptions", s.checkAuth, busy, s.addException)
	v1.PATCH("/exceptions/:id", s.checkAuth, busy, s.changeException)
	v1.DELETE("/exceptions/:id", s.checkAuth, busy, s.removeException)
	v1.GET("/connections", s.checkAuth, busy, s.listConnections)
}

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

func (s *Server) serveOpenAPI(c *gin.Context) {
	c.Header("Cache-Control", "no-cache")
	c.Data(http.StatusOK, "application/yaml; charset=utf-8", openAPI)
}
