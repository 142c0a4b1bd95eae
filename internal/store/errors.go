package store

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// errDamaged: SQLite's own check has found a fault in the file.
	errDamaged = errors.New("database is damaged")
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

// problem puts a failed write into one sentence with its remedy.
func problem(path string, err error) string {
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return "the disk that holds " + path + " is full: free space there; writing goes on by itself"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "another program holds " + path + " locked: end it; writing goes on by itself"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return path + " is damaged: restart netlyra, which sets it aside and starts a new one"
	}
	return path + " cannot be written: " + err.Error()
}
