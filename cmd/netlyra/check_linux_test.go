package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/nettest"
	"netlyra/internal/state"
	"netlyra/internal/store"
)

// startFault is something that keeps run from starting, and how it comes about.
type startFault struct {
	name string
	make func(t *testing.T, dir string) // nil: nothing
	args []string                       // DIR stands for the directory
	env  []string
	says []string // what the message names: the setting, the value, the remedy; none: it is no fault
}

func startFaults(t *testing.T, ns *nettest.Namespace) []startFault {
	t.Helper()
	var busy net.Listener
	var err error
	ns.Do(func() { busy, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	write := func(name, text string, mode fs.FileMode) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []startFault{
		{name: "nothing wrong"},
		{name: "nothing wrong, several flags", args: []string{"--filter", "not port 22", "--alert-age", "30d", "--workers=2"}},
		{name: "unknown interface", args: []string{"-i", "nosuch0"}, says: []string{"nosuch0", "lo"}},
		{name: "two of them", args: []string{"-i", "nosuch0", "-i", "nosuch1"}, says: []string{"nosuch0", "nosuch1"}},
		{name: "a filter of this machine's words", env: []string{"NETLYRA_FILTER=port http"}, says: []string{"--filter", "http"}},
		{name: "a filter that does not fit a file", args: []string{"--read", sampleOfIP(t), "--filter", "ether host 02:00:00:00:00:01"}, says: []string{"ether"}},
		{name: "a program for the filter that is none", make: write("f.bpf", "1\nno\n", 0o600), args: []string{"--filter-bpf", "DIR/f.bpf"}, says: []string{"--filter-bpf", "f.bpf"}},
		{name: "no certificate", args: []string{"--tls-cert", "DIR/no.pem", "--tls-key", "DIR/no.key"}, says: []string{"no.pem", "--tls-cert"}},
		{
			name: "a certificate that is none", make: write("c.pem", "x", 0o600),
			args: []string{"--tls-cert", "DIR/c.pem", "--tls-key", "DIR/c.pem"}, says: []string{"c.pem", "--tls-cert"},
		},
		{name: "a database that cannot be written", args: []string{"--database", "/proc/x/y"}, says: []string{"/proc/x/y", "--database"}},
		{name: "another program's database", make: foreignDatabase, args: []string{"--database", "DIR/foreign.db"}, says: []string{"foreign.db", "--database"}},
		{name: "no database at all", make: write("foreign.db", "pcap", 0o600), args: []string{"--database", "DIR/foreign.db"}, says: []string{"foreign.db", "--database"}},
		{name: "a database in use", make: databaseInUse, args: []string{"--database", "DIR/used.db"}, says: []string{"used.db", "in use", "--database"}},
		{name: "a directory as database", args: []string{"--database", "DIR"}, says: []string{"directory", "--database"}},
		{name: "a state in use", make: stateInUse, args: []string{"--state", "DIR/used"}, says: []string{"used", "--state"}},
		{name: "a state that cannot be written", args: []string{"--state", "/proc/x"}, says: []string{"/proc/x", "--state"}},
		{name: "an address that is none", args: []string{"--listen", "999.1.1.1:80"}, says: []string{"--listen", "999.1.1.1:80", "127.0.0.1:8090"}},
		{name: "an address of another machine", args: []string{"--listen", "192.0.2.1:0", "--token", "correct-horse-battery"}, says: []string{"--listen", "192.0.2.1"}},
		{name: "an address without a token", args: []string{"--listen", "0.0.0.0:0"}, says: []string{"--listen", "--token-file"}},
		{name: "a port in use", args: []string{"--listen", busy.Addr().String()}, says: []string{"--listen", busy.Addr().String(), "in use"}},
		{
			name: "two ports in use", args: []string{"--listen", busy.Addr().String(), "--ws-listen", busy.Addr().String()},
			says: []string{"--listen " + busy.Addr().String(), "--ws-listen " + busy.Addr().String()},
		},
		{name: "a host that is an address of a page", args: []string{"--allowed-hosts", "http://x/"}, says: []string{"--allowed-hosts", "http://x/"}},
		{name: "no token file", args: []string{"--token-file", "DIR/token"}, says: []string{"--token-file", "token"}},
		{name: "an empty token file", make: write("token", "\n", 0o600), args: []string{"--token-file", "DIR/token"}, says: []string{"--token-file", "empty"}},
		{name: "a weak token", make: write("token", "aaaaaaaaaaaaaaaaaaaa\n", 0o600), args: []string{"--token-file", "DIR/token"}, says: []string{"token", "different characters"}},
		{name: "a token for reading alone", make: write("token", "correct-horse-battery\n", 0o600), args: []string{"--read-token-file", "DIR/token"}, says: []string{"reading"}},
		{name: "no such user", args: []string{"--user", "nobody-of-that-name"}, says: []string{"--user", "nobody-of-that-name"}},
		{name: "a user who may not write", args: []string{"--user", "nobody", "--database", "DIR/netlyra.db", "--state", "DIR/memory"}, says: []string{"netlyra.db", "--database"}},
		{name: "a missing capture", args: []string{"--read", "DIR/no.pcap"}, says: []string{"no.pcap"}},
		{name: "a file that is no capture", make: write("x.pcap", "text, and more than a header of it", 0o600), args: []string{"--read", "DIR/x.pcap"}, says: []string{"x.pcap", "not a capture file"}},
		{name: "a misspelt variable", env: []string{"NETLYRA_LISTN=x"}, says: []string{"NETLYRA_LISTN"}},
		{name: "values of the wrong kind", args: []string{"--workers", "many"}, env: []string{"NETLYRA_RING_MB=lots"}, says: []string{"--workers many", "NETLYRA_RING_MB", "lots"}},
		{name: "a wrong word of a list", env: []string{"NETLYRA_SANDBOX=maybe"}, says: []string{"NETLYRA_SANDBOX", "maybe", "require"}},
		{name: "a time that is negative", args: []string{"--alert-age", "-1h"}, says: []string{"--alert-age -1h", "must be positive"}},
	}
}

// Whatever keeps run from starting, config check says before; what it lets pass, starts. Neither leaves anything behind that was not there.
func TestCheckAndRunAgree(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	for _, f := range startFaults(t, ns) {
		t.Run(f.name, func(t *testing.T) {
			dir := publicDir(t)
			if f.make != nil {
				f.make(t, dir)
			}
			args := []string{"--state", "off", "--database", dir + "/fresh/netlyra.db", "--listen", "127.0.0.1:0", "--ws-listen", "off"}
			if !strings.Contains(strings.Join(f.args, " "), "--read") && !strings.Contains(strings.Join(f.args, " "), "-i") {
				args = append(args, "--interface", "watched")
			}
			for _, a := range f.args {
				args = append(args, strings.ReplaceAll(a, "DIR", dir))
			}
			before := tree(t, dir)
			checked, checkSaid := start(t, ns, f.env, append([]string{"config", "check"}, args...))
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Errorf("config check has changed (-before +after):\n%s", diff)
			}
			ran, runSaid := start(t, ns, f.env, append([]string{"run"}, args...))
			if checked != ran {
				t.Errorf("config check: %d, run: %d\n%s\n%s", checked, ran, checkSaid, runSaid)
			}
			if want := len(f.says) == 0; (checked == exitOK) != want {
				t.Errorf("exit status %d: %s", checked, checkSaid)
			}
			for _, s := range f.says {
				if !strings.Contains(checkSaid, s) || !strings.Contains(runSaid, s) {
					t.Errorf("no %q in both:\n%s\n%s", s, checkSaid, runSaid)
				}
			}
		})
	}
}

// All that is wrong is reported at once: values of the wrong kind, values out of range, flags that do not exist, and things that are not
// as they should be.
func TestCheckReportsEverything(t *testing.T) {
	status, said := start(t, nil, []string{"NETLYRA_RING_MB=lots", "NETLYRA_DETECTOR=maybe", "NETLYRA_LISTN=x"}, []string{
		"config", "check", "--workers", "0", "--nosuch", "x", "--max-connections", "much", "-i", "nosuch0", "--database", "/proc/x/y", "--state", "/proc/z",
		"--token-file", "/nowhere/token", "--user", "nobody-of-that-name",
	})
	if status != exitUsage {
		t.Errorf("exit status %d", status)
	}
	for _, s := range []string{
		"NETLYRA_RING_MB", "NETLYRA_DETECTOR", "NETLYRA_LISTN", "--workers 0", "--nosuch", "--max-connections much", "nosuch0", "/proc/x/y", "/proc/z", "/nowhere/token",
		"nobody-of-that-name",
	} {
		if !strings.Contains(said, s) {
			t.Errorf("no %q in:\n%s", s, said)
		}
	}
}

// What is wrong with one thing does not hide what is wrong with another.
func TestCheckHidesNothing(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	port := busy.Addr().String()
	weak := filepath.Join(publicDir(t), "token")
	if err := os.WriteFile(weak, []byte("aaaaaaaaaaaaaaaaaaaa\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		says []string
		not  string
	}{
		{"weak token and listener", []string{"--token-file", weak, "--listen", port}, []string{"different characters", port + ": the port is in use"}, ""},
		{"filter and interface", []string{"--filter", "port http", "-i", "nosuch0"}, []string{"--filter", "nosuch0"}, ""},
		{"program and interface", []string{"--filter-bpf", "/nowhere/f.bpf", "-i", "nosuch0"}, []string{"/nowhere/f.bpf", "nosuch0"}, ""},
		{"two filters and capture", []string{"--filter-bpf", "/x", "--filter", "tcp", "--read", "/nowhere/x.pcap"}, []string{"--filter-bpf", "/nowhere/x.pcap"}, ""},
		{"token file, one of two files for TLS", []string{"--token-file", "/nowhere/token", "--tls-key", "/nowhere/key"}, []string{"/nowhere/token", "belong together", "--tls-key /nowhere/key"}, ""},
		{
			"token files and both for TLS",
			[]string{"--token-file", "/nowhere/token", "--read-token-file", "/nowhere/read", "--tls-key", "/nowhere/key", "--tls-cert", "/nowhere/cert"},
			[]string{"/nowhere/token", "/nowhere/read", "--tls-key /nowhere/key", "--tls-cert /nowhere/cert"},
			"",
		},
		{"token file and listener", []string{"--token-file", "/nowhere/token", "--listen", port, "--ws-listen", "0.0.0.0:0"}, []string{"/nowhere/token", port + ": the port is in use"}, "needs a token"},
		{"token and listener", []string{"--token", "short", "--listen", port}, []string{"--token has 5", port + ": the port is in use"}, ""},
		{"listener and token file", []string{"--token-file", "/nowhere/token", "--listen", "8090"}, []string{"/nowhere/token", "--listen 8090"}, ""},
		{"database and listener", []string{"--database", "", "--listen", port}, []string{"--database is empty", port + ": the port is in use"}, "certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := append([]string{"config", "check", "--state", "off", "--ws-listen", "off", "--database", publicDir(t) + "/n.db"}, tc.args...)
			status, said := start(t, nil, nil, args)
			if status != exitUsage && status != exitFailed {
				t.Errorf("exit status %d", status)
			}
			for _, s := range tc.says {
				if !strings.Contains(said, s) {
					t.Errorf("no %q in:\n%s", s, said)
				}
			}
			if tc.not != "" && strings.Contains(said, tc.not) {
				t.Errorf("%q, which nobody knows, in:\n%s", tc.not, said)
			}
		})
	}
}

// A unit of systemd with --user: missing directories are made by run, for that user.
func TestCheckOfAnotherUser(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	dir := publicDir(t)
	args := []string{
		"--user", "nobody", "--interface", "watched", "--database", dir + "/data/netlyra.db", "--state", dir + "/memory", "--listen", "0.0.0.0:0", "--ws-listen", "off",
		"--token", "correct-horse-battery",
	}
	for _, command := range [][]string{{"config", "check"}, {"run"}, {"config", "check"}} { // before and after
		before := tree(t, dir)
		if status, said := start(t, ns, nil, append(command, args...)); status != exitOK {
			t.Errorf("%v: exit status %d: %s", command, status, said)
		}
		if diff := cmp.Diff(before, tree(t, dir)); diff != "" && command[0] == "config" {
			t.Errorf("config check has changed (-before +after):\n%s", diff)
		}
	}
}

// Without the privilege to capture both say so.
func TestCheckWithoutPrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		nettest.Unavailable(t, "only root can become somebody else: run this test with sudo")
	}
	dir := publicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	args := []string{"-i", "lo", "--database", dir + "/n.db", "--state", "off", "--listen", "127.0.0.1:0", "--ws-listen", "off"}
	for _, command := range [][]string{{"config", "check"}, {"run"}} {
		status, said := fails(t, &syscall.Credential{Uid: 65534, Gid: 65534}, append(command, args...)...)
		if status != exitUsage || !strings.Contains(said, "setcap") {
			t.Errorf("%v: exit status %d: %s", command, status, said)
		}
	}
}

