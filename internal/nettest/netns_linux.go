package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that lives as long as its test.
type Namespace struct {
	Name string // as `ip netns` knows it
	t    testing.TB
}

// serial tells the namespaces of one process apart.
var serial atomic.Int64 //nolint:gochecknoglobals // names must be unique in the process

// New makes a namespace with its loopback up, and removes it after the test. The test is skipped without root or without
// the ip command.
func New(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		Unavailable(t, "network namespaces need root: run this test with sudo")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		Unavailable(t, "the ip command is missing: apt-get install iproute2")
	}
	n := &Namespace{Name: fmt.Sprintf("netlyra-test-%d-%d", os.Getpid(), serial.Add(1)), t: t}
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", n.Name).CombinedOutput(); err != nil {
		Unavailable(t, fmt.Sprintf("network namespaces need CAP_SYS_ADMIN: run this test as root outside an unprivileged container (ip netns add: %s)", out))
	}
	t.Cleanup(func() {
		// The test's own context is over by now.
		if out, err := exec.Command("ip", "netns", "del", n.Name).CombinedOutput(); err != nil { //nolint:noctx // see above
			t.Errorf("ip netns del %s: %s", n.Name, out)
		}
	})
	n.IP("link", "set", "lo", "up")
	return n
}

// IP runs the ip command in the namespace: IP("link", "set", "lo", "up").
func (n *Namespace) IP(args ...string) {
	n.t.Helper()
	args = append([]string{"-n", n.Name}, args...)
	if out, err := exec.CommandContext(n.t.Context(), "ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Veth makes a pair of interfaces, both in the namespace and up. What is sent into one comes out of the other. The kernel
// sends nothing of its own there: no ARP, and no IPv6 link-local address to announce.
func (n *Namespace) Veth(a, b string) {
	n.t.Helper()
	n.IP("link", "add", "name", a, "type", "veth", "peer", "name", b)
	for _, name := range []string{a, b} {
		n.IP("link", "set", "dev", name, "addrgenmode", "none")
		n.IP("link", "set", "dev", name, "arp", "off", "up")
	}
	for _, name := range []string{a, b} {
		n.awaitUp(name)
	}
}

// awaitUp waits until the kernel has noticed that an interface has a carrier, which it does in the background; until then
// it throws away what is sent.
func (n *Namespace) awaitUp(name string) {
	n.t.Helper()
	const patience = 10 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		out, err := exec.CommandContext(n.t.Context(), "ip", "-n", n.Name, "-o", "link", "show", "dev", name).CombinedOutput()
		switch {
		case err != nil:
			n.t.Fatalf("ip link show dev %s: %v: %s", name, err, out)
		case strings.Contains(string(out), " state UP "):
			return
		case time.Now().After(deadline):
			n.t.Fatalf("%s did not come up: %s", name, out)
		}
	}
}

// Command prepares a program that runs in the namespace.
func (n *Namespace) Command(name string, args ...string) *exec.Cmd {
	return exec.CommandContext(n.t.Context(), "ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
}

// Do runs f in the namespace and waits for it: sockets that f opens belong there for good. f runs on a goroutine and a
// thread of its own; goroutines that it starts do not inherit the namespace. If f ends the test, the test ends.
func (n *Namespace) Do(f func()) {
	n.t.Helper()
	var err error
	finished := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine instead of being used again
		if err = n.enter(); err == nil {
			f()
		}
		finished = true
	}()
	<-done
	switch {
	case err != nil:
		n.t.Fatalf("enter network namespace %s: %v", n.Name, err)
	case !finished:
		n.t.FailNow()
	}
}

func (n *Namespace) enter() error {
	file, err := os.Open(filepath.Join("/run/netns", n.Name))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
}

// Sender puts frames onto an interface.
type Sender struct{ fd int }

// NewSender opens an interface of the namespace for sending; it is closed after the test.
func (n *Namespace) NewSender(ifname string) *Sender {
	n.t.Helper()
	s := &Sender{fd: -1}
	var err error
	n.Do(func() { err = s.open(ifname) })
	if err != nil {
		n.t.Fatalf("send on %s: %v", ifname, err)
	}
	n.t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

func (s *Sender) open(ifname string) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	req, err := unix.NewIfreq(ifname)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(req.Uint32())})
	}
	if err == nil { // no queue, hence none that drops
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	s.fd = fd
	return nil
}

// Send puts one frame, from its destination address on, onto the interface.
func (s *Sender) Send(frame []byte) error {
	_, err := unix.Write(s.fd, frame)
	return err
}
