package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"netlyra/internal/models"
)

var (
	// errDamaged: SQLite's own check has found a fault in the file.
	errDamaged = errors.New("database is damaged")
	// errGone: another file stands where the open one was, or none.
	errGone = errors.New("file is gone")
	// errNotOpen: the database could not be opened yet.
	errNotOpen = errors.New("database is not open")
	// errNotNumber: a NaN or an infinity, which a column of numbers does not hold: a mistake of the caller.
	errNotNumber = errors.New("not a number that can be stored")
)

// code is the primary result code of an SQLite error (https://sqlite.org/rescode.html), -1 for other errors.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.Code() & 0xff
}

// damaged says whether the file itself is broken.
func damaged(err error) bool {
	c := code(err)
	return errors.Is(err, errDamaged) || c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}

// rejected says whether the database will never take this row, though it may well take others.
func rejected(err error) bool {
	if errors.Is(err, errNotNumber) {
		return true
	}
	switch code(err) {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}

// transient says whether the database may be usable later, and is none the worse: it is locked, the disk is full or fails, there are
// no file descriptors.
func transient(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return noRoom(err)
}

// noRoom says whether a file could not be made, enlarged or opened for want of something that may come back.
func noRoom(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EIO) || noDescriptors(err)
}

// noDescriptors says whether the process has used up its file descriptors. SQLite does not tell why it cannot open a file: another one
// is tried.
func noDescriptors(err error) bool {
	if code(err) == sqlite3.SQLITE_CANTOPEN || code(err) == sqlite3.SQLITE_IOERR {
		var f *os.File
		if f, err = os.Open(os.DevNull); err == nil {
			return f.Close() != nil
		}
	}
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// littleSpace is what SQLite needs at a time, and some more.
const littleSpace = 128 << 10

// problem puts a failed write or read into one sentence with its remedy, after a code for programs.
func problem(path string, err error) (string, string) {
	switch {
	case noDescriptors(err):
		return models.StoreDescriptors, "this process has used up its file descriptors: raise the limit (ulimit -n, LimitNOFILE) or end clients"
	case errors.Is(err, errGone):
		return models.StoreGone, path + " has been deleted, moved or replaced: what waits is written to a new one"
	case errors.Is(err, ErrForeign), errors.Is(err, ErrNewerSchema), errors.Is(err, ErrInUse):
		return models.StoreGone, path + " has been replaced: " + strings.TrimPrefix(err.Error(), "store: ")
	case damaged(err):
		return models.StoreDamaged, path + " is damaged: restart netlyra, which sets it aside and starts a new one"
	}
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return models.StoreFull, "the disk that holds " + path + " is full: free space there; writing goes on by itself"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return models.StoreLocked, "another program holds " + path + " locked: end it; writing goes on by itself"
	case sqlite3.SQLITE_IOERR:
		if free, e := freeBytes(filepath.Dir(path)); e == nil && free < littleSpace { // not all of SQLite's full disks are SQLITE_FULL
			return models.StoreFull, "the disk that holds " + path + " is full: free space there; writing goes on by itself"
		}
		return models.StoreFailing, "the disk that holds " + path + " fails: look at the disk and the kernel's log; nothing says that the file is " +
			"damaged, and writing goes on by itself (" + err.Error() + ")"
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return models.StoreFull, "the disk that holds " + path + " is full: free space there; writing goes on by itself"
	}
	return models.StoreFailing, path + " cannot be written: " + err.Error()
}
