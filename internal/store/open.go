package store

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"netlyra/internal/models"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// embedded is the directory of our own migrations.
func embedded() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		panic(err) // the directory is compiled in
	}
	return sub
}

// readConns bounds the readers; each has a page cache of its own.
const readConns = 4

// open does the work of New. An existing file is first looked at without the right to write, so that a damaged or a
// newer one stays as it is.
func (s *Store) open(ctx context.Context) error {
	if err := s.preparePath(); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockFile(s.opts.Path); err != nil {
		return err
	}
	there, err := s.prepareFile()
	if err != nil {
		return err
	}
	have := int64(0)
	if there {
		if have, err = s.inspect(ctx); damaged(err) {
			have, err = 0, s.setAside(err.Error())
		}
		if err != nil {
			return err
		}
	}
	if err := s.openWriter(); err != nil {
		return err
	}
	if err := s.migrate(ctx, have); err != nil {
		return err
	}
	if err := s.openReaders(); err != nil {
		return err
	}
	if s.tables, err = newTables(); err != nil {
		return err
	}
	if s.stmts, err = prepare(ctx, s.write, s.tables); err != nil {
		return err
	}
	return s.startSweep(ctx)
}

// preparePath makes the directory and proves that files can be made in it: the database, its write-ahead log.
func (s *Store) preparePath() error {
	if s.opts.Path == "" {
		return errors.New("store: no database path: set --database")
	}
	path, err := filepath.Abs(s.opts.Path)
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	s.opts.Path = path
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return unwritable(path, err)
	}
	probe, err := os.CreateTemp(dir, ".netlyra-probe-*")
	if err != nil {
		return unwritable(path, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return unwritable(path, err)
	}
	return nil
}

// createPrivate makes the file, empty, for its owner and group alone: it tells who talks to whom. SQLite gives its other files
// the same mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return unwritable(path, err)
	}
	return f.Close()
}

// prepareFile looks at the file itself, and says whether there is a database to go on with: it sets garbage aside, and
// speaks up about an empty file.
func (s *Store) prepareFile() (there bool, err error) {
	path := s.opts.Path
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, createPrivate(path)
	}
	if err != nil {
		return false, unwritable(path, err)
	}
	if info.IsDir() {
		return false, fmt.Errorf("store: database %s is a directory: name a file with --database", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, unwritable(path, err)
	}
	head := make([]byte, len(fileHeader))
	n, err := io.ReadFull(f, head)
	if err := errors.Join(f.Close(), ignoreShort(err)); err != nil {
		return false, fmt.Errorf("store: read database %s: %w", path, err)
	}
	switch {
	case n == 0:
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "database file is empty, starting a new one",
			slog.String("path", path))
		return false, nil
	case !bytes.Equal(head, []byte(fileHeader)):
		return false, s.setAside("its header is not that of an SQLite database")
	}
	return true, nil
}

// fileHeader starts every SQLite database (https://sqlite.org/fileformat.html#magic_header_string).
const fileHeader = "SQLite format 3\x00"

// ignoreShort forgives a file that is shorter than its header.
func ignoreShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func unwritable(path string, err error) error {
	return fmt.Errorf("store: database %s cannot be written: %w: give user id %d the right to write it and its directory, "+
		"or choose another place with --database", path, err, os.Geteuid())
}

