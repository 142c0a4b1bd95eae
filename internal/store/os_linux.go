package store

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is the space that we may still use on the file system of dir (statfs(2)).
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("store: free space of %s: %w", dir, err)
	}
	return int64(min(st.Bavail, math.MaxInt64/uint64(st.Bsize))) * st.Bsize, nil
}

// lockFile takes the lock that keeps a second netlyra from the database that f has open, whatever it is called: it would hand out the
// same connection ids, and set aside what the first one has open. The lock goes with the process (flock(2)), and has nothing to do with
// those that SQLite takes (fcntl(2)). But closing any descriptor of the file would release SQLite's: f must stay open as long as SQLite
// has the file open.
func lockFile(f *os.File, path string) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s: end that one, or choose another file with --database", ErrInUse, path)
	}
	if err != nil {
		return fmt.Errorf("store: lock database %s: %w", path, err)
	}
	return nil
}
