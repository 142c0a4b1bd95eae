package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

type sandboxed struct {
	User         string
	Capabilities []string
	NoNewPrivs   bool `json:"no_new_privs"`
	Landlock     int
	Seccomp      bool
	Missing      []string
}

func (p *process) sandbox() *sandboxed {
	p.t.Helper()
	var health struct{ Sandbox *sandboxed }
	p.get("api/v1/health", &health)
	if s := health.Sandbox; s != nil && len(s.Missing) > 0 {
		nettest.Unavailable(p.t, fmt.Sprint("this kernel has not all of it: ", s.Missing))
	}
	return health.Sandbox
}

// threadsHave checks the status of every thread of the process.
func (p *process) threadsHave(want ...string) {
	p.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(tasks) < 2 {
		p.t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		status := strings.Join(strings.Fields(string(b)), " ")
		for _, w := range want {
			if !strings.Contains(status, w) {
				p.t.Errorf("%s has not %q:\n%s", task, w, b)
			}
		}
	}
}

// The program that watches an interface keeps the capability to open it again, and nothing else; it takes the interface up again when it
// has been deleted and made anew, keeps alerts, and saves what it has learned.
func TestSandbox(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	dir := t.TempDir()
	p := startRun(t, ns, filepath.Join(dir, "netlyra.db"), "--interface", "watched", "--state-every", "1s", "--sensor", "test")
	s := p.sandbox()
	if s == nil || s.User != "root" || len(s.Capabilities) != 1 || s.Capabilities[0] != "net_raw" || !s.NoNewPrivs || s.Landlock < 1 || !s.Seccomp {
		t.Errorf("health says %+v", s)
	}
	if !strings.Contains(p.said(), `"msg":"sandboxed","user":"root","capabilities":["net_raw"],"no_new_privs":true`) {
		t.Errorf("the log does not say it:\n%s", p.said())
	}
	p.threadsHave("CapInh: 0000000000000000 CapPrm: 0000000000002000 CapEff: 0000000000002000 CapBnd: 0000000000000000 CapAmb: 0000000000000000 NoNewPrivs: 1 Seccomp: 2")
	ns.IP("link", "del", "dev", "watched")
	until(t, "loss of the interface", func() bool { return reasonsOf(p)["interface_gone"] != "" })
	ns.Veth("watched", "load")
	until(t, "return of the interface", func() bool { return reasonsOf(p)["interface_gone"] == "" })
	sender := ns.NewSender("load")
	var st models.Stats
	until(t, "packet", func() bool {
		if err := sender.Send(make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		p.get("api/v1/stats", &st)
		return st.Packets > 0
	})
	until(t, "saved state", func() bool { return stateSaved(t, memoryBeside(filepath.Join(dir, "netlyra.db"))) })
	if why := reasonsOf(p); len(why) > 0 {
		t.Errorf("it is not well: %v", why)
	}
	p.terminate()
}

// A program that plays a file needs no capability at all. Its file is opened again for each round.
func TestSandboxOfAReplay(t *testing.T) {
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p := startRun(t, nil, database, "--read", sample, "--speed", "max", "--loop")
	if s := p.sandbox(); s == nil || len(s.Capabilities) != 0 {
		t.Errorf("health says %+v", s)
	}
	p.threadsHave("CapEff: 0000000000000000 ", "NoNewPrivs: 1 Seccomp: 2")
	var first, st models.Stats
	p.get("api/v1/stats", &first)
	until(t, "third round", func() bool {
		p.get("api/v1/stats", &st)
		return st.Packets > first.Packets && st.Packets > 60_000
	})
	p.terminate()
}

func TestSandboxOff(t *testing.T) {
	p := startRun(t, nil, filepath.Join(t.TempDir(), "netlyra.db"), "--read", sample, "--sandbox", "off")
	if s := p.sandbox(); s != nil {
		t.Errorf("health says %+v", s)
	}
	p.threadsHave("NoNewPrivs: 0 Seccomp: 0")
	p.terminate()
}

// Root starts it, and it runs as another user, who owns what it keeps.
func TestRunAsAnotherUser(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	u, err := user.Lookup("nobody")
	if err != nil {
		nettest.Unavailable(t, "there is no user nobody: adduser --system nobody")
	}
	dir, err := os.MkdirTemp("", "netlyra-user-") //nolint:usetesting // another user must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	database := filepath.Join(dir, "data", "netlyra.db")
	p := startRun(t, ns, database, "--interface", "watched", "--user", "nobody", "--sandbox", "require", "--state", filepath.Join(dir, "memory"), "--sensor", "test")
	if s := p.sandbox(); s == nil || s.User != "nobody" || len(s.Capabilities) != 1 {
		t.Errorf("health says %+v", s)
	}
	id := strings.Join([]string{u.Uid, u.Uid, u.Uid, u.Uid}, " ")
	p.threadsHave("Uid: "+id, "CapEff: 0000000000002000 CapBnd: 0000000000000000")
	ns.IP("link", "del", "dev", "watched")
	until(t, "loss of the interface", func() bool { return reasonsOf(p)["interface_gone"] != "" })
	ns.Veth("watched", "load")
	until(t, "return of the interface", func() bool { return reasonsOf(p)["interface_gone"] == "" })
	p.terminate()
	if !stateSaved(t, filepath.Join(dir, "memory")) {
		t.Error("what was learned is not saved")
	}
	p = startRun(t, ns, database, "--interface", "watched", "--user", "nobody", "--state", filepath.Join(dir, "memory"), "--sensor", "test")
	if why := reasonsOf(p); len(why) > 0 {
		t.Errorf("the second time it is not well: %v", why)
	}
	p.terminate()
}
