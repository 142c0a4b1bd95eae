package api

import (
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"
)

const noPage = "NetLyra runs, but this build has no page in it: build it with ./task build. " +
	"The API is at /api/v1/health, its description at /openapi.yaml.\n"

// page serves the files of the page, and 404 for what is none. It needs no token: the page asks for it, and has no data.
func (s *Server) page(c *gin.Context) {
	name := strings.TrimPrefix(path.Clean(c.Request.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	read := c.Request.Method == http.MethodGet
	switch {
	case name == "index.html" && !read:
		s.wrongMethod(c, http.MethodGet)
	case name == "index.html" && s.opts.UI == nil:
		c.String(http.StatusOK, noPage)
	case s.opts.UI == nil || !read || strings.HasPrefix(name, "api/"):
		s.noRoute(c)
	default:
		s.file(c, name)
	}
}

func (s *Server) noRoute(c *gin.Context) {
	s.abort(c, fail(codeNoRoute, "there is nothing at "+quote(c.Request.URL.Path)+"; /openapi.yaml lists what there is"))
}

func (s *Server) file(c *gin.Context, name string) {
	a, ok := s.pageFiles[name]
	if !ok {
		s.noRoute(c)
		return
	}
	a.serve(c)
}
