package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal (pty(7)) and returns the end that a program has.
func terminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: mount devpts (%v)", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return tty
}

// Binary data does not go to a terminal.
func TestEmitToATerminal(t *testing.T) {
	var errs bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: terminal(t), stderr: &errs}
	if status := p.run(t.Context(), []string{"analyze", "--emit", "slots", sample}); status != exitUsage || !strings.Contains(errs.String(), "terminal") {
		t.Errorf("exit status %d: %s", status, &errs)
	}
}

// A reader that goes ends the real program in order: with its summary, a message and status 1, not by SIGPIPE.
func TestEmitIntoAClosedPipe(t *testing.T) {
	for _, emit := range []string{"packets", "slots"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		c := exec.CommandContext(t.Context(), netlyraBinary(t), "analyze", "--emit", emit, sample, sample, sample, sample)
		c.Stdout, c.Stderr = w, &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		if _, err := r.Read(make([]byte, 100)); err != nil {
			t.Error(err)
		}
		_ = r.Close()
		var exit *exec.ExitError
		if err := c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(errs.String(), "has gone") || !strings.Contains(errs.String(), "alerts:") {
			t.Errorf("%s: %v, %s", emit, err, &errs)
		}
	}
}
