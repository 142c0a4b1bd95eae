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
	"syscall"
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
		{"garbage header", func(t *testing.T, path string) { overwrite(t, path, 0, []byte("garbage!garbage!")) }},
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
	for _, garbage := range []string{"first garbage !!", "second garbage !"} {
		s, err := New(t.Context(), Options{Path: path})
		must(t, err)
		must(t, s.Close())
		overwrite(t, path, 0, []byte(garbage))
		s, err = New(t.Context(), Options{Path: path, Now: func() time.Time { return now }})
		must(t, err)
		must(t, s.Close())
	}
	for name, want := range map[string]string{
		path + ".corrupt-20261124T054133Z": "first garbage !!", path + ".corrupt-20261124T054133Z-2": "second garbage !",
	} {
		if got, err := os.ReadFile(name); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s: %v, or not the file that was damaged", name, err)
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

// TestDamageWhileRunning: a database whose damage shows only later is set aside, and what waits is saved in a new one.
func TestDamageWhileRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 2000)
	s := open(t, Options{Path: path})
	_, err := s.write.ExecContext(t.Context(), "PRAGMA cache_size = 1")
	must(t, err)
	s.unchecked = false
	info, err := os.Stat(path)
	must(t, err)
	overwrite(t, path, 4096, bytes.Repeat([]byte{0xa5}, int(info.Size())-4096)) // all but the header and the schema
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("a1", 1)))
	if _, err := s.Alert(t.Context(), "a1"); err != nil {
		t.Errorf("the alert that was acknowledged: %v", err)
	}
	h := s.Health()
	if h.Healthy || h.Code != models.StoreDamaged || len(h.SetAside) == 0 {
		t.Errorf("health %+v, want it to say what was set aside", h)
	}
}

// TestDamageThatComesAgain: where each new database is damaged too, acknowledgements end, and health says what to do.
func TestDamageThatComesAgain(t *testing.T) {
	s := open(t, Options{})
	w := newWriter(s)
	w.asides = maxAsides
	j := &job{ctx: t.Context(), done: make(chan error, 1), run: func(context.Context, *sql.Tx) error { return errDamaged }}
	if err := w.note(t.Context(), w.commitJobs(t.Context(), []*job{j})); !errors.Is(err, errDamaged) {
		t.Fatalf("%v, want %v", err, errDamaged)
	}
	if err := <-j.done; !errors.Is(err, errDamaged) {
		t.Errorf("the caller got %v", err)
	}
	must(t, w.note(t.Context(), nil))
	if h := s.Health(); h.Healthy || !strings.Contains(h.Problem, "damaged") || !strings.Contains(h.Problem, "restart") {
		t.Errorf("health %+v, want it damaged with the remedy, whatever is written afterwards", h)
	}
}

// TestDamageIsFoundInTheBackground: start does not wait for the check of the file; what it finds is set aside while running.
func TestDamageIsFoundInTheBackground(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 2000)
	info, err := os.Stat(path)
	must(t, err)
	overwrite(t, path, info.Size()/2, bytes.Repeat([]byte{0xa5}, 8*4096))
	s := open(t, Options{Path: path, RetainEvery: time.Millisecond})
	if h := s.Health(); !h.Healthy || len(h.SetAside) > 0 {
		t.Fatalf("health %+v before the check", h)
	}
	run(t, s)
	deadline := time.Now().Add(30 * time.Second)
	for len(s.Health().SetAside) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("health %+v, want the damaged database set aside", s.Health())
		}
		time.Sleep(5 * time.Millisecond)
	}
	must(t, s.SaveAlert(t.Context(), testAlert("a1", 1)))
	if _, err := s.Alert(t.Context(), "a1"); err != nil {
		t.Error(err)
	}
}

