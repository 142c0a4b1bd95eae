package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sendingEnd  = "send0"
	watchingEnd = "watch0"
)

// link is a pair of interfaces in a network namespace of its own: what is sent into sendingEnd arrives at watchingEnd, and the kernel
// sends nothing of its own there.
type link struct{ namespace string }

// newLink makes the pair; the caller closes it.
func newLink(ctx context.Context) (*link, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("bench: a network namespace needs root: run it with sudo")
	}
	for program, remedy := range map[string]string{"ip": "iproute2", "ethtool": "ethtool"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("bench: %s is missing: apt-get install %s", program, remedy)
		}
	}
	l := &link{namespace: fmt.Sprintf("netlyra-bench-%d", os.Getpid())}
	if err := run(exec.CommandContext(ctx, "ip", "netns", "add", l.namespace)); err != nil {
		return nil, err
	}
	if err := l.setUp(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *link) setUp(ctx context.Context) error {
	steps := [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "link", "add", "name", sendingEnd, "type", "veth", "peer", "name", watchingEnd},
		{"ip", "link", "set", "dev", sendingEnd, "addrgenmode", "none"},
		{"ip", "link", "set", "dev", watchingEnd, "addrgenmode", "none"},
		{"ip", "link", "set", "dev", sendingEnd, "arp", "off", "up"},
		{"ip", "link", "set", "dev", watchingEnd, "arp", "off", "up"},
		{"ethtool", "-K", watchingEnd, "gro", "on"}, // without it veth takes no frames from XDP; it merges none of ours
	}
	for _, step := range steps {
		if err := run(l.command(ctx, step[0], step[1:]...)); err != nil {
			return err
		}
	}
	// Until the kernel has noticed the carrier, in the background, it throws away what is sent.
	for _, name := range []string{sendingEnd, watchingEnd} {
		if err := l.awaitUp(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) awaitUp(ctx context.Context, name string) error {
	const patience = 10 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s, err := l.show(ctx, name)
		switch {
		case err != nil:
			return err
		case s.State == "UP":
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("bench: %s did not come up within %v", name, patience)
		}
	}
}

// linkState is what `ip -json -statistics link show` says of an interface.
type linkState struct {
	State string `json:"operstate"`
	Stats struct {
		RX struct {
			Packets uint64 `json:"packets"`
		} `json:"rx"`
	} `json:"stats64"`
}

func (l *link) show(ctx context.Context, name string) (linkState, error) {
	out, err := l.command(ctx, "ip", "-json", "-statistics", "link", "show", "dev", name).Output()
	if err != nil {
		return linkState{}, fmt.Errorf("bench: ip link show dev %s: %w", name, err)
	}
	var all []linkState
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		return linkState{}, fmt.Errorf("bench: ip link show dev %s says %q", name, out)
	}
	return all[0], nil
}

// command prepares a program that runs in the namespace.
func (l *link) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.namespace, name}, args...)...)
}

// do runs f on a thread in the namespace; sockets that f opens belong there for good.
func (l *link) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine instead of being used again
		done <- func() error {
			file, err := os.Open(filepath.Join("/run/netns", l.namespace))
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("bench: enter the network namespace %s: %w", l.namespace, err)
			}
			return f()
		}()
	}()
	return <-done
}

// close removes the namespace and the pair with it.
func (l *link) close() error {
	return run(exec.CommandContext(context.Background(), "ip", "netns", "del", l.namespace))
}

func run(c *exec.Cmd) error {
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("bench: %s: %w: %s", strings.Join(c.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
