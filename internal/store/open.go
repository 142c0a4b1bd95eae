package store

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pressly/goose/v3"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"netlyra/internal/dir"
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

// applicationID marks a database as ours: "NLyr" (https://sqlite.org/pragma.html#pragma_application_id).
const applicationID = 0x4e4c7972

// The header of an SQLite database (https://sqlite.org/fileformat.html#the_database_header).
const (
	fileHeader   = "SQLite format 3\x00"
	headerLen    = 100
	writeVersion = 18 // where the versions of the file format stand, one byte each
	readVersion  = 19
	newestFormat = 2 // write-ahead log
	idAt         = 68
)

// readers are the connections that read.
type readers struct {
	db        *sql.DB
	gorm      *gorm.DB
	immutable bool // opened without a write-ahead log: it sees nothing new
}

// open opens what is not open yet, step by step: the file and its lock, the readers, the writer. Where a step fails, what is open
// stays open, and the next call goes on from there. An error that transient accepts may be over then.
func (s *Store) open(ctx context.Context) error {
	if s.lock == nil {
		if err := s.openFile(); err != nil {
			return err
		}
	}
	err := s.openDatabase(ctx)
	if damaged(err) && s.ours {
		if err = s.setAside(err.Error()); err == nil {
			err = s.open(ctx)
		}
	} else if damaged(err) {
		err = s.unknownDamage(err)
	}
	return err
}

func (s *Store) unknownDamage(err error) error {
	return fmt.Errorf("%w: %s is damaged, and nothing says that it has been netlyra's: name another file with --database, or move this "+
		"one away: %w", ErrForeign, s.opts.Path, err)
}

func (s *Store) openDatabase(ctx context.Context) error {
	if !s.inspected {
		if err := s.inspect(ctx); err != nil {
			return err
		}
	}
	want, err := s.wantedVersion()
	if err != nil {
		return err
	}
	if s.version == want && s.readers.Load() == nil {
		if err := s.openReaders(ctx); err != nil && !transient(err) { // the writer may do without, and says what is wrong
			return err
		}
	}
	return s.openForWriting(ctx, want)
}

// wantedVersion is the version that the schema is to have; an error if the database has a newer one.
func (s *Store) wantedVersion() (int64, error) {
	want, err := newestVersionOf(s.opts.migrations)
	if err == nil && s.version > want {
		err = fmt.Errorf("%w: %s has schema version %d, this program knows %d: update the program, or choose another file "+
			"with --database", ErrNewerSchema, s.opts.Path, s.version, want)
	}
	return want, err
}

// openForWriting opens the writer, brings the schema up to date, and makes ready what the writer needs.
func (s *Store) openForWriting(ctx context.Context, want int64) (err error) {
	w, err := s.openWriter(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stmts.close(), w.Close())
			s.write, s.stmts = nil, statements{}
		}
	}()
	s.write = w
	if err := s.migrate(ctx, want); err != nil {
		return err
	}
	if r := s.readers.Load(); r == nil || r.immutable {
		if err := s.openReaders(ctx); err != nil {
			return err
		}
	}
	if s.stmts, err = prepare(ctx, s.write, s.tables); err != nil {
		return err
	}
	if err := s.startSweep(ctx); err != nil {
		return err
	}
	return s.noteFiles()
}

// openFile finds the file, or makes it, and takes its lock. What is not ours is refused.
func (s *Store) openFile() (err error) {
	if err := s.preparePath(); err != nil {
		return err
	}
	path := s.opts.Path
	info, err := lookAt(path)
	switch {
	case err != nil:
		return err
	case info == nil:
		if err := createPrivate(path); err != nil {
			return err
		}
	case info.Mode().Perm()&0o007 != 0:
		_ = os.Chmod(path, info.Mode().Perm()&^0o007) // what we do not own stays as it is
	}
	f, err := openLocked(path)
	if err != nil {
		return err
	}
	if err := s.readHeader(f); err != nil {
		if errors.Is(err, errSetAside) {
			s.lock = f
			if err = s.setAside("its header is not that of an SQLite database"); err == nil {
				return s.openFile()
			}
			return err
		}
		return errors.Join(err, f.Close())
	}
	if s.fresh && info != nil {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "database file is empty, starting a new one", slog.String("path", path))
	}
	s.lock, s.inspected, s.version = f, false, 0
	return nil
}

