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
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"netlyra/internal/models"
)

// The errors that callers tell apart.
var (
	// ErrClosed: Run has ended, nothing is saved any more.
	ErrClosed = errors.New("store: closed")
	// ErrNewerSchema: a newer program has written the database.
	ErrNewerSchema = errors.New("store: the database is from a newer version of netlyra")
	// ErrForeign: the file is not ours, and is left alone.
	ErrForeign = errors.New("store: not a database of netlyra")
	// ErrInUse: another netlyra has the database open.
	ErrInUse = errors.New("store: the database is in use by another netlyra")
)

// Options sets up a Store.
type Options struct {
	Path      string           // of the database file; its directory is made if it is missing
	Temporary bool             // in place of Path: a file of its own, which Close removes
	Log       *slog.Logger     // nil discards
	Now       func() time.Time // the wall clock; nil means time.Now

	// TriageChanged is told when stored alerts have left the list or have come back into it. It must not block; nil: nobody is.
	TriageChanged func()

	Fleet  bool   // connections are of sensors elsewhere: those that are open at the start go on
	Outbox bool   // mark each revision of an alert that is stored as one to be published
	Posted func() // is told when there is something new in the outbox. It must not block; nil: nobody is

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
	// Neither may take more than a small part of a small database.
	o.MaxHosts = cmp.Or(o.MaxHosts, int(min(100_000, o.MaxBytes/1000)))
	o.MaxDecisions = cmp.Or(o.MaxDecisions, int(min(100_000, o.MaxBytes/2000)))
	o.MinFree = cmp.Or(o.MinFree, 64<<20)
	o.RetainEvery = cmp.Or(o.RetainEvery, time.Minute)
	return o
}

// Store is a database. Its methods may be called by any number of goroutines.
type Store struct {
	opts    Options
	log     *slog.Logger
	readers atomic.Pointer[readers] // nil while it cannot be read
	tables  tables
	blocked map[string]*blocked // by table
	queue   *queue
	health  health
	suspect atomic.Bool           // a read has found damage
	known   atomic.Pointer[rules] // of the last transaction that was committed; nil: none was
	temp    string                // directory of a temporary database

	// What follows is New's, and then the writer's.
	lock      *os.File // the database itself, locked; nil: not open
	fresh     bool     // the file is empty so far
	ours      bool
	inspected bool
	unchecked bool  // the file was there before, and nobody has looked whether it is sound
	version   int64 // of the schema
	files     []openedFile
	write     *sql.DB // one connection; nil while it cannot be written
	stmts     statements
	rules     *rules // nil: to be read
	sweep     sweep
	moved     bool // alerts have left the list or come back in this transaction
	posted    bool // alerts have been marked to be published in it
}

