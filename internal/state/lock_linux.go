package state

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes the lock of the state at path. It is on a file of its own, since the state itself is replaced; it goes with the process
// (flock(2)).
func lockFile(path string) (*os.File, error) {
	return lockWith(path, os.O_CREATE)
}

// lockExisting does so if there is a file for the lock; else the error is an fs.ErrNotExist.
func lockExisting(path string) (*os.File, error) { return lockWith(path, 0) }

func lockWith(path string, create int) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|create, 0o600)
	if err != nil {
		return nil, unwritable(path, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s: end that one, or choose another place with --state", ErrInUse, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
