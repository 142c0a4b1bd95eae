package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"netlyra/internal/api"
	"netlyra/internal/config"
	"netlyra/internal/sandbox"
)

// enterSandbox gives up what is not needed once everything is open, and says what is in force.
func (w *served) enterSandbox(ctx context.Context, keepNetRaw bool, write, read []string) error {
	c := w.settings
	if c.Sandbox == "off" {
		w.log.LogAttrs(ctx, slog.LevelWarn, "sandbox is off: every privilege is kept")
		return nil
	}
	s := sandbox.Enter(sandbox.Options{KeepNetRaw: keepNetRaw, Connect: w.broker != nil, Read: read, Write: write})
	if c.Sandbox == "require" {
		if err := s.Complete(); err != nil {
			return err
		}
	}
	w.sandbox.Store(&api.Sandbox{
		User: s.User, Capabilities: append([]string{}, s.Capabilities...), NoNewPrivs: s.NoNewPrivs, Landlock: s.Landlock, Seccomp: s.Seccomp,
		Missing: append([]string{}, s.Missing...),
	})
	attrs := []slog.Attr{
		slog.String("user", s.User), slog.Any("capabilities", s.Capabilities), slog.Bool("no_new_privs", s.NoNewPrivs),
		slog.Int("landlock", s.Landlock), slog.Bool("seccomp", s.Seccomp),
	}
	if len(s.Notes) > 0 {
		attrs = append(attrs, slog.Any("notes", s.Notes))
	}
	if len(s.Missing) > 0 {
		w.log.LogAttrs(ctx, slog.LevelWarn, "sandbox is incomplete", append(attrs, slog.Any("missing", s.Missing))...)
		return nil
	}
	w.log.LogAttrs(ctx, slog.LevelInfo, "sandboxed", attrs...)
	return nil
}

// ownPaths are the directories that the program writes in, and what else it reads while it runs.
func (w *served) ownPaths() (write, read []string) {
	c := w.settings
	write = bothEnds(w.store.Path())
	if c.Database == config.DatabaseTemporary {
		write = append(write, filepath.Dir(filepath.Dir(w.store.Path()))) // its directory is removed from there at the end
	}
	// Counters and sockets; what shows that descriptors are left; names of users and of hosts; the local time.
	read = []string{"/proc", "/sys", "/dev/null", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/localtime", "/usr/share/zoneinfo"}
	for _, path := range []string{c.TLSCert, c.TLSKey} { // a new certificate comes as a new file
		if path != "" {
			read = append(read, bothEnds(path)...)
		}
	}
	if w.broker != nil && c.BrokerCA == "" { // certificates of the system's authorities are read with the first connection
		read = append(read, "/etc/ssl", "/usr/share/ca-certificates", "/etc/pki")
	}
	return write, read
}

// bothEnds are the directories of a file, and of what it is a link to.
func bothEnds(path string) []string {
	dirs := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	return dirs
}
