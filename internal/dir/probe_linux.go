package dir

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// probe makes a file without a name (O_TMPFILE of open(2)), where the file system knows such files.
func probe(path string) error {
	fd, err := unix.Open(path, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		return &fs.PathError{Op: "make files in", Path: path, Err: err}
	}
	return probeNamed(path)
}
