package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// logged collects what is logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testLog() (*slog.Logger, *logged) {
	l := &logged{}
	return slog.New(slog.NewTextHandler(l, nil)), l
}

// fill makes a database with some rows, and closes it.
func fill(t *testing.T, path string, alerts int) {
	t.Helper()
	s, err := New(t.Context(), Options{Path: path})
	must(t, err)
	stop := run(t, s)
	batch := make([]*models.Alert, alerts)
	for i := range batch {
		batch[i] = testAlert(fmt.Sprint("a", i), models.Micros(i+1))
	}
	must(t, s.SaveAlerts(t.Context(), batch))
	stop()
	must(t, s.Close())
}

func TestUnusablePathsAreNamed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	for _, tt := range []struct{ name, path, want string }{
		{"no path", "", "--database"},
		{"below a file", filepath.Join(file, "x.db"), filepath.Join(file, "x.db")},
		{"a directory", dir, dir + " is a directory"},
		{"where nobody may write", "/proc/netlyra/x.db", "/proc/netlyra/x.db"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(t.Context(), Options{Path: tt.path})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "--database") {
				t.Errorf("error %v, want one with %q and the remedy", err, tt.want)
			}
		})
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("running as root, which may write everywhere: /proc above stands for a read-only directory")
		return
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o500)) //nolint:gosec // a directory
	if _, err := New(t.Context(), Options{Path: filepath.Join(dir, "x.db")}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v, want a permission error", err)
	}
}

func TestOddCharactersInThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41&é", "x?mode=memory.db")
	s := open(t, Options{Path: path})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("a", 1)))
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("nothing at %s: %v", path, err)
	}
}

func TestEmptyFileIsLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	must(t, os.WriteFile(path, nil, 0o600))
	log, text := testLog()
	open(t, Options{Path: path, Log: log})
	if !strings.Contains(text.String(), "level=WARN") || !strings.Contains(text.String(), path) {
		t.Errorf("log %q, want a warning that names %s", text, path)
	}
}

// TestDamagedDatabaseIsSetAside: whatever is wrong with the file, it is kept, a new one works, and everybody is told.
func TestDamagedDatabaseIsSetAside(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"garbage header", func(t *testing.T, path string) { overwrite(t, path, 0, bytes.Repeat([]byte("garbage!"), 100)) }},
		{"shorter than a header", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("SQL"), 0o600)) }},
		{"damaged pages", func(t *testing.T, path string) {
			overwrite(t, path, 8192, bytes.Repeat([]byte{0xa5}, 16*4096))
		}},
		{"cut short", func(t *testing.T, path string) { must(t, os.Truncate(path, 9*4096)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			fill(t, path, 500)
			tt.damage(t, path)
			must(t, os.WriteFile(path+"-wal", []byte("wal"), 0o600))
			damaged, err := os.ReadFile(path)
			must(t, err)

			log, text := testLog()
			now := time.Date(2026, 11, 24, 5, 41, 33, 0, time.UTC)
			s := open(t, Options{Path: path, Log: log, Now: func() time.Time { return now }})
			run(t, s)
			must(t, s.SaveAlert(t.Context(), testAlert("new", 1)))

			aside := path + ".corrupt-20261124T054133Z"
			kept, err := os.ReadFile(aside)
			must(t, err)
			if !bytes.Equal(damaged, kept) {
				t.Error("what was set aside is not the file that was there")
			}
			if h := s.Health(); len(h.SetAside) == 0 || h.SetAside[0] != aside || !h.Healthy {
				t.Errorf("health %+v, want %s in it", h, aside)
			}
			if !strings.Contains(text.String(), "level=ERROR") || !strings.Contains(text.String(), aside) {
				t.Errorf("log %q, want an error that names %s", text, aside)
			}
		})
	}
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Close()))
}

// TestSetAsideNeverOverwrites: a second damaged database in the same second gets a name of its own.
func TestSetAsideNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	now := time.Date(2026, 11, 24, 5, 41, 33, 0, time.UTC)
	for _, garbage := range []string{"first garbage, long enough", "second garbage, long enough"} {
		must(t, os.WriteFile(path, []byte(garbage), 0o600))
		s, err := New(t.Context(), Options{Path: path, Now: func() time.Time { return now }})
		must(t, err)
		must(t, s.Close())
	}
	for name, want := range map[string]string{
		path + ".corrupt-20261124T054133Z": "first garbage, long enough", path + ".corrupt-20261124T054133Z-2": "second garbage, long enough",
	} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// schemaVersion is the version of our own migrations.
