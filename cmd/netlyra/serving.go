package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus/kafka"
	"netlyra/internal/config"
	"netlyra/internal/dir"
	"netlyra/internal/models"
	"netlyra/internal/role"
	"netlyra/internal/sandbox"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
	"netlyra/ui"

	"github.com/prometheus/client_golang/prometheus"
)

// served is what a program has that keeps and serves: run, and serve.
type served struct {
	settings *config.Serving
	name     string // of the sensor, or of the console
	log      *slog.Logger
	warn     func(text string)
	out      *telemetry.Detached // where log writes
	store    *store.Store
	decided  role.Signal // alerts have left the list or come back
	broker   *kafka.Bus  // nil: nothing leaves the process
	registry *prometheus.Registry
	serving  api.Options                 // where and to whom is served
	sandbox  atomic.Pointer[api.Sandbox] // nil: it is off
	deciders []int
	end      <-chan struct{} // closed when the program is to end
}

func newServed(ctx context.Context, c *config.Serving, name string, log *slog.Logger, out *telemetry.Detached) *served {
	return &served{
		settings: c, name: name, log: log, warn: func(text string) { logWarning(log, text) }, out: out, end: ctx.Done(), deciders: deciders(), decided: role.NewSignal(), registry: telemetry.Registry(),
	}
}

// close closes what was opened.
func (w *served) close() (err error) {
	if w.broker != nil {
		err = w.broker.Close()
	}
	if w.store != nil {
		err = errors.Join(err, w.store.Close())
	}
	return err
}

// storeOptions say what is stored, and for how long.
func (w *served) storeOptions() store.Options {
	c := w.settings
	return store.Options{
		Path: c.Database, Temporary: c.Database == config.DatabaseTemporary, Log: w.log,
		AlertAge: time.Duration(c.AlertAge), ConnectionAge: time.Duration(c.ConnectionAge), MaxBytes: c.DatabaseMaxMB * 1e6,
		DrainTimeout:  drainTimeout,
		TriageChanged: w.decided.Set,
	}
}

// drainTimeout is for what the store has accepted, at the end: with the alert keeper's last attempt it stays below the ten seconds
// that an orderly end may take.
const drainTimeout = 2 * time.Second

// drops are what belongs to no role.
func (w *served) drops() []models.Drop {
	return []models.Drop{{Stage: "log", Reason: "unread", Count: w.out.Lost(), Unit: models.DropLines, Effect: models.DropUnlisted}}
}

// tlsDir is the directory beside the database for a certificate of our own.
const tlsDir = "tls"

// serverOptions say where and to whom is served.
func (w *served) serverOptions() (api.Options, error) {
	c := w.settings
	token, read, err := w.tokens()
	return api.Options{
		Listen: c.Listen, WSListen: c.WSListen, AllowedHosts: c.AllowedHosts, Token: token, ReadToken: read, Deciders: w.deciders,
		TLS: api.TLS{CertFile: c.TLSCert, KeyFile: c.TLSKey},
	}, err
}

// apiOptions add the page to what is served.
func (w *served) apiOptions() (api.Options, error) {
	o := w.serving
	page, err := fs.Sub(ui.Dist, "dist")
	if err != nil {
		return o, err
	}
	if _, err := fs.Stat(page, "index.html"); err == nil {
		o.UI = page
	}
	o.TLS.Dir = filepath.Join(filepath.Dir(w.store.Path()), tlsDir)
	o.Version, o.Sandbox, o.Registry = version(), w.sandbox.Load, w.registry
	return o, nil
}

// health lists why what belongs to no role is not at its best.
func (w *served) health() (reasons []api.Reason) {
	if w.broker != nil {
		reasons = append(reasons, brokerHealth(w.broker)...)
	}
	if problem := w.out.Problem(); problem != "" {
		reasons = append(reasons, api.Reason{Code: "log_unread", Message: fmt.Sprintf("Lines of the log do not arrive: %s. Lines lost so far: %d.", problem, w.out.Lost())})
	}
	return reasons
}

// checkTLSFiles makes sure that the files of a certificate can be read, each for itself: that they belong together is for later.
func (w *served) checkTLSFiles() error {
	var errs []error
	for _, f := range []struct{ flag, path string }{{"--tls-cert", w.settings.TLSCert}, {"--tls-key", w.settings.TLSKey}} {
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
func (w *served) checkBroker() error {
	if len(w.settings.Brokers) == 0 {
		return nil
	}
	if err := w.openBroker(); err != nil {
		return err
	}
	b := w.broker
	w.broker = nil
	return b.Close()
}

// checkServer tries the listeners. Where the token, the certificate or the database is known to be wrong (failed names their flags), it
// does so as if they were in order.
func (w *served) checkServer(failed, made []string) error {
	o := w.serving
	has := func(flag string) bool { return slices.Contains(failed, flag) }
	if has("token") || has("token-file") || has("read-token-file") {
		o.Token, o.ReadToken = rand.Text(), ""
	}
	if has("tls-cert") || has("tls-key") {
		o.TLS.CertFile, o.TLS.KeyFile = "", ""
	}
	where := os.TempDir() // of a temporary database, and of the certificate beside it
	if w.settings.Database != config.DatabaseTemporary {
		where = filepath.Join(filepath.Dir(w.settings.Database), tlsDir)
		o.TLS.Dir = where // else what is there is not what run will find
	}
	makes, err := api.Check(o)
	if err != nil || !makes || has("tls-cert") || has("tls-key") || has("database") || slices.Contains(made, filepath.Dir(w.settings.Database)) {
		return err
	}
	if err = dir.Writable(where); err != nil {
		err = fmt.Errorf("a certificate is to be made, and cannot be kept: %w: give --tls-cert and --tls-key, or the right to write there", err)
	}
	return err
}

// ownDirs are the directories that are to belong to --user.
func (w *served) ownDirs() (dirs []string) {
	if w.settings.Database != config.DatabaseTemporary {
		dirs = append(dirs, filepath.Dir(w.settings.Database))
	}
	return dirs
}

// changeUser makes the process that of --user.
func (w *served) changeUser(dirs []string) error {
	if w.settings.User == "" {
		return nil
	}
	if err := sandbox.ChangeUser(w.settings.User, dirs); err != nil {
		return &config.UsageError{Err: err}
	}
	return nil
}

// checkUser makes the process that of --user, too, but no directories: it returns those that changeUser would make.
func (w *served) checkUser(wrong, dirs []string) (made []string, err error) {
	if w.settings.User == "" || slices.Contains(wrong, "user") {
		return nil, nil
	}
	if err := sandbox.CheckUser(w.settings.User, dirs); err != nil {
		return nil, &config.UsageError{Err: err}
	}
	for _, path := range dirs {
		if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
			made = append(made, path)
		}
	}
	if err := sandbox.ChangeUser(w.settings.User, nil); err != nil {
		return nil, &config.UsageError{Err: err}
	}
	return made, nil
}
