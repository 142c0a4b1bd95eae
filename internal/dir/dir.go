// Package dir says whether files can be made in a directory, and leaves nothing there.
package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Writable is nil if this process can make files in the directory path; where that does not exist, if it can be made. Permissions alone do
// not say so: root has them all, and still can write neither to a read-only file system nor to /proc.
func Writable(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path:
			path = filepath.Dir(path)
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return &fs.PathError{Op: "make files in", Path: path, Err: syscall.ENOTDIR}
		}
		return probe(path)
	}
}

// probeNamed makes a file and removes it.
func probeNamed(path string) error {
	f, err := os.CreateTemp(path, ".netlyra-probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Remedy says what would make what writable for this process. Root has every right already, so only the place can be wrong.
func Remedy(what string) string {
	return remedy(what, os.Geteuid())
}

func remedy(what string, uid int) string {
	if uid == 0 {
		return "root may not write there either: see with findmnt whether it is mounted read-only, or with lsattr whether it is immutable"
	}
	return fmt.Sprintf("give user id %d the right to write %s", uid, what)
}