// TestWhatIsNotOursIsRefused: and stays as it is, byte for byte.
func TestWhatIsNotOursIsRefused(t *testing.T) {
	sqliteFile := func(statements ...string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			db, err := sql.Open("sqlite", "file:"+path)
			must(t, err)
			for _, q := range statements {
				_, err := db.ExecContext(t.Context(), q)
				must(t, err)
			}
			must(t, db.Close())
		}
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"a capture", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, bytes.Repeat([]byte("\xd4\xc3\xb2\xa1"), 100), 0o600))
		}, ErrForeign},
		{"a short file", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("SQL"), 0o600)) }, ErrForeign},
		{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, nil},
		{"a FIFO", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }, ErrForeign},
		{"a device", func(t *testing.T, path string) { must(t, os.Symlink(os.DevNull, path)) }, ErrForeign},
		{"another program's database", sqliteFile("CREATE TABLE alerts (x)"), ErrForeign},
		{"one with an id of its own", sqliteFile("CREATE TABLE alerts (x)", "CREATE TABLE connections (x)",
			"CREATE TABLE goose_db_version (version_id, is_applied)", "PRAGMA application_id = 7"), ErrForeign},
		{"a newer format of SQLite", func(t *testing.T, path string) {
			fill(t, path, 1)
			overwrite(t, path, readVersion, []byte{3})
		}, ErrNewerSchema},
		{"another program's, damaged", func(t *testing.T, path string) {
			sqliteFile("CREATE TABLE alerts (x)")(t, path)
			overwrite(t, path, 100, bytes.Repeat([]byte{0xa5}, 4096))
		}, ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.db")
			tt.make(t, path)
			before := listing(t, dir)
			_, err := New(t.Context(), Options{Path: path})
			for _, err := range []error{err, Check(t.Context(), Options{Path: path})} {
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--database") {
					t.Errorf("%v, want %v with the path and the remedy", err, tt.want)
				}
			}
			if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
		})
	}
}

// listing is what a directory holds: the bytes of files, the type of all else.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	out := map[string]string{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			out[e.Name()] = e.Type().String()
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		out[e.Name()] = string(b)
	}
	return out
}

// TestFilesArePrivate: whatever way the files come to be.
func TestFilesArePrivate(t *testing.T) {
	old := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(old) })
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "x.db")
	fill(t, path, 1)
	overwrite(t, path, 0, []byte("garbage!garbage!"))
	fill(t, path, 1)
	must(t, os.Chmod(path, 0o644))                                //nolint:gosec // that is what is to be mended
	must(t, os.WriteFile(filepath.Join(dir, "y.db"), nil, 0o666)) //nolint:gosec // likewise
	fill(t, filepath.Join(dir, "y.db"), 1)
	s := open(t, Options{Path: path, migrations: versions(t, "CREATE TABLE later (x INTEGER);")})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("a", 1)))
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o750 {
		t.Errorf("the directory has mode %o", info.Mode().Perm())
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) < 6 {
		t.Errorf("%d files, want the databases, the log, the one set aside and the copy", len(entries))
	}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s has mode %o: others may use it", e.Name(), info.Mode().Perm())
		}
	}
}

func TestWorldWritableDirectoryIsSaid(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777)) //nolint:gosec // that is what is to be said
	log, text := testLog()
	s := open(t, Options{Path: filepath.Join(dir, "x.db"), Log: log})
	if h := s.Health(); h.Exposed != dir || !strings.Contains(text.String(), "level=WARN") {
		t.Errorf("health %+v, log %q", h, text)
	}
}

// TestTheLockIsTheFiles: another name of the same file does not get round it.
func TestTheLockIsTheFiles(t *testing.T) {
	s := open(t, Options{})
	dir := t.TempDir()
	for name, link := range map[string]func(string, string) error{"symlink": os.Symlink, "hard link": os.Link} {
		path := filepath.Join(dir, name)
		must(t, link(s.opts.Path, path))
		if _, err := New(t.Context(), Options{Path: path}); !errors.Is(err, ErrInUse) {
			t.Errorf("by a %s: %v, want ErrInUse", name, err)
		}
	}
}

