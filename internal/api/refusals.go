package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// refusalEvery is how often a kind of refusal is logged at most: whoever is refused must not fill the disk.
	refusalEvery = time.Minute
	refusalCheck = 10 * time.Second

	// manyWrongTokens within two minutes are a reason for health.
	manyWrongTokens = 20
)

// refusals counts the requests that are refused, and those that fail, by reason. Each reason is logged at most once a minute,
// with the number since the line before.
type refusals struct {
	log   *slog.Logger
	total *prometheus.CounterVec

	mu   sync.Mutex
	kind map[string]*refusal

	// Wrong tokens in this minute and the one before.
	minute        time.Time
	wrong, wrong1 int
	wrongFrom     string
}

// refusal is what one reason has not told yet.
type refusal struct {
	count  uint64
	last   error  // of a failure
	whence string // the latest
	logged time.Time
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{
		log: log, kind: map[string]*refusal{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "netlyra_api_refused_requests_total", Help: "Requests, connections and WebSocket messages that were refused or failed, by reason.",
		}, []string{"reason"}),
	}
}

// add counts; reason is one of a closed list.
func (r *refusals) add(reason, whence string, cause error) {
	r.total.WithLabelValues(reason).Inc()
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.kind[reason]
	if k == nil {
		k = &refusal{}
		r.kind[reason] = k
	}
	k.count++
	k.last, k.whence = cause, whence
	if reason == string(codeWrongToken) {
		r.turn(now)
		r.wrong++
		r.wrongFrom = whence
	}
	r.tell(reason, k, now)
}

// turn begins a new minute when the old one is over.
func (r *refusals) turn(now time.Time) {
	switch past := now.Sub(r.minute); {
	case past >= 2*time.Minute:
		r.minute, r.wrong, r.wrong1 = now, 0, 0
	case past >= time.Minute:
		r.minute, r.wrong, r.wrong1 = r.minute.Add(time.Minute), 0, r.wrong
	}
}

// wrongTokens is how many there were in the last one to two minutes, and where the latest came from.
func (r *refusals) wrongTokens() (n int, whence string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(time.Now())
	return r.wrong + r.wrong1, r.wrongFrom
}

// tell logs what has not been logged, unless that was done less than a minute ago.
func (r *refusals) tell(reason string, k *refusal, now time.Time) {
	if k.count == 0 || now.Sub(k.logged) < refusalEvery {
		return
	}
	attrs := []slog.Attr{slog.String("reason", reason), slog.Uint64("count", k.count), slog.String("last_from", k.whence)}
	if k.last != nil {
		attrs = append(attrs, slog.Any("last_error", k.last))
	}
	r.log.LogAttrs(context.Background(), slog.LevelWarn, "requests refused", attrs...)
	k.count, k.logged = 0, now
}

// run tells what is left over, until ctx ends.
func (r *refusals) run(ctx context.Context) error {
	tick := time.NewTicker(refusalCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.mu.Lock()
			for reason, k := range r.kind {
				r.tell(reason, k, now)
			}
			r.mu.Unlock()
		}
	}
}