// lookAt says what is at path; nil for nothing. What cannot be a database is an error.
func lookAt(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, unwritable(path, err)
	case info.IsDir():
		return nil, fmt.Errorf("store: database %s is a directory: name a file with --database", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a regular file: name another one with --database", ErrForeign, path)
	}
	return info, nil
}

// openLocked opens an existing file and takes its lock.
func openLocked(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, unwritable(path, err)
	}
	if err := lockFile(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// errSetAside: the file has been ours, and is damaged.
var errSetAside = errors.New("store: damaged header")

// readHeader looks at the file's first bytes.
func (s *Store) readHeader(f *os.File) error {
	head := make([]byte, headerLen)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("store: read database %s: %w", s.opts.Path, err)
	}
	s.fresh = n == 0
	s.ours = s.fresh || n == headerLen && binary.BigEndian.Uint32(head[idAt:]) == applicationID
	switch {
	case s.fresh:
		return nil
	case !bytes.HasPrefix(head[:n], []byte(fileHeader)) && s.ours:
		return errSetAside
	case !bytes.HasPrefix(head[:n], []byte(fileHeader)):
		return fmt.Errorf("%w: %s is not a database: name another file with --database, or move this one away if it has been "+
			"netlyra's", ErrForeign, s.opts.Path)
	case head[writeVersion] > newestFormat || head[readVersion] > newestFormat:
		return fmt.Errorf("%w: %s has version %d of SQLite's file format, this program knows %d: update the program, or choose another "+
			"file with --database", ErrNewerSchema, s.opts.Path, max(head[writeVersion], head[readVersion]), newestFormat)
	}
	return nil
}

// preparePath makes the directory and proves that files can be made in it: the database, its write-ahead log.
func (s *Store) preparePath() error {
	path, err := filepath.Abs(s.opts.Path)
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	s.opts.Path = path
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return unwritable(path, err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return unwritable(path, err)
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 && s.health.setExposed(folder) {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "anybody on this machine may write into the directory of the database: take that right away",
			slog.String("directory", folder), slog.String("mode", info.Mode().Perm().String()))
	}
	return roomFor(path)
}

// roomFor proves that files can be made beside path. A full disk is for later, and may be over then.
func roomFor(path string) error {
	err := dir.Writable(filepath.Dir(path))
	if err == nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) {
		return nil
	}
	return unwritable(path, err)
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

func unwritable(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EIO) {
		return fmt.Errorf("store: database %s: %w", path, err)
	}
	return fmt.Errorf("store: database %s cannot be written: %w: %s, or choose another place with --database",
		path, err, dir.Remedy("it and its directory"))
}

// inspect says whether an existing database is ours, and reads the version of its schema, without the right to write. A database that
// was made before there was an application id is recognized by its tables.
func (s *Store) inspect(ctx context.Context) (err error) {
	if s.fresh {
		s.inspected = true
		return nil
	}
	db, immutable, err := s.openReadOnly(ctx, "temp_store(MEMORY)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := s.recognize(ctx, db); err != nil {
		return err
	}
	s.inspected = true
	s.unchecked = !immutable
	return nil
}