func TestTemporaryDatabase(t *testing.T) {
	s, err := New(t.Context(), Options{Temporary: true})
	must(t, err)
	stop := run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("a", 1)))
	info, err := os.Stat(filepath.Dir(s.opts.Path))
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("its directory has mode %o", info.Mode().Perm())
	}
	stop()
	must(t, s.Close())
	if exists(filepath.Dir(s.opts.Path)) {
		t.Error("it is still there after Close")
	}
}

// TestTheFileGoesAway: a database that is deleted, moved or replaced is noticed; nothing is acknowledged into it, and the store goes on
// in the file that is there then.
func TestTheFileGoesAway(t *testing.T) {
	for _, tt := range []struct {
		name string
		take func(t *testing.T, path string)
		old  bool // alerts from before are there
	}{
		{"deleted", func(t *testing.T, path string) { must(t, os.Remove(path)) }, false},
		{"deleted with its log", func(t *testing.T, path string) {
			must(t, errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm")))
		}, false},
		{"moved", func(t *testing.T, path string) { must(t, os.Rename(path, path+".old")) }, false},
		{"directory removed", func(t *testing.T, path string) { must(t, os.RemoveAll(filepath.Dir(path))) }, false},
		{"directory moved", func(t *testing.T, path string) { must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+".old")) }, false},
		{"replaced by a copy", func(t *testing.T, path string) {
			other := filepath.Join(t.TempDir(), "y.db")
			fill(t, other, 3)
			must(t, os.Rename(other, path))
		}, false},
		{"log deleted", func(t *testing.T, path string) { must(t, os.Remove(path+"-wal")) }, true},
		{"log replaced", func(t *testing.T, path string) {
			must(t, errors.Join(os.Rename(path+"-wal", path+".w"), os.WriteFile(path+"-wal", []byte("restored"), 0o600)))
		}, true},
		{"shared memory deleted", func(t *testing.T, path string) { must(t, os.Remove(path+"-shm")) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data", "x.db")
			log, text := testLog()
			s := open(t, Options{Path: path, Log: log})
			stop := run(t, s)
			must(t, s.SaveAlert(t.Context(), testAlert("before", 1)))
			tt.take(t, path)
			s.OfferConnections([]models.Connection{testConnection(1)})
			must(t, s.SaveAlert(t.Context(), testAlert("after", 2))) // at once: nobody has looked at the files yet
			h := s.Health()
			if h.Healthy || h.Code != models.StoreGone || !strings.Contains(text.String(), "level=ERROR") {
				t.Errorf("health %+v, log %q", h, text)
			}
			if _, err := s.Alert(t.Context(), "after"); err != nil {
				t.Error(err)
			}
			stop()
			must(t, s.Close())
			again := open(t, Options{Path: path})
			if _, err := again.Alert(t.Context(), "after"); err != nil {
				t.Errorf("the alert that was acknowledged: %v", err)
			}
			if _, err := again.Alert(t.Context(), "before"); (err == nil) != tt.old {
				t.Errorf("the alert from before: %v", err)
			}
			if c, err := again.Counts(t.Context()); err != nil || c.Connections != 1 {
				t.Errorf("%+v, %v: the connection that waited is lost", c, err)
			}
		})
	}
}

