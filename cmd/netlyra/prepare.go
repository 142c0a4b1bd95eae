package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"netlyra/internal/capture"
	"netlyra/internal/capture/filter"
	"netlyra/internal/config"
	"netlyra/internal/models"
	"netlyra/internal/state"
	"netlyra/internal/store"
)

// part is one of the things that run opens before its first packet.
type part struct {
	flags []string                                         // that say what is opened
	each  bool                                             // it consists of several things, and is looked at where one of its flags is wrong, too
	check func(ctx context.Context, failed []string) error // failed: the flags of what is known to be wrong so far
}

// check says whether everything that run opens before its first packet can be opened, and leaves everything as it is. It reports all that
// is wrong; run does this first, and config check nothing else. A part is left out where a flag of it is known to be wrong. made are
// directories that changing the user would have made.
func (w *watcher) check(ctx context.Context, p *program, wrong, made []string) error {
	c := w.config
	w.filter = &packetFilter{}
	return checkParts(ctx, wrong, append([]part{
		{[]string{"filter", "filter-bpf"}, false, func(context.Context, []string) error { return w.checkFilter() }},
		{[]string{"interface", "read"}, false, func(context.Context, []string) error { return w.checkSource(p) }},
		{[]string{"database"}, false, func(ctx context.Context, _ []string) error {
			if slices.Contains(made, filepath.Dir(c.Database)) {
				return nil
			}
			return store.Check(ctx, w.storeOptions())
		}},
		{[]string{"state", "sensor"}, false, func(context.Context, []string) error {
			if !w.keepsState() || slices.Contains(made, c.State) {
				return nil
			}
			return state.Check(state.Path(c.State, c.Sensor))
		}},
	}, w.parts(made)...))
}

// parts are what is opened to keep and to serve.
func (w *served) parts(made []string) []part {
	return []part{
		{[]string{"token", "token-file", "read-token-file"}, true, func(context.Context, []string) (err error) {
			w.serving, err = w.serverOptions()
			return err
		}},
		{[]string{"tls-cert", "tls-key"}, true, func(context.Context, []string) error { return w.checkTLSFiles() }},
		{[]string{"brokers", "broker-ca", "broker-cert", "broker-key", "broker-sasl", "broker-password-file"}, false, func(context.Context, []string) error { return w.checkBroker() }},
		{[]string{"listen", "ws-listen", "allowed-hosts"}, false, func(_ context.Context, failed []string) error { return w.checkServer(failed, made) }},
	}
}

// checkParts looks at what is to be opened, but for parts that one of the wrong flags is about.
func checkParts(ctx context.Context, wrong []string, parts []part) error {
	var errs []error
	failed := slices.Clone(wrong)
	for _, part := range parts {
		if !part.each && slices.ContainsFunc(part.flags, func(flag string) bool { return slices.Contains(wrong, flag) }) {
			continue
		}
		if err := part.check(ctx, failed); err != nil {
			errs = append(errs, err)
			failed = append(failed, part.flags...)
		}
	}
	return errors.Join(errs...)
}

// checkServed says whether all that serve opens can be opened.
func (w *served) checkServed(ctx context.Context) error {
	return checkParts(ctx, nil, append([]part{{[]string{"database"}, false, func(ctx context.Context, _ []string) error { return store.Check(ctx, w.storeOptions()) }}}, w.parts(nil)...))
}

// checkFilter reads the filter; a wrong one leaves that which passes everything.
func (w *watcher) checkFilter() error {
	f, err := newPacketFilter(&w.config.Detection)
	if err == nil {
		w.filter = f
	}
	return err
}

// checkSource makes sure that the file or the interfaces can be opened.
func (w *watcher) checkSource(p *program) error {
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

// ownDirs are the directories that are to belong to --user.
func (w *watcher) ownDirs() (dirs []string) {
	dirs = w.served.ownDirs()
	if w.config.State != config.StateOff {
		dirs = append(dirs, w.config.State)
	}
	return dirs
}