func schemaVersion(t *testing.T) int {
	t.Helper()
	files, err := fs.ReadDir(embedded(), ".")
	must(t, err)
	return len(files)
}

// versions are our migrations with others after them.
func versions(t *testing.T, extra ...string) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	files, err := fs.ReadDir(embedded(), ".")
	must(t, err)
	for _, f := range files {
		own, err := fs.ReadFile(embedded(), f.Name())
		must(t, err)
		fsys[f.Name()] = &fstest.MapFile{Data: own}
	}
	for i, sql := range extra {
		fsys[fmt.Sprintf("%05d_more.sql", schemaVersion(t)+i+1)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)}
	}
	return fsys
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := New(t.Context(), Options{Path: path, migrations: versions(t, "CREATE TABLE later (x INTEGER);")})
	must(t, err)
	must(t, s.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	_, err = New(t.Context(), Options{Path: path})
	versions := fmt.Sprintf("version %d, this program knows %d", schemaVersion(t)+1, schemaVersion(t))
	if !errors.Is(err, ErrNewerSchema) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), versions) {
		t.Errorf("%v, want ErrNewerSchema naming the file and both versions", err)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the refused database was changed")
	}
}

func TestOlderSchemaIsCopiedAndMigrated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 10)
	s, err := New(t.Context(), Options{Path: path, migrations: versions(t, "CREATE TABLE later (x INTEGER);")})
	must(t, err)
	var n int
	must(t, s.write.QueryRowContext(t.Context(), "SELECT count(*) FROM later").Scan(&n))
	c, err := s.Counts(t.Context())
	must(t, err)
	must(t, s.Close())
	// A database of the version before, with everything in it.
	copied := open(t, Options{Path: fmt.Sprintf("%s.before-v%d", path, schemaVersion(t)+1)})
	old, err := copied.Counts(t.Context())
	must(t, err)
	if c.Alerts != 10 || old.Alerts != 10 {
		t.Errorf("%d alerts after, %d in the copy, want 10 and 10", c.Alerts, old.Alerts)
	}
}

// TestDecisionsSurviveTheMigration: what a person had decided before there were exceptions comes back after one.
func TestDecisionsSurviveTheMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	old, err := sql.Open("sqlite", "file:"+path)
	must(t, err)
	first, err := fs.ReadFile(embedded(), "00001_init.sql")
	must(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, old, fstest.MapFS{"00001_init.sql": {Data: first}}, goose.WithDisableGlobalRegistry(true))
	must(t, err)
	_, err = p.Up(t.Context())
	must(t, err)
	for _, triage := range models.Triages() {
		_, err = old.ExecContext(t.Context(), `INSERT INTO alerts VALUES (?1, 1, '10.0.0.1', '10.0.0.2', 0, 0, 'TCP', 0.9, '{}', 1, 1, 1, 'open',
			's', 'anomaly', 'low', 'x', '[]', '[]', '', '{"total":0,"top":null}', '{"total":0,"top":null}', '', '{}', 1, ?1, ?2)`, string(triage), time.Now().UnixMicro())
		must(t, err)
	}
	must(t, old.Close())
	s := open(t, Options{Path: path})
	run(t, s)
	e := addException(t, s, hostException("10.0.0.1"))
	if e.Hits != 2 {
		t.Errorf("%d hits, want 2", e.Hits)
	}
	check(t, s, "acknowledged", decision{models.TriageHidden, e.ID})
	must(t, s.RemoveException(t.Context(), e.ID, somebody))
	for _, triage := range models.Triages() {
		check(t, s, string(triage), decision{triage, ""})
	}
}

func TestFailedMigrationLeavesTheOldSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 10)
	broken := versions(t, "CREATE TABLE half (x INTEGER); SELECT nonsense FROM nowhere;")
	for range 2 { // the second attempt finds the first one's copy
		if _, err := New(t.Context(), Options{Path: path, migrations: broken}); err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("%v, want an error that names %s", err, path)
		}
	}
	s := open(t, Options{Path: path})
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Alerts != 10 {
		t.Errorf("%d alerts, want 10", c.Alerts)
	}
	if cols := columns(t, s.write, "half"); len(cols) > 0 {
		t.Error("half of the migration is left")
	}
}