// New opens the database, or makes it. What is not ours is refused; one of ours that cannot even be opened because it is damaged is set
// aside. Where it is locked, or the disk is full, New returns all the same: what can be read is served, alerts wait, Health says why,
// and Run tries again. What callers hand in waits until Run runs, which also checks whether the file is sound; Close releases the
// files.
func New(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{opts: o, log: o.Log, queue: newQueue(), blocked: blockedTables()}
	var err error
	if s.tables, err = newTables(); err != nil {
		return nil, err
	}
	if err := s.choosePlace(); err != nil {
		return nil, err
	}
	err = s.open(ctx)
	if err != nil && transient(err) && ctx.Err() == nil {
		s.complain(ctx, err)
		err = nil
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// choosePlace makes a directory for a temporary database.
func (s *Store) choosePlace() (err error) {
	switch {
	case s.opts.Temporary:
		s.temp, err = os.MkdirTemp("", "netlyra-")
		if err != nil {
			return fmt.Errorf("store: temporary database: %w", err)
		}
		s.opts.Path = filepath.Join(s.temp, "netlyra.db")
	case s.opts.Path == "":
		return errors.New("store: no database path: set --database")
	}
	return nil
}

// Path is where the database is: as given, made absolute, or in the temporary directory.
func (s *Store) Path() string { return s.opts.Path }

// Close releases the files, and removes those of a temporary database. Call it after Run has returned.
func (s *Store) Close() error {
	err := s.closeFiles()
	if s.temp != "" {
		err = errors.Join(err, os.RemoveAll(s.temp))
	}
	return err
}

// closeFiles closes what is open.
func (s *Store) closeFiles() error {
	var errs []error
	if r := s.readers.Swap(nil); r != nil {
		errs = append(errs, r.db.Close())
	}
	errs = append(errs, s.stmts.close())
	if s.write != nil { // after the readers: only it may fold the write-ahead log into the database
		errs = append(errs, s.write.Close())
	}
	if s.lock != nil { // at last: this would release SQLite's locks
		errs = append(errs, s.lock.Close())
	}
	s.stmts, s.write, s.lock, s.files = statements{}, nil, nil, nil
	s.forget()
	s.inspected, s.unchecked = false, false
	return errors.Join(errs...)
}

// Drops lists what was not written, by kind ("store.connections") and reason: "queue_full", "rejected" by the database,
// "shutdown" for what could not be written before DrainTimeout ended.
func (s *Store) Drops() []models.Drop { return s.queue.listDrops() }

// FileBytes is the size of the database on the disk, its write-ahead log included; 0 while there is no file. It asks the file
// system, not the database.
func (s *Store) FileBytes() int64 {
	var sum int64
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(s.opts.Path + suffix); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// Health says whether writing and reading work, and what has been set aside.
func (s *Store) Health() models.StoreHealth { return s.health.get(s.opts.Now()) }

// complain records that the database cannot be opened or written.
func (s *Store) complain(ctx context.Context, err error) {
	code, text := problem(s.opts.Path, err)
	if s.write == nil && s.version > 0 && s.readers.Load() == nil {
		text += " (its schema is to be brought up to date first; until then it cannot be read)"
	}
	if s.health.set(troubleWriting, code, text, s.opts.Now()) {
		s.log.LogAttrs(ctx, slog.LevelError, "database cannot be written", slog.String("problem", text), slog.String("error", err.Error()))
	}
}

// trouble is a kind of problem. Of several the first is shown.
type trouble int

const (
	troubleWriting trouble = iota
	troubleReading
	troubleSpace   // little is left
	troubleProcess // no file descriptors
	troublePast    // what has happened, and is over
	troubles
)

// pastShown is how long what is over is shown.
const pastShown = 10 * time.Minute

// health is the state that Health shows.
type health struct {
	mu       sync.Mutex
	problems [troubles]struct {
		code, text string
		since      models.Micros
	}
	setAside []string
	exposed  string
	reading  atomic.Bool // there is a problem with reading
}

func (h *health) get(now time.Time) models.StoreHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := models.StoreHealth{Healthy: true, SetAside: slices.Clone(h.setAside), Exposed: h.exposed}
	for i, p := range h.problems {
		if p.text == "" || trouble(i) == troublePast && at(now) > p.since+models.Micros(pastShown.Microseconds()) {
			continue
		}
		st.Healthy, st.Code, st.Problem, st.Since = false, p.code, p.text, p.since
		break
	}
	return st
}

// set records a problem, "" for none, and says whether that is news.
func (h *health) set(kind trouble, code, text string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &h.problems[kind]
	if p.text == text {
		return false
	}
	p.code, p.text, p.since = code, text, 0
	if text != "" {
		p.since = at(now)
	}
	if kind == troubleReading {
		h.reading.Store(text != "")
	}
	return true
}

func (h *health) addSetAside(files []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setAside = append(h.setAside, files...)
}

// setExposed records a directory that anybody may write into, and says whether that is news.
func (h *health) setExposed(dir string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.exposed == dir {
		return false
	}
	h.exposed = dir
	return true
}