// TestAForeignFileTakesThePlace: it is left alone, alerts wait, and once it is gone they are saved.
func TestAForeignFileTakesThePlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := open(t, Options{Path: path, RetainEvery: time.Millisecond})
	run(t, s)
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, []byte("somebody else's"), 0o600))
	waitHealth(t, s, false, "not a database")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.SaveAlert(ctx, testAlert("a", 1)); !errors.Is(err, models.ErrUnwritable) {
		t.Errorf("%v, want ErrUnwritable", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "somebody else's" {
		t.Errorf("%q, %v", got, err)
	}
	must(t, os.Remove(path))
	must(t, s.SaveAlert(t.Context(), testAlert("a", 1)))
}

// TestStartBesideALockedDatabase: what can be read is served, alerts wait, and it recovers unaided.
func TestStartBesideALockedDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 3)
	for _, mode := range []string{"immediate", "exclusive"} {
		t.Run(mode, func(t *testing.T) {
			other, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=locking_mode("+map[string]string{"immediate": "normal", "exclusive": "exclusive"}[mode]+")")
			must(t, err)
			t.Cleanup(func() { must(t, other.Close()) })
			tx, err := other.BeginTx(t.Context(), nil)
			must(t, err)
			_, err = tx.ExecContext(t.Context(), "PRAGMA user_version = 0")
			must(t, err)
			s := open(t, Options{Path: path})
			run(t, s)
			_, err = s.Alert(t.Context(), "a0")
			if mode == "immediate" {
				must(t, err)
			} else if !errors.Is(err, models.ErrBusy) {
				t.Errorf("reading: %v, want ErrBusy", err)
			}
			if id, err := s.MaxConnectionID(t.Context()); err != nil || (id == 0) == (mode == "exclusive") {
				t.Errorf("highest connection %d, %v", id, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			if err := s.SetTriage(ctx, "a0", models.TriageHidden, somebody); !errors.Is(err, models.ErrBusy) {
				t.Errorf("deciding: %v, want ErrBusy", err)
			}
			waitHealth(t, s, false, "locked")
			must(t, tx.Rollback())
			must(t, other.Close())
			must(t, s.SaveAlert(t.Context(), testAlert("new "+mode, 1)))
			waitHealth(t, s, true, "")
			if _, err := s.Alert(t.Context(), "new "+mode); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMigrationBesideALockedDatabase: where the schema has to be brought up to date first, that is said.
func TestMigrationBesideALockedDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	fill(t, path, 3)
	other, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	tx, err := other.BeginTx(t.Context(), nil)
	must(t, err)
	s := open(t, Options{Path: path, migrations: versions(t, "CREATE TABLE later (x INTEGER);")})
	run(t, s)
	waitHealth(t, s, false, "up to date")
	must(t, tx.Rollback())
	must(t, s.SaveAlert(t.Context(), testAlert("new", 1)))
	waitHealth(t, s, true, "")
}

// TestReadsThatFailAreKnown: a log that somebody has overwritten is known to health though writing goes on.
func TestReadsThatFailAreKnown(t *testing.T) {
	s := open(t, Options{QueryTimeout: 10 * time.Second})
	_, err := s.readers.Load().db.ExecContext(t.Context(), "PRAGMA cache_size = 1")
	must(t, err)
	stop := run(t, s)
	for i := range 50 {
		must(t, s.SaveAlert(t.Context(), testAlert(fmt.Sprint("a", i), models.Micros(i+1))))
	}
	stop()
	info, err := os.Stat(s.opts.Path + "-wal")
	must(t, err)
	overwrite(t, s.opts.Path+"-wal", 32, bytes.Repeat([]byte{0xa5}, int(info.Size())-32))
	if _, err := s.Alerts(t.Context(), models.AlertQuery{Triage: models.TriageAll}); !errors.Is(err, models.ErrUnreadable) {
		t.Fatalf("%v, want ErrUnreadable", err)
	}
	h := s.Health()
	if h.Healthy || h.Code != models.StoreUnreadable || !s.suspect.Load() {
		t.Errorf("health %+v, want it to know", h)
	}
}

// TestProblemsSayWhatIsSo: an I/O error is no damage.
func TestProblemsSayWhatIsSo(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code string
		want string
		not  string
	}{
		{"I/O error", &os.PathError{Op: "write", Path: "x", Err: syscall.EIO}, models.StoreFailing, "cannot be written", "is damaged: restart"},
		{"no space", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, models.StoreFull, "full", "damaged"},
		{"no descriptors", &os.PathError{Op: "open", Path: "x", Err: syscall.EMFILE}, models.StoreDescriptors, "file descriptors", "damaged"},
		{"damage", fmt.Errorf("x: %w", errDamaged), models.StoreDamaged, "is damaged", "disk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, text := problem("x.db", tt.err)
			if code != tt.code || !strings.Contains(text, tt.want) || strings.Contains(text, tt.not) {
				t.Errorf("%s: %s", code, text)
			}
		})
	}
}
