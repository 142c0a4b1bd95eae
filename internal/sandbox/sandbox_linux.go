package sandbox

import (
	"errors"
	"os"
	"os/user"
	"strconv"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Enter gives up what o does not name. What the kernel does not support, or has not permitted, is left out and said.
func Enter(o Options) Status {
	s := Status{User: userName()}
	if err := noNewPrivs(); err != nil {
		s.miss("no_new_privs", err)
	} else {
		s.NoNewPrivs = true
	}
	if version, err := restrictFiles(o); err != nil {
		s.miss("Landlock", err)
	} else {
		s.Landlock = version
	}
	var keep capSet
	if o.KeepNetRaw {
		keep |= capNetRaw
	}
	if why := needsOverride(o.Write); why != "" {
		keep |= capDACOverride
		s.Notes = append(s.Notes, why)
	}
	if err := dropBounding(); err != nil {
		s.miss("capability bounding set", err)
	}
	if err := limitCapabilities(keep); err != nil {
		s.miss("capabilities", err)
	}
	s.Capabilities = effective().names()
	if err := restrictCalls(); err != nil {
		s.miss("seccomp", err)
	} else {
		s.Seccomp = true
	}
	return s
}

func userName() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// The file accesses that are granted. Running a file is granted nowhere.
const (
	accessRead = landlock.AccessFSSet(landlocksys.AccessFSReadFile | landlocksys.AccessFSReadDir)
	accessFile = landlock.AccessFSSet(landlocksys.AccessFSReadFile)
	accessOwn  = accessRead | landlock.AccessFSSet(landlocksys.AccessFSWriteFile|landlocksys.AccessFSTruncate|
		landlocksys.AccessFSRemoveFile|landlocksys.AccessFSRemoveDir|landlocksys.AccessFSMakeReg|landlocksys.AccessFSMakeDir)
)

// restrictFiles confines file accesses to o's folders, and forbids TCP ports, and signals to other processes, where the kernel can do it. It
// returns the version of the kernel's interface.
func restrictFiles(o Options) (version int, err error) {
	version, err = landlocksys.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return 0, errors.New("the kernel does not have it, or it is switched off")
	}
	own := accessOwn
	if version < 3 {
		own &^= landlock.AccessFSSet(landlocksys.AccessFSTruncate) // not restricted there
	}
	rules := []landlock.Rule{landlock.PathAccess(own, o.Write...)}
	for _, path := range o.Read {
		info, err := os.Stat(path)
		switch {
		case err != nil:
		case info.IsDir():
			rules = append(rules, landlock.PathAccess(accessRead, path))
		default:
			rules = append(rules, landlock.PathAccess(accessFile, path))
		}
	}
	restricted := landlock.V9
	if o.Connect {
		restricted.HandledAccessNet &^= landlock.AccessNetSet(landlocksys.AccessNetConnectTCP)
	}
	if err := restricted.BestEffort().Restrict(rules...); err != nil {
		return 0, err
	}
	return version, nil
}
