package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"netlyra/internal/dir"
)

// CheckUser says whether ChangeUser would change, and leaves everything as it is.
func CheckUser(name string, dirs []string) error {
	ids, err := lookUp(name)
	if err != nil || os.Geteuid() == ids.uid {
		return err
	}
	for _, path := range dirs {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			continue // ChangeUser leaves it alone
		}
		if err := dir.Writable(path); err != nil {
			return fmt.Errorf("--user %s: %w", name, err)
		}
	}
	return nil
}

// ids are a user's.
type ids struct {
	uid, gid int
	groups   []int
}

// lookUp finds a user that this process can become.
func lookUp(name string) (ids, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return ids{}, fmt.Errorf("--user %s: there is no such user", name)
	}
	texts := []string{u.Uid, u.Gid}
	groupIDs, err := u.GroupIds()
	if err != nil {
		return ids{}, fmt.Errorf("--user %s: %w", name, err)
	}
	numbers := make([]int, 0, len(texts)+len(groupIDs))
	for _, id := range append(texts, groupIDs...) {
		n, err := strconv.Atoi(id)
		if err != nil {
			return ids{}, fmt.Errorf("--user %s: %w", name, err)
		}
		numbers = append(numbers, n)
	}
	if os.Geteuid() != numbers[0] && os.Geteuid() != 0 {
		return ids{}, fmt.Errorf("--user %s: only root can run as another user", name)
	}
	return ids{numbers[0], numbers[1], numbers[2:]}, nil
}

// ChangeUser makes the process one of the user name's, with that user's groups, before it opens anything. It keeps the capabilities to capture, to
// listen on ports below 1024, and to empty the bounding set, until Enter. Directories of dirs that do not exist are made, and are that
// user's.
func ChangeUser(name string, dirs []string) error {
	ids, err := lookUp(name)
	if err != nil || os.Geteuid() == ids.uid {
		return err
	}
	uid, gid := ids.uid, ids.gid
	for _, dir := range dirs {
		if err := makeFor(dir, uid, gid); err != nil {
			return fmt.Errorf("--user %s: %w", name, err)
		}
	}
	if err := prctl(unix.PR_SET_KEEPCAPS, 1); err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	if err := errors.Join(syscall.Setgroups(ids.groups), syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, uid)); err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	if err := limitCapabilities(capNetRaw | capNetBindService | capSetPCap); err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	return nil
}

// makeFor makes a directory for a user, unless it is there.
func makeFor(dir string, uid, gid int) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return os.Lchown(dir, uid, gid)
}
