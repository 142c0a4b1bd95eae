package main

import (
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

// Where no token is demanded, root decides and so does the user who has called sudo; others are refused, and so is whoever a caller that is
// not root names.
func TestWhoCalledSudoDecides(t *testing.T) {
	if os.Getuid() != 0 {
		nettest.Unavailable(t, "only root can start programs as other users: run this test with sudo")
	}
	const caller, other = 4711, 4712
	t.Setenv("SUDO_UID", "4711")
	p := startRun(t, nil, filepath.Join(t.TempDir(), "netlyra.db"), "--read", sample, "--speed", "max")
	until(t, "alert", func() bool { return len(p.listed("")) > 0 })
	var id string
	for id = range p.listed("") {
		break
	}
	for _, tc := range []struct {
		uid    uint32
		status int
		says   string
	}{
		{other, exitFailed, "uid 4712"},
		{caller, exitOK, "acknowledged"},
		{0, exitOK, "acknowledged"},
	} {
		c := exec.CommandContext(t.Context(), netlyraBinary(t), "alert", "ack", id, "--api", p.page)
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tc.uid, Gid: tc.uid}}
		out, err := c.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if status := c.ProcessState.ExitCode(); status != tc.status || !strings.Contains(string(out), tc.says) {
			t.Errorf("uid %d: exit status %d: %s", tc.uid, status, out)
		}
	}
	var decisions struct{ Items []struct{ Who string } }
	p.get("api/v1/decisions", &decisions)
	var who []string
	for _, d := range decisions.Items {
		who = append(who, d.Who)
	}
	slices.Sort(who)
	if !slices.Equal(who, []string{"root", "uid 4711"}) {
		t.Errorf("decided by %v", who)
	}
}

// The name of a user by root's own hand counts only where root asks.
func TestDeciders(t *testing.T) {
	if os.Getuid() != 0 {
		nettest.Unavailable(t, "who may decide depends on being root: run this test with sudo")
	}
	for value, want := range map[string][]int{"": {0, 0}, "4711": {0, 0, 4711}, "0": {0, 0}, "-1": {0, 0}, "root": {0, 0}} {
		t.Setenv("SUDO_UID", value)
		if got := deciders(); !slices.Equal(got, want) {
			t.Errorf("SUDO_UID=%q: %v, want %v", value, got, want)
		}
	}
}