// recognize says whether an open database is ours, and reads the version of its schema.
func (s *Store) recognize(ctx context.Context, db *sql.DB) error {
	var id uint32
	var ours, empty bool
	err := db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) = 0 FROM sqlite_master),
		(SELECT count(*) = 3 FROM sqlite_master WHERE name IN ('goose_db_version', 'alerts', 'connections'))`).Scan(&id, &empty, &ours)
	if err != nil {
		return fmt.Errorf("store: schema of %s: %w", s.opts.Path, err)
	}
	s.ours = id == applicationID || id == 0 && (ours || empty)
	if !s.ours {
		return fmt.Errorf("%w: %s is the database of another program: name another file with --database", ErrForeign, s.opts.Path)
	}
	if ours {
		err = db.QueryRowContext(ctx, "SELECT COALESCE(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&s.version)
		if err != nil {
			return fmt.Errorf("store: schema version of %s: %w", s.opts.Path, err)
		}
	}
	return nil
}

// openReadOnly opens the database for reading. Where not even the shared memory of a write-ahead log can be made, as on a full disk,
// and there is no such log, it opens the file as one that does not change.
func (s *Store) openReadOnly(ctx context.Context, pragmas ...string) (db *sql.DB, immutable bool, err error) {
	for _, immutable := range []bool{false, true} {
		q := url.Values{"_pragma": append([]string{"busy_timeout(1000)"}, pragmas...)}
		if immutable {
			if info, err := os.Stat(s.opts.Path + "-wal"); err == nil && info.Size() > 0 {
				break
			}
			q.Set("immutable", "1")
		}
		c, e := newConnector(s.dsn("ro", q))
		if e != nil {
			return nil, false, e
		}
		db := sql.OpenDB(c)
		var n int
		e = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&n)
		if e == nil {
			return db, immutable, nil
		}
		err = errors.Join(fmt.Errorf("store: database %s: %w", s.opts.Path, e), db.Close())
		if !noRoom(e) {
			break
		}
	}
	return nil, false, err
}

// openWriter opens the one connection that writes. A new database gets our mark before its first page is written otherwise, so that
// it stands in the file's header.
func (s *Store) openWriter(ctx context.Context) (*sql.DB, error) {
	if s.fresh {
		if err := s.mark(ctx); err != nil {
			return nil, err
		}
		s.fresh = false
	}
	db, err := sql.Open("sqlite", s.dsn("rw", url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(1000)", "cache_size(-8192)", "journal_mode(WAL)",
			fmt.Sprintf("journal_size_limit(%d)", s.walBytes()), fmt.Sprintf("wal_autocheckpoint(%d)", max(64, s.walBytes()/2/pageBytes)),
			"synchronous(FULL)", "temp_store(MEMORY)",
		},
	}))
	if err != nil {
		return nil, fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("store: database %s: %w", s.opts.Path, err), db.Close())
	}
	return db, nil
}

// pageBytes is the size of a page, SQLite's default.
const pageBytes = 4096

// walBytes is how large the write-ahead log may become: 64 MiB, less where the database may not be large.
func (s *Store) walBytes() int64 { return max(1<<20, min(64<<20, s.opts.MaxBytes/16)) }

// mark writes the first page of a new database, with our mark.
func (s *Store) mark(ctx context.Context) (err error) {
	db, err := sql.Open("sqlite", s.dsn("rw", url.Values{"_pragma": {"auto_vacuum(INCREMENTAL)", "busy_timeout(1000)"}}))
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	return nil
}

// setAside moves the database and its companions out of the way; it never deletes them. The files are renamed before they are
// closed: SQLite folds no log into a file that has moved.
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
	if err := s.closeFiles(); err != nil {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "the damaged database was not closed in order", slog.Any("error", err))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// openReaders opens the read-only connections.
func (s *Store) openReaders(ctx context.Context) error {
	db, immutable, err := s.openReadOnly(ctx, "cache_size(-2048)", "query_only(1)", "temp_store(MEMORY)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(readConns)
	db.SetMaxIdleConns(readConns)
	r := &readers{db: db, immutable: immutable}
	r.gorm, err = gorm.Open(gormsqlite.New(gormsqlite.Config{DriverName: "sqlite", Conn: db}),
		&gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true})
	if err != nil {
		return errors.Join(fmt.Errorf("store: database %s: %w", s.opts.Path, err), db.Close())
	}
	if old := s.readers.Swap(r); old != nil {
		return old.db.Close()
	}
	return nil
}

// dsn is the data source name of the file (https://sqlite.org/uri.html); characters that mean something there are escaped.
func (s *Store) dsn(mode string, q url.Values) string {
	q.Set("mode", mode)
	return "file:" + (&url.URL{Path: s.opts.Path}).EscapedPath() + "?" + q.Encode()
}

// newestVersionOf is the highest version of the migrations.
func newestVersionOf(migrations fs.FS) (newest int64, err error) {
	files, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("store: migrations: %w", err)
	}
	for _, f := range files {
		v, err := goose.NumericComponent(f)
		if err != nil {
			return 0, fmt.Errorf("store: migration %s: %w", f, err)
		}
		newest = max(newest, v)
	}
	return newest, nil
}

// migrate brings the schema up to date, after a copy of the file if it held an older one. Where that is done already nothing is written.
func (s *Store) migrate(ctx context.Context, want int64) error {
	if s.version == want {
		return nil
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.write, s.opts.migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	if s.version > 0 {
		if err := s.copyBefore(ctx, want); err != nil {
			return err
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("store: bring %s from schema version %d to %d: %w", s.opts.Path, s.version, want, err)
	}
	if _, err := s.write.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return fmt.Errorf("store: mark %s as netlyra's: %w", s.opts.Path, err)
	}
	s.version = want
	return nil
}

// copyBefore keeps the database as it was before it gets schema version v.
func (s *Store) copyBefore(ctx context.Context, v int64) error {
	target := fmt.Sprintf("%s.before-v%d", s.opts.Path, v)
	// What lies there is from a migration that failed, of this same older schema.
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: copy %s before migration: %w", s.opts.Path, err)
	}
	if err := createPrivate(target); err != nil {
		return fmt.Errorf("store: copy %s before migration: %w", s.opts.Path, err)
	}
	if _, err := s.write.ExecContext(ctx, "VACUUM INTO ?", target); err != nil {
		return errors.Join(fmt.Errorf("store: copy %s to %s before migration: %w", s.opts.Path, target, err), os.Remove(target))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "database copied before migration",
		slog.String("path", s.opts.Path), slog.String("copy", target), slog.Int64("to_version", v))
	return nil
}

// noteFiles remembers which files are open, to notice when others are in their place.
func (s *Store) noteFiles() error {
	s.files = s.files[:0]
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(s.opts.Path + suffix)
		if err != nil {
			return fmt.Errorf("store: database %s: %w", s.opts.Path+suffix, err)
		}
		s.files = append(s.files, openedFile{s.opts.Path + suffix, info})
	}
	locked, err := s.lock.Stat()
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	if !os.SameFile(locked, s.files[0].info) {
		return errGone
	}
	return nil
}

// openedFile is a file as it was when it was opened.
type openedFile struct {
	path string
	info os.FileInfo
}

// present says whether the files that are open are still those that stand at their places: what is written into others is lost.
func (s *Store) present() error {
	for _, f := range s.files {
		if info, err := os.Stat(f.path); err != nil || !os.SameFile(info, f.info) {
			return fmt.Errorf("store: %s: %w", f.path, errGone)
		}
	}
	return nil
}

// MaxConnectionID is the highest id of a stored connection, 0 without any: ids of this run must be above it. While the database
// cannot be read it is the time in microseconds, which is higher than any.
func (s *Store) MaxConnectionID(ctx context.Context) (int64, error) {
	var id int64
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Model(&models.Connection{}).Select("COALESCE(MAX(id), 0)").Scan(&id).Error
	})
	if errors.Is(err, models.ErrUnreadable) || errors.Is(err, models.ErrBusy) {
		return s.opts.Now().UnixMicro(), nil
	}
	return id, err
}
