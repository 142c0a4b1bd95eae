package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"netlyra/internal/nettest"
)

type probed struct {
	Status  Status
	Tried   map[string]string
	Threads map[string]string
}

// probe builds testdata/probe as the product is built, and runs it in a directory of its own.
func probe(t *testing.T, credential *syscall.Credential, prepare func(dir string), args ...string) probed {
	t.Helper()
	return probeBuilt(t, "0", credential, prepare, args...)
}

// probeBuilt is probe with cgo ("1") or without ("0").
func probeBuilt(t *testing.T, cgo string, credential *syscall.Credential, prepare func(dir string), args ...string) probed {
	t.Helper()
	if os.Geteuid() != 0 {
		nettest.Unavailable(t, "giving up privileges needs some: run this test with sudo")
	}
	dir, err := os.MkdirTemp("", "netlyra-sandbox-") //nolint:usetesting // other users must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary, own := filepath.Join(dir, "probe"), filepath.Join(dir, "own")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	prepare(own)
	c := exec.CommandContext(t.Context(), binary, append([]string{"-write", own, "-read", "/etc/passwd,/etc/group,/proc,/sys"}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var p probed
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

func make0700(t *testing.T, uid int) func(dir string) {
	return func(dir string) {
		t.Helper()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
}

const nobody = 65534

// The C library makes threads by clone3 and takes to clone only where the kernel does not know clone3 (ENOSYS); any other error ends the program.
func TestThreadsOfTheCLibrary(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		nettest.Unavailable(t, "no C compiler: apt-get install gcc")
	}
	p := probeBuilt(t, "1", nil, make0700(t, 0))
	if !p.Status.Seccomp {
		nettest.Unavailable(t, "this kernel has no seccomp")
	}
	if err, tried := p.Tried["new threads"]; !tried || err != "" {
		t.Errorf("new threads: %q, tried %v", err, tried)
	}
}

func TestEnter(t *testing.T) {
	for _, tc := range []struct {
		name       string
		credential *syscall.Credential
		owner      int
		args       []string
		keeps      []string // capabilities
		caps, uid  string   // of each thread
		bounding   string   // of each thread; "": not looked at
		works      []string // beside what always does
	}{
		{name: "root that captures", args: []string{"-net-raw"}, keeps: []string{"net_raw"}, caps: "0000000000002000", uid: "0", bounding: "0000000000000000", works: []string{"packet socket", "raw socket"}},
		{name: "root that reads a file", caps: "0000000000000000", uid: "0", bounding: "0000000000000000"},
		{name: "root with brokers", args: []string{"-connect"}, caps: "0000000000000000", uid: "0", bounding: "0000000000000000", works: []string{"connect"}},
		{name: "another user", args: []string{"-net-raw", "-user", "nobody"}, owner: nobody, keeps: []string{"net_raw"}, caps: "0000000000002000", uid: "65534", bounding: "0000000000000000", works: []string{"packet socket", "raw socket"}},
		{name: "no privileges", credential: &syscall.Credential{Uid: nobody, Gid: nobody}, owner: nobody, caps: "0000000000000000", uid: "65534"},
		{name: "root in somebody else's folder", owner: nobody, keeps: []string{"dac_override"}, caps: "0000000000000002", uid: "0", bounding: "0000000000000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := probe(t, tc.credential, make0700(t, tc.owner), tc.args...)
			if err := p.Status.Complete(); err != nil {
				nettest.Unavailable(t, "this kernel has not all of it: "+err.Error())
			}
			if !slices.Equal(p.Status.Capabilities, tc.keeps) || !p.Status.NoNewPrivs || p.Status.Landlock < 1 || !p.Status.Seccomp {
				t.Errorf("status %+v", p.Status)
			}
			works := append([]string{
				"read /etc/passwd", "read /proc/net/tcp", "user lookup", "write inside", "rename inside", "truncate inside", "remove inside", "directory inside",
				"stream socket", "interfaces", "own signal", "new threads",
			}, tc.works...)
			for what, err := range p.Tried {
				version := p.Status.Landlock
				switch {
				case (what == "listen" || what == "connect") && version < 4, what == "signal to parent" && version < 6: // the kernel cannot restrict it
				case (err == "") != slices.Contains(works, what):
					t.Errorf("%s: error %q", what, err)
				}
			}
			if len(p.Threads) < 5 {
				t.Errorf("%d threads", len(p.Threads))
			}
			for id, status := range p.Threads {
				want := []string{"Uid: " + strings.Join([]string{tc.uid, tc.uid, tc.uid, tc.uid}, " "), "CapInh: 0000000000000000", "CapPrm: " + tc.caps, "CapEff: " + tc.caps, "CapAmb: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"}
				if tc.bounding != "" {
					want = append(want, "CapBnd: "+tc.bounding)
				}
				for _, w := range want {
					if !strings.Contains(status, w) {
						t.Errorf("thread %s has not %s:\n%s", id, w, status)
					}
				}
			}
		})
	}
}

// A directory that does not exist is made, and belongs to the user.
func TestChangeUserMakesDirectories(t *testing.T) {
	p := probe(t, nil, func(string) {}, "-user", "nobody")
	if p.Status.User != "nobody" || p.Tried["write inside"] != "" {
		t.Errorf("%+v", p)
	}
}

func TestChangeUserRefuses(t *testing.T) {
	if err := ChangeUser("no-such-user", nil); err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("%v", err)
	}
}

// The filter knows every name on the architectures that the program is built for, and is short enough for the kernel.
func TestFilterAssembles(t *testing.T) {
	raw, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 4096 { // BPF_MAXINSNS
		t.Errorf("%d instructions", len(raw))
	}
}

func TestStatusSaysWhatIsMissing(t *testing.T) {
	var s Status
	if err := s.Complete(); err != nil {
		t.Error(err)
	}
	s.miss("seccomp", syscall.ENOSYS)
	if err := s.Complete(); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "seccomp: function not implemented") {
		t.Errorf("%v", err)
	}
}
