package sandbox

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capSet is a set of capabilities: bit n is number n (capabilities(7)).
type capSet uint64

const (
	capDACOverride    capSet = 1 << unix.CAP_DAC_OVERRIDE
	capSetPCap        capSet = 1 << unix.CAP_SETPCAP
	capNetBindService capSet = 1 << unix.CAP_NET_BIND_SERVICE
	capNetRaw         capSet = 1 << unix.CAP_NET_RAW
)

// names are the capabilities as people know them.
func (c capSet) names() []string {
	known := map[capSet]string{
		capDACOverride: "dac_override", capSetPCap: "setpcap", capNetBindService: "net_bind_service", capNetRaw: "net_raw",
	}
	all := []string{}
	for c != 0 {
		n := bits.TrailingZeros64(uint64(c))
		name, ok := known[1<<n]
		if !ok {
			name = strconv.Itoa(n)
		}
		all = append(all, name)
		c &^= 1 << n
	}
	return all
}

// prctl makes the call on all threads: what it sets belongs to a thread.
func prctl(option int, args ...uintptr) error {
	var a [4]uintptr
	copy(a[:], args)
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, uintptr(option), a[0], a[1], a[2], a[3], 0); errno != 0 {
		return threadsError(errno)
	}
	return nil
}

// threadsError explains the error of a program that cannot change all its threads.
func threadsError(errno syscall.Errno) error {
	if errno == syscall.ENOTSUP {
		return errors.New("a program built with cgo cannot change all its threads: build it with CGO_ENABLED=0")
	}
	return errno
}

func noNewPrivs() error { return prctl(unix.PR_SET_NO_NEW_PRIVS, 1) }

// capabilities are the effective and the permitted ones of the calling thread, and so of all: no thread differs.
func capabilities() (effective, permitted capSet) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return 0, 0 // fails for a wrong header only
	}
	join := func(low, high uint32) capSet { return capSet(high)<<32 | capSet(low) }
	return join(d[0].Effective, d[1].Effective), join(d[0].Permitted, d[1].Permitted)
}

func effective() capSet {
	e, _ := capabilities()
	return e
}

// limitCapabilities keeps those of keep that the process has, and no others.
func limitCapabilities(keep capSet) error {
	_, permitted := capabilities()
	keep &= permitted
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(keep), uint32(keep>>32)
	d := [2]unix.CapUserData{{Effective: low, Permitted: low}, {Effective: high, Permitted: high}}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&d[0])), 0); errno != 0 {
		return threadsError(errno)
	}
	return nil
}

// dropBounding empties the bounding and the ambient set: what a program that is started could have. A process without CAP_SETPCAP cannot
// do it, but then no_new_privs does what it is for.
func dropBounding() error {
	if effective()&capSetPCap == 0 {
		return nil
	}
	for n := range 64 {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break // behind the last one that the kernel knows
		}
		if in == 0 {
			continue
		}
		if err := prctl(unix.PR_CAPBSET_DROP, uintptr(n)); err != nil {
			return err
		}
	}
	if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// needsOverride says why root has to keep CAP_DAC_OVERRIDE: without capabilities root is an account like others, and cannot write in
// folders that are somebody else's. "" means that it need not. Where Landlock is in force, it helps in those folders only.
func needsOverride(dirs []string) string {
	if os.Geteuid() != 0 {
		return ""
	}
	groups, err := os.Getgroups()
	if err != nil {
		return ""
	}
	groups = append(groups, os.Getegid())
	may := func(path string, want uint32) bool {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			return true // it is not there
		}
		mode := st.Mode
		switch {
		case st.Uid == 0:
			mode >>= 6
		case slices.Contains(groups, int(st.Gid)):
			mode >>= 3
		}
		return mode&want == want
	}
	const read, write, search = 4, 2, 1
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return ""
		}
		for parent := filepath.Dir(abs); ; parent = filepath.Dir(parent) {
			if !may(parent, search) {
				return fmt.Sprintf("dac_override is kept, as root may not search %s otherwise", parent)
			}
			if parent == filepath.Dir(parent) {
				break
			}
		}
		if !may(abs, read|write|search) {
			return fmt.Sprintf("dac_override is kept, as %s belongs to another user: --user runs as that one", abs)
		}
		files, err := os.ReadDir(abs)
		if err != nil {
			continue // empty, as far as can be known
		}
		for _, f := range files {
			path := filepath.Join(abs, f.Name())
			if f.Type().IsRegular() && !may(path, read|write) {
				return fmt.Sprintf("dac_override is kept, as %s belongs to another user: --user runs as that one", path)
			}
		}
	}
	return ""
}