// start runs the program until it has ended, or watches; then it is ended in order.
func start(t *testing.T, ns *nettest.Namespace, env, args []string) (status int, said string) {
	t.Helper()
	binary := netlyraBinary(t)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	c := exec.CommandContext(ctx, binary, args...)
	if ns != nil {
		c = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns.Name, binary}, args...)...)
	}
	c.Dir = "/"
	c.Env = append(append(os.Environ(), "NETLYRA_CONFIG=off"), env...)
	out := &untilWatching{stop: func() { _ = c.Process.Signal(syscall.SIGTERM) }}
	c.Stdout, c.Stderr = out, out
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		t.Fatalf("%v: %v: %s", args, err, out.String())
	}
	return c.ProcessState.ExitCode(), out.String()
}

// untilWatching asks the program to end once it says that it watches.
type untilWatching struct {
	said bytes.Buffer
	stop func()
}

func (w *untilWatching) String() string { return w.said.String() }

func (w *untilWatching) Write(b []byte) (int, error) {
	n, err := w.said.Write(b)
	if w.stop != nil && strings.Contains(w.String(), "msg=watching") {
		w.stop()
		w.stop = nil
	}
	return n, err
}

// publicDir is a directory that others can look into.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "netlyra-check-") //nolint:usetesting // another user must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree is what a directory holds, with the bytes of files.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			all[path] = e.Type().String()
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func foreignDatabase(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+dir+"/foreign.db")
	if err == nil {
		_, err = db.ExecContext(t.Context(), "CREATE TABLE alerts (x)")
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func databaseInUse(t *testing.T, dir string) {
	t.Helper()
	s, err := store.New(t.Context(), store.Options{Path: dir + "/used.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
}

func stateInUse(t *testing.T, dir string) {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	f, err := state.Open(state.Path(dir+"/used", host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
}

// sampleOfIP is a capture of one packet without Ethernet.
func sampleOfIP(t *testing.T) string {
	t.Helper()
	path := filepath.Join(publicDir(t), "ip.pcap")
	packet := []byte{
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
		0, 53, 0, 53, 0, 8, 0, 0, // UDP
	}
	head := []byte{
		0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0, // link type RAW
		0, 0, 0, 0, 0, 0, 0, 0, byte(len(packet)), 0, 0, 0, byte(len(packet)), 0, 0, 0,
	}
	if err := os.WriteFile(path, append(head, packet...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