// inspect checks an existing database and reads the version of its schema, 0 for a database without ours.
func (s *Store) inspect(ctx context.Context) (version int64, err error) {
	db, err := sql.Open("sqlite", s.dsn("ro", url.Values{"_pragma": {"busy_timeout(5000)", "temp_store(MEMORY)"}}))
	if err != nil {
		return 0, fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := s.quickCheck(ctx, db); err != nil {
		return 0, err
	}
	var ours bool
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'").Scan(&ours)
	if err == nil && ours {
		err = db.QueryRowContext(ctx, "SELECT COALESCE(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	}
	if err != nil {
		return 0, fmt.Errorf("store: schema version of %s: %w", s.opts.Path, err)
	}
	return version, nil
}

// quickCheck asks SQLite whether the file is sound (https://sqlite.org/pragma.html#pragma_quick_check).
func (s *Store) quickCheck(ctx context.Context, db *sql.DB) error {
	start := time.Now()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("store: check database %s: %w", s.opts.Path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("store: check database %s: %w: %s", s.opts.Path, errDamaged, verdict)
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "database checked",
		slog.String("path", s.opts.Path), slog.Duration("took", time.Since(start)))
	return nil
}

// openWriter opens the one connection that writes.
func (s *Store) openWriter() (err error) {
	s.write, err = sql.Open("sqlite", s.dsn("rwc", url.Values{
		"_txlock": {"immediate"},
		// The driver runs these in alphabetical order: auto_vacuum must come before the first page is written.
		"_pragma": {
			"busy_timeout(1000)", "auto_vacuum(INCREMENTAL)", "cache_size(-65536)", "journal_mode(WAL)",
			"journal_size_limit(67108864)", "synchronous(FULL)", "temp_store(MEMORY)",
		},
	}))
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	s.write.SetMaxOpenConns(1)
	return nil
}

// setAside moves the database and its companions out of the way; it never deletes them.
func (s *Store) setAside(why string) error {
	stamp := s.opts.Now().UTC().Format("20060102T150405Z")
	target := s.opts.Path + ".corrupt-" + stamp
	for n := 2; exists(target); n++ {
		target = fmt.Sprintf("%s.corrupt-%s-%d", s.opts.Path, stamp, n)
	}
	var moved []string
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(s.opts.Path+suffix, target+suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("store: set damaged database %s aside: %w", s.opts.Path+suffix, err)
		}
		moved = append(moved, target+suffix)
	}
	s.health.addSetAside(moved)
	s.log.LogAttrs(context.Background(), slog.LevelError, "database is damaged, set aside, starting a new one",
		slog.String("path", s.opts.Path), slog.String("set_aside", target), slog.String("damage", why))
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openReaders opens the read-only connections. The file is there by now, with its write-ahead log.
func (s *Store) openReaders() error {
	c, err := newConnector(s.dsn("ro", url.Values{
		"_pragma": {"busy_timeout(1000)", "cache_size(-8192)", "query_only(1)", "temp_store(MEMORY)"},
	}))
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(readConns)
	db.SetMaxIdleConns(readConns)
	s.reads = db
	s.read, err = gorm.Open(gormsqlite.New(gormsqlite.Config{DriverName: "sqlite", Conn: db}),
		&gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true})
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	return nil
}

// dsn is the data source name of the file (https://sqlite.org/uri.html); characters that mean something there are escaped.
func (s *Store) dsn(mode string, q url.Values) string {
	q.Set("mode", mode)
	return "file:" + (&url.URL{Path: s.opts.Path}).EscapedPath() + "?" + q.Encode()
}

// migrate brings the schema from version have up to date, after a copy of the file if it held an older one.
func (s *Store) migrate(ctx context.Context, have int64) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, s.write, s.opts.migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	sources := p.ListSources() // in order of version
	want := sources[len(sources)-1].Version
	if have > want {
		return fmt.Errorf("%w: %s has schema version %d, this program knows %d: update the program, or choose another file "+
			"with --database", ErrNewerSchema, s.opts.Path, have, want)
	}
	if have > 0 && have < want {
		if err := s.copyBefore(ctx, want); err != nil {
			return err
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("store: bring %s from schema version %d to %d: %w", s.opts.Path, have, want, err)
	}
	return nil
}

// copyBefore keeps the database as it was before it gets schema version v.
func (s *Store) copyBefore(ctx context.Context, v int64) error {
	target := fmt.Sprintf("%s.before-v%d", s.opts.Path, v)
	// What lies there is from a migration that failed, of this same older schema.
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: copy %s before migration: %w", s.opts.Path, err)
	}
	if _, err := s.write.ExecContext(ctx, "VACUUM INTO ?", target); err != nil {
		return fmt.Errorf("store: copy %s to %s before migration: %w", s.opts.Path, target, err)
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "database copied before migration",
		slog.String("path", s.opts.Path), slog.String("copy", target), slog.Int64("to_version", v))
	return nil
}

// MaxConnectionID is the highest id of a stored connection, 0 without any: ids of this run must be above it.
func (s *Store) MaxConnectionID(ctx context.Context) (int64, error) {
	var id int64
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Model(&models.Connection{}).Select("COALESCE(MAX(id), 0)").Scan(&id).Error
	})
	return id, err
}
