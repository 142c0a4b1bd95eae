// Package store keeps alerts, connections, hosts and traffic series in one SQLite file.
//
// One goroutine writes, over one connection: what callers hand in meanwhile shares the next transaction (group commit).
// Alerts always go first, and SaveAlert returns only when its alert survives kill -9 and power loss (journal mode WAL,
// synchronous FULL: https://sqlite.org/pragma.html#pragma_synchronous). The rest is queued, bounded, and may lose what
// was not yet flushed; what a full queue turns away is counted in Drops. Readers have connections of their own and never
// wait for the writer.
//
// The models of package models carry the GORM tags: columns and statements are derived from them, and a test holds the
// migrations to them. Times are capture time in microseconds, but for inserted_at, which is the wall clock in
// microseconds and what retention by age counts from.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"gorm.io/gorm"

	"netlyra/internal/models"
)

// The errors that callers tell apart.
var (
	// ErrClosed: Run has ended, nothing is saved any more.
	ErrClosed = errors.New("store: closed")
	// ErrNewerSchema: a newer program has written the database.
	ErrNewerSchema = errors.New("store: the database is from a newer version of netlyra")
	// ErrInUse: another netlyra has the database open.
	ErrInUse = errors.New("store: the database is in use by another netlyra")
)

// Options sets up a Store.
type Options struct {
	Path string           // of the database file; its directory is made if it is missing
	Log  *slog.Logger     // nil discards
	Now  func() time.Time // the wall clock; nil means time.Now

	// TriageChanged is told when stored alerts have left the list or have come back into it. It must not block; nil: nobody is.
	TriageChanged func()

	GroupCommit  time.Duration // how long connections, hosts and series wait for company; 0 means 100 ms
	QueryTimeout time.Duration // of each read; 0 means 2 s
	DrainTimeout time.Duration // how long Run tries to write what is left after its context has ended; 0 means 5 s

	AlertAge      time.Duration // since insertion; 0 means 90 days
	ConnectionAge time.Duration // since insertion; hosts too, where they have been silent as long; 0 means 14 days
	MaxBytes      int64         // size beyond which the oldest connections go, then the oldest alerts; 0 means 1 GiB
	MaxHosts      int           // 0 means 100,000
	MaxDecisions  int           // the newest that are kept of what people have decided; 0 means 100,000
	MinFree       int64         // free bytes on the disk below which only alerts are written; 0 means 64 MiB
	RetainEvery   time.Duration // pause between two looks for what is too old; 0 means a minute

	migrations fs.FS // tests put others in place of the embedded ones
}

func (o Options) withDefaults() Options {
	const day = 24 * time.Hour
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.migrations == nil {
		o.migrations = embedded()
	}
	o.GroupCommit = cmp.Or(o.GroupCommit, 100*time.Millisecond)
	o.QueryTimeout = cmp.Or(o.QueryTimeout, 2*time.Second)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, 5*time.Second)
	o.AlertAge = cmp.Or(o.AlertAge, 90*day)
	o.ConnectionAge = cmp.Or(o.ConnectionAge, 14*day)
	o.MaxBytes = cmp.Or(o.MaxBytes, 1<<30)
	o.MaxHosts = cmp.Or(o.MaxHosts, 100_000)
	o.MaxDecisions = cmp.Or(o.MaxDecisions, 100_000)
	o.MinFree = cmp.Or(o.MinFree, 64<<20)
	o.RetainEvery = cmp.Or(o.RetainEvery, time.Minute)
	return o
}

// Store is an open database. Its methods may be called by any number of goroutines.
type Store struct {
	opts   Options
	log    *slog.Logger
	lock   *os.File // held while the store is open; nil where there are no such locks
	write  *sql.DB  // one connection, the writer's
	reads  *sql.DB  // read-only connections
	read   *gorm.DB
	tables tables
	stmts  statements
	queue  *queue
	health health

	// What follows is the writer's.
	rules *rules // nil: to be read
	sweep sweep
	moved bool // alerts have left the list or come back in this transaction
}

// New opens the database, or makes it: checks it (about 4 s for 1 GiB), sets a damaged one aside, and brings its schema up
// to date. What callers hand in waits until Run runs; Close releases the files.
func New(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{opts: o, log: o.Log, queue: newQueue()}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close releases the files. Call it after Run has returned.
func (s *Store) Close() error {
	var errs []error
	if s.reads != nil {
		errs = append(errs, s.reads.Close())
	}
	errs = append(errs, s.stmts.close())
	if s.write != nil { // after the readers: only it may fold the write-ahead log into the database
		errs = append(errs, s.write.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// Drops lists what was not written, by kind ("store.connections") and reason: "queue_full", "rejected" by the database,
// "shutdown" for what could not be written before DrainTimeout ended.
func (s *Store) Drops() []models.Drop { return s.queue.listDrops() }

// Health says whether writing works, and what start has set aside.
func (s *Store) Health() models.StoreHealth { return s.health.get() }

// health is the state that Health shows.
type health struct {
	mu      sync.Mutex
	state   models.StoreHealth
	low     string // little space is left, and since when
	lowAt   models.Micros
	damaged bool // for good: SQLite goes on inserting into a file in which it has found damage
}

func (h *health) get() models.StoreHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.state
	if st.Problem == "" {
		st.Problem, st.Since = h.low, h.lowAt
	}
	st.Healthy = st.Problem == ""
	return st
}

// setLow records that little space is left, "" that there is enough, and says whether that is news.
func (h *health) setLow(problem string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.low == problem {
		return false
	}
	h.low, h.lowAt = problem, 0
	if problem != "" {
		h.lowAt = models.Micros(now.UnixMicro())
	}
	return true
}

func (h *health) addSetAside(files []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.SetAside = append(h.state.SetAside, files...)
}

// set records a problem, "" for none, and says whether that is news.
func (h *health) set(problem string, damaged bool, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.damaged || h.state.Problem == problem {
		return false
	}
	h.damaged = damaged
	h.state.Problem = problem
	h.state.Since = 0
	if problem != "" {
		h.state.Since = models.Micros(now.UnixMicro())
	}
	return true
}
