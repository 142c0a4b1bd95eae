package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"netlyra/internal/models"

	"github.com/gin-gonic/gin"
)

// warning is what is not wrong about an exception, but rarely meant.
type warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// exceptionRow is an exception with what is to be known about it.
type exceptionRow struct {
	models.Exception
	Warnings []warning `json:"warnings,omitempty"`
}

// previewBody is what an exception would do, with what is to be known about it.
type previewBody struct {
	models.ExceptionPreview
	Warnings []warning `json:"warnings,omitempty"`
}

const codeWholeCategory = "hides_category"

func rowOf(e models.Exception) exceptionRow { return exceptionRow{e, warningsOf(&e)} }

// warningsOf warns of an exception that hides a kind of incident whoever is concerned.
func warningsOf(e *models.Exception) []warning {
	if e.Category == "" || e.Host != "" || e.Peer != "" || e.Port != 0 {
		return nil
	}
	return []warning{{codeWholeCategory, fmt.Sprintf("this hides every incident of the kind %s, whoever is concerned, an attacker too: name a host, a peer or a port as well",
		e.Category)}}
}

// watchEvery is how often the database is asked whether it answers.
const watchEvery = 10 * time.Second

// storeWatch asks the database now and then, so that health and readiness can be told without waiting for it.
type storeWatch struct {
	wake chan struct{} // holds one: exceptions have changed

	mu    sync.Mutex
	err   error
	asked bool
	broad []Reason // exceptions that hide a whole kind of incident
}

func newStoreWatch() *storeWatch { return &storeWatch{wake: make(chan struct{}, 1)} }

func (w *storeWatch) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // it is about to look
	}
}

func (w *storeWatch) run(ctx context.Context, store Store) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		w.look(ctx, store)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.wake:
		}
	}
}

func (w *storeWatch) look(ctx context.Context, store Store) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	all, err := store.Exceptions(ctx)
	var broad []Reason
	now := models.Micros(time.Now().UnixMicro())
	for i := range all {
		if e := &all[i]; (e.Expires == 0 || e.Expires > now) && len(warningsOf(e)) > 0 {
			broad = append(broad, Reason{"exception_" + codeWholeCategory, fmt.Sprintf("the exception %s hides every incident of the kind %s, whoever is concerned: "+
				"give it a host, a peer or a port, or remove it", e.ID, e.Category)})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err, w.asked = err, true; err == nil {
		w.broad = broad
	}
}

func (w *storeWatch) reasons() []Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broad
}

// answers says whether the database answered when it was asked last.
func (w *storeWatch) answers() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked && w.err == nil
}

type statusBody struct {
	Status string `json:"status"`
}

// livez is 200 as long as the program answers.
func (s *Server) livez(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	writeJSON(c.Writer, http.StatusOK, statusBody{"ok"})
}

// readyz is 200 while the program sees, keeps and tells what it should; it says in codes what keeps it from that, and nothing else:
// who asks has shown no token.
func (s *Server) readyz(c *gin.Context) {
	if err := parseQuery(c.Request.URL.RawQuery, nil); err != nil {
		s.abort(c, err)
		return
	}
	if why := s.unready(); len(why) > 0 {
		s.abort(c, fail(codeNotReady, "not ready: "+strings.Join(why, ", ")))
		return
	}
	writeJSON(c.Writer, http.StatusOK, statusBody{"ok"})
}

func (s *Server) unready() []string {
	stops := []string{
		models.StoreFailing, models.StoreFull, models.StoreLocked, models.StoreDamaged, models.StoreGone, models.StoreUnreadable, models.StoreDescriptors,
	}
	var why []string
	for _, r := range s.reasons() {
		if slices.Contains(stops, r.Code) {
			why = append(why, r.Code)
		}
	}
	if len(why) == 0 && !s.store.answers() {
		why = append(why, models.StoreUnreadable)
	}
	links := s.stats().Interfaces
	blind := len(links) > 0
	for _, l := range links {
		blind = blind && (l.Link == "gone" || l.Link == "down")
	}
	if blind {
		why = append(why, "interfaces_down")
	}
	slices.Sort(why)
	return slices.Compact(why)
}
