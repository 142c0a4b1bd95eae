package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlyra/internal/api"
	"netlyra/internal/capture"
	"netlyra/internal/capture/filter"
	"netlyra/internal/config"
	"netlyra/internal/dir"
	"netlyra/internal/models"
	"netlyra/internal/sandbox"
	"netlyra/internal/state"
	"netlyra/internal/store"
)

// part is one of the things that run opens before its first packet.
type part struct {
	flags []string // that say what is opened
	check func(ctx context.Context) error
}

// check says whether everything that run opens before its first packet can be opened, and leaves everything as it is. It reports all that
// is wrong; run does this first, and config check nothing else. A part is left out where a flag of it is known to be wrong. made are
// directories that changing the user would have made.
func (w *watcher) check(ctx context.Context, p *program, wrong, made []string) error {
	c := w.config
	var errs []error
	for _, part := range []part{
		{[]string{"filter", "filter-bpf", "interface", "read"}, func(context.Context) error { return w.checkSource(p) }},
		{[]string{"database"}, func(ctx context.Context) error {
			if slices.Contains(made, filepath.Dir(c.Database)) {
				return nil
			}
			return store.Check(ctx, w.storeOptions())
		}},
		{[]string{"state", "sensor"}, func(context.Context) error {
			if !w.keepsState() || slices.Contains(made, c.State) {
				return nil
			}
			return state.Check(state.Path(c.State, c.Sensor))
		}},
		{[]string{"listen", "ws-listen", "allowed-hosts", "token", "token-file", "tls-cert", "database"}, func(context.Context) error {
			return w.checkServer(made)
		}},
	} {
		if slices.ContainsFunc(part.flags, func(f string) bool { return slices.Contains(wrong, f) }) {
			continue
		}
		errs = append(errs, part.check(ctx))
	}
	return errors.Join(errs...)
}

// checkSource reads the filter, and makes sure that the file or the interfaces can be opened.
func (w *watcher) checkSource(p *program) error {
	var err error
	if w.filter, err = newPacketFilter(&w.config.Detection); err != nil {
		return err
	}
	if w.config.Read != "" {
		return w.checkFile(p)
	}
	if err := w.chooseInterfaces(); err != nil {
		return err
	}
	var errs []error
	for _, name := range w.live.Interfaces { // each for itself, so that all that is wrong is reported
		o := w.live
		o.Interfaces = []string{name}
		errs = append(errs, capture.CheckLive(o))
	}
	return commaHint(errors.Join(errs...), w.config.Interface)
}

// commaHint says how a name with a comma is written, where an interface is missing and one with such a name is there.
func commaHint(err error, names []string) error {
	whole := strings.Join(names, ",")
	if len(names) < 2 || !errors.Is(err, capture.ErrNoInterface) || !exists(whole) {
		return err
	}
	return fmt.Errorf("%w; a comma separates names: write --interface '%s' for the one called %s", err, strings.ReplaceAll(whole, ",", `\,`), whole)
}

func exists(device string) bool {
	all, err := capture.Devices()
	return err == nil && slices.ContainsFunc(all, func(d capture.Device) bool { return d.Name == device })
}

// checkFile opens the file of --read: a missing one is known at once, not when the first frame is due.
func (w *watcher) checkFile(p *program) error {
	path := w.config.Read
	if info, err := os.Stat(path); path == "-" || err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // what is read from a pipe is gone
	}
	f, err := capture.OpenFile(path, capture.FileOptions{Stdin: p.stdin})
	if err != nil {
		return err
	}
	src, err := w.filter.apply(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	var syntax *filter.SyntaxError // known only with the link type of a frame
	if err := src.Read(&models.Batch{}); errors.As(err, &syntax) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// checkServer reads the tokens and tries the listeners.
func (w *watcher) checkServer(made []string) error {
	o, err := w.serverOptions()
	if err != nil {
		return err
	}
	w.serving = o
	where := os.TempDir() // of a temporary database, and of the certificate beside it
	if w.config.Database != config.DatabaseTemporary {
		where = filepath.Join(filepath.Dir(w.config.Database), tlsDir)
		o.TLS.Dir = where // else what is there is not what run will find
	}
	makes, err := api.Check(o)
	if err == nil && makes && !slices.Contains(made, filepath.Dir(w.config.Database)) {
		if err = dir.Writable(where); err != nil {
			err = fmt.Errorf("a certificate is to be made, and cannot be kept: %w: give --tls-cert and --tls-key, or the right to write there", err)
		}
	}
	return err
}

// ownDirs are the directories that are to belong to --user.
func (w *watcher) ownDirs() (dirs []string) {
	if w.config.Database != config.DatabaseTemporary {
		dirs = append(dirs, filepath.Dir(w.config.Database))
	}
	if w.config.State != config.StateOff {
		dirs = append(dirs, w.config.State)
	}
	return dirs
}

// changeUser makes the process that of --user.
func (w *watcher) changeUser() error {
	if w.config.User == "" {
		return nil
	}
	if err := sandbox.ChangeUser(w.config.User, w.ownDirs()); err != nil {
		return &config.UsageError{Err: err}
	}
	return nil
}

// checkUser makes the process that of --user, too, but no directories: it returns those that changeUser would make.
func (w *watcher) checkUser(wrong []string) (made []string, err error) {
	if w.config.User == "" || slices.Contains(wrong, "user") {
		return nil, nil
	}
	if err := sandbox.CheckUser(w.config.User, w.ownDirs()); err != nil {
		return nil, &config.UsageError{Err: err}
	}
	for _, path := range w.ownDirs() {
		if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
			made = append(made, path)
		}
	}
	if err := sandbox.ChangeUser(w.config.User, nil); err != nil {
		return nil, &config.UsageError{Err: err}
	}
	return made, nil
}
