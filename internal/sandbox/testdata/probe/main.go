// Command probe enters the sandbox and tries what must succeed and what must fail there. It prints JSON: the status, and for each
// attempt the error, "" where it succeeded.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"netlyra/internal/sandbox"
)

func main() {
	write := flag.String("write", "", "")
	read := flag.String("read", "", "")
	netRaw := flag.Bool("net-raw", false, "")
	connect := flag.Bool("connect", false, "keep the right to connect to TCP ports")
	as := flag.String("user", "", "")
	flag.Parse()
	// Threads that are there before: what is given up must be given up by each of them.
	var ready sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			<-stop
		}()
	}
	ready.Wait()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if *as != "" {
		if err := sandbox.ChangeUser(*as, []string{*write}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := os.WriteFile(filepath.Join(*write, "before"), nil, 0o600); err != nil {
		panic(err)
	}
	s := sandbox.Enter(sandbox.Options{KeepNetRaw: *netRaw, Connect: *connect, Read: strings.Split(*read, ","), Write: []string{*write}})
	result := map[string]string{}
	try := func(name string, f func() error) {
		result[name] = ""
		if err := f(); err != nil {
			result[name] = err.Error()
		}
	}
	try("exec", func() error { return exec.Command("/bin/true").Run() })
	try("execve", func() error { return unix.Exec("/bin/true", []string{"true"}, nil) })
	try("fork", func() error {
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			syscall.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
		return nil
	})
	open := func(path string) func() error {
		return func() error {
			f, err := os.Open(path)
			if err == nil {
				_ = f.Close()
			}
			return err
		}
	}
	try("read /etc/shadow", open("/etc/shadow"))
	try("read /etc/passwd", open("/etc/passwd"))
	try("read /proc/net/tcp", open("/proc/net/tcp"))
	try("user lookup", func() error { _, err := user.LookupId("0"); return err })
	try("write outside", func() error { return os.WriteFile(filepath.Join(filepath.Dir(*write), "outside"), nil, 0o600) })
	try("write inside", func() error { return os.WriteFile(filepath.Join(*write, "inside"), []byte("x"), 0o600) })
	try("rename inside", func() error { return os.Rename(filepath.Join(*write, "inside"), filepath.Join(*write, "renamed")) })
	try("truncate inside", func() error { return os.Truncate(filepath.Join(*write, "renamed"), 0) })
	try("remove inside", func() error { return os.Remove(filepath.Join(*write, "renamed")) })
	try("directory inside", func() error { return os.Mkdir(filepath.Join(*write, "dir"), 0o700) })
	try("symlink inside", func() error { return os.Symlink("/etc/shadow", filepath.Join(*write, "link")) })
	try("setuid", func() error { _, _, e := syscall.RawSyscall(unix.SYS_SETUID, 65534, 0, 0); return number(e) })
	try("setuid 0", func() error { _, _, e := syscall.RawSyscall(unix.SYS_SETUID, 0, 0, 0); return number(e) })
	try("mount", func() error { return unix.Mount("none", *write, "tmpfs", 0, "") })
	try("unshare", func() error { return unix.Unshare(unix.CLONE_NEWUSER) })
	try("ptrace", func() error { return unix.PtraceAttach(os.Getppid()) })
	try("bpf", func() error { _, _, e := syscall.RawSyscall(unix.SYS_BPF, 0, 0, 0); return number(e) })
	try("packet socket", socket(unix.AF_PACKET, unix.SOCK_RAW, 0))
	try("raw socket", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))
	try("multipath socket", socket(unix.AF_INET, unix.SOCK_STREAM, 262))
	try("stream socket", socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	try("vsock socket", socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0))
	try("listen", func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			_ = l.Close()
		}
		return err
	})
	try("connect", func() error {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	try("interfaces", func() error { _, err := net.Interfaces(); return err })
	try("signal to parent", func() error { return unix.Kill(os.Getppid(), 0) })
	try("own signal", func() error { return unix.Kill(os.Getpid(), unix.SIGCONT) })
	try("new threads", func() error { // more at once than there can have been before
		started, done := make(chan struct{}), make(chan struct{})
		defer close(done)
		for range 32 {
			go func() {
				runtime.LockOSThread()
				started <- struct{}{}
				<-done
			}()
		}
		for range 32 {
			select {
			case <-started:
			case <-time.After(10 * time.Second):
				return os.ErrDeadlineExceeded
			}
		}
		return nil
	})
	_ = listener.Close()
	threads := map[string]string{}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		panic(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		var kept []string
		for line := range strings.Lines(string(b)) {
			for _, name := range []string{"Uid:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:"} {
				if strings.HasPrefix(line, name) {
					kept = append(kept, strings.Join(strings.Fields(line), " "))
				}
			}
		}
		threads[filepath.Base(filepath.Dir(task))] = strings.Join(kept, "\n")
	}
	close(stop)
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"status": s, "tried": result, "threads": threads})
}

func number(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func socket(family, kind, proto int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, proto)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
}