// lockDatabase holds the lock for writing from another connection, as another program would.
func lockDatabase(t *testing.T, s *Store) (unlock func()) {
	t.Helper()
	_, err := s.write.ExecContext(t.Context(), "PRAGMA busy_timeout = 1") // not to wait 5 s in a test
	must(t, err)
	other, err := sql.Open("sqlite", s.dsn("rw", map[string][]string{
		"_txlock": {"immediate"}, "_pragma": {"busy_timeout(5000)"},
	}))
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	tx, err := other.BeginTx(t.Context(), nil)
	must(t, err)
	return func() {
		t.Helper()
		must(t, tx.Rollback())
	}
}

// TestLockedDatabase: while another program holds the lock alerts wait, nobody is told that they are saved, and they are
// saved when it lets go.
func TestLockedDatabase(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	unlock := lockDatabase(t, s)
	saved := make(chan error, 1)
	go func() { saved <- s.SaveAlert(t.Context(), testAlert("waits", 1)) }()
	waitHealth(t, s, false, "locked")

	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := s.SaveAlert(short, testAlert("gives up", 1))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("%v, want the context's error with what is wrong", err)
	}
	select {
	case err := <-saved:
		t.Fatalf("acknowledged while locked: %v", err)
	default:
	}
	unlock()
	must(t, <-saved)
	waitHealth(t, s, true, "")
}

// waitHealth waits until the store is as healthy as that.
func waitHealth(t *testing.T, s *Store, healthy bool, problem string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		h := s.Health()
		if h.Healthy == healthy && strings.Contains(h.Problem, problem) && (h.Since == 0) == healthy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("health %+v, want healthy=%v with %q", h, healthy, problem)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestSecondOpenIsRefused: two writers would give out the same connection ids.
func TestSecondOpenIsRefused(t *testing.T) {
	s := open(t, Options{})
	_, err := New(t.Context(), Options{Path: s.opts.Path})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), s.opts.Path) || !strings.Contains(err.Error(), "--database") {
		t.Errorf("%v, want ErrInUse naming the file and the remedy", err)
	}
	must(t, s.Close())
	open(t, Options{Path: s.opts.Path})
}

// TestHealthRecoversWithoutAWrite: a problem that is over is not shown until somebody happens to write.
func TestHealthRecoversWithoutAWrite(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	unlock := lockDatabase(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.SaveAlert(ctx, testAlert("a", 1)); err == nil {
		t.Fatal("acknowledged while locked")
	}
	time.Sleep(20 * time.Millisecond) // nobody waits any more; it must not look well by itself
	waitHealth(t, s, false, "locked")
	unlock()
	waitHealth(t, s, true, "")
}

// TestDrainGivesUp: the end comes in time, alerts are told, the rest is counted.
func TestDrainGivesUp(t *testing.T) {
	s := open(t, Options{DrainTimeout: 50 * time.Millisecond})
	unlock := lockDatabase(t, s)
	stop := run(t, s)
	saved := make(chan error, 1)
	go func() { saved <- s.SaveAlert(context.WithoutCancel(t.Context()), testAlert("lost", 1)) }()
	waitHealth(t, s, false, "locked")
	s.OfferConnections([]models.Connection{testConnection(1), testConnection(2)})
	s.OfferHosts([]models.Host{{IP: "192.0.2.1"}})
	stop()
	if err := <-saved; !errors.Is(err, ErrClosed) {
		t.Errorf("the waiting alert: %v, want ErrClosed", err)
	}
	want := []models.Drop{
		{Stage: "store.connections", Reason: "shutdown", Count: 2, Unit: models.DropRows, Effect: models.DropUnstored}, {Stage: "store.hosts", Reason: "shutdown", Count: 1, Unit: models.DropRows, Effect: models.DropUnstored},
	}
	if diff := cmp.Diff(want, s.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
	unlock()
}

// TestDamageWhileRunning: damage that shows only later ends acknowledgements for good, and says what to do.
func TestDamageWhileRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 2000)
	s := open(t, Options{Path: path})
	_, err := s.write.ExecContext(t.Context(), "PRAGMA cache_size = 1")
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	overwrite(t, path, 4096, bytes.Repeat([]byte{0xa5}, int(info.Size())-4096)) // all but the header and the schema
	run(t, s)
	if err := s.SaveAlert(t.Context(), testAlert("a1", 1)); err == nil {
		t.Fatal("acknowledged in a damaged database")
	}
	h := s.Health()
	if h.Healthy || !strings.Contains(h.Problem, "damaged") || !strings.Contains(h.Problem, "restart") {
		t.Errorf("health %+v, want it damaged with the remedy", h)
	}
}
