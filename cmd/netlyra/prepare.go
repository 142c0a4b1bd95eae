package main

import (
	"context"
	"crypto/rand"
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
	each  bool     // it consists of several things, and is looked at where one of its flags is wrong, too
	check func(ctx context.Context) error
}

// check says whether everything that run opens before its first packet can be opened, and leaves everything as it is. It reports all that
// is wrong; run does this first, and config check nothing else. A part is left out where a flag of it is known to be wrong. made are
// directories that changing the user would have made.
func (w *watcher) check(ctx context.Context, p *program, wrong, made []string) error {
	c := w.config
	w.filter = &packetFilter{}
	var errs []error
	failed := slices.Clone(wrong)
	isWrong := func(flag string) bool { return slices.Contains(wrong, flag) }
	for _, part := range []part{
		{[]string{"filter", "filter-bpf"}, false, func(context.Context) error { return w.checkFilter() }},
		{[]string{"interface", "read"}, false, func(context.Context) error { return w.checkSource(p) }},
		{[]string{"database"}, false, func(ctx context.Context) error {
			if slices.Contains(made, filepath.Dir(c.Database)) {
				return nil
			}
			return store.Check(ctx, w.storeOptions())
		}},
		{[]string{"state", "sensor"}, false, func(context.Context) error {
			if !w.keepsState() || slices.Contains(made, c.State) {
				return nil
			}
			return state.Check(state.Path(c.State, c.Sensor))
		}},
		{[]string{"token", "token-file", "read-token-file"}, true, func(context.Context) (err error) {
			w.serving, err = w.serverOptions()
			return err
		}},
		{[]string{"tls-cert", "tls-key"}, true, func(context.Context) error { return w.checkTLSFiles() }},
		{[]string{"brokers", "broker-ca", "broker-cert", "broker-key", "broker-sasl", "broker-password-file"}, false, func(context.Context) error { return w.checkBroker() }},
		{[]string{"listen", "ws-listen", "allowed-hosts"}, false, func(context.Context) error { return w.checkServer(failed, made) }},
	} {
		if !part.each && slices.ContainsFunc(part.flags, isWrong) {
			continue
		}
		if err := part.check(ctx); err != nil {
			errs = append(errs, err)
			failed = append(failed, part.flags...)
		}
	}
	return errors.Join(errs...)
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

// checkTLSFiles makes sure that the files of a certificate can be read, each for itself: that they belong together is for later.
func (w *watcher) checkTLSFiles() error {
	var errs []error
	for _, f := range []struct{ flag, path string }{{"--tls-cert", w.config.TLSCert}, {"--tls-key", w.config.TLSKey}} {
		if f.path == "" {
			continue
		}
		if _, err := os.ReadFile(f.path); err != nil {
			errs = append(errs, &config.UsageError{Err: fmt.Errorf("%s %s: %w", f.flag, f.path, err)})
		}
	}
	return errors.Join(errs...)
}

// checkBroker reads the files that say who this is to the brokers. That one can be reached is for later: run does not need it to start.
func (w *watcher) checkBroker() error {
	if len(w.config.Brokers) == 0 {
		return nil
	}
	b, err := openBroker(&w.config.Broker, w.config.Sensor, w.log, w.warn)
	if err != nil {
		return err
	}
	return b.Close()
}

// checkServer tries the listeners. Where the token, the certificate or the database is known to be wrong (failed names their flags), it
// does so as if they were in order.
func (w *watcher) checkServer(failed, made []string) error {
	o := w.serving
	has := func(flag string) bool { return slices.Contains(failed, flag) }
	if has("token") || has("token-file") || has("read-token-file") {
		o.Token, o.ReadToken = rand.Text(), ""
	}
	if has("tls-cert") || has("tls-key") {
		o.TLS.CertFile, o.TLS.KeyFile = "", ""
	}
	where := os.TempDir() // of a temporary database, and of the certificate beside it
	if w.config.Database != config.DatabaseTemporary {
		where = filepath.Join(filepath.Dir(w.config.Database), tlsDir)
		o.TLS.Dir = where // else what is there is not what run will find
	}
	makes, err := api.Check(o)
	if err != nil || !makes || has("tls-cert") || has("tls-key") || has("database") || slices.Contains(made, filepath.Dir(w.config.Database)) {
		return err
	}
	if err = dir.Writable(where); err != nil {
		err = fmt.Errorf("a certificate is to be made, and cannot be kept: %w: give --tls-cert and --tls-key, or the right to write there", err)
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
