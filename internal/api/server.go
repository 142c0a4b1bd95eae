// Package api serves what NetLyra knows: REST under /api/v1 with its OpenAPI description, Prometheus metrics, live events
// over WebSocket, and the page.
//
// What it serves it reads through two interfaces of its own, Store (the past, and what people decide about it) and Live (the
// present); alerts are pushed in with PublishAlert. internal/api/asyncapi.yaml specifies the WebSocket, openapi.yaml the rest.
//
// It trusts no web page: the Host header must name this server (DNS rebinding), the Origin of a WebSocket and of a
// request that changes something must be this server's page, and beyond loopback a token and TLS are demanded.
//
// Times are capture time in microseconds unless said otherwise; sizes are bytes.
package api

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"netlyra/internal/models"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Store is what the API asks of the database. Queries have been checked: Limit is 1 to models.MaxPageLimit, texts are of their
// closed lists. An error that wraps neither models.ErrNotFound nor models.ErrBadQuery is answered with 503.
type Store interface {
	Decisions
	Alerts(ctx context.Context, q models.AlertQuery) (models.Page[models.Alert], error)
	Alert(ctx context.Context, id string) (models.Alert, error)
	Connections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error)
	Hosts(ctx context.Context, q models.HostQuery) (models.Page[models.Host], error)
	Host(ctx context.Context, ip, sensor string) (models.Host, error)
	Series(ctx context.Context, q models.SeriesQuery) ([]models.SeriesPoint, error)
}

// Decisions is what the API has the database remember of what people decide. What exceptions say has not been checked: a
// *models.FieldError is answered with 400, models.ErrTooManyExceptions and a *models.DuplicateException with 409.
type Decisions interface {
	SetTriage(ctx context.Context, id string, t models.Triage, by models.Actor) error
	Decisions(ctx context.Context, q models.DecisionQuery) (models.Page[models.Decision], error)
	Exceptions(ctx context.Context) ([]models.Exception, error)
	Exception(ctx context.Context, id string) (models.Exception, error)
	PreviewException(ctx context.Context, e models.Exception, limit int) (models.ExceptionPreview, error)
	AddException(ctx context.Context, e models.Exception, by models.Actor) (models.Exception, error)
	ChangeException(ctx context.Context, id string, c models.ExceptionChange, by models.Actor) (models.Exception, error)
	RemoveException(ctx context.Context, id string, by models.Actor) error
}

// Live is the present state of the pipeline. Its methods are called from several goroutines, never block, and what they
// return is not changed afterwards by either side.
type Live interface {
	// Stats is called up to 60 times a second.
	Stats() models.Stats
	// Generation rises whenever Stats or a connection has changed; it starts above 0.
	Generation() uint64
	// LiveConnections lists the connections in the table that match, newest first by ID, with the total of all that do.
	LiveConnections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error)
	// Sensors are the states of the sensors that are watched, by name.
	Sensors() []models.SensorState
	// ConnectionChanges tells what has changed after the generation since, of its own count: for each that clients know, up to 20
	// times a second. since 0 asks for all.
	ConnectionChanges(since uint64) models.ConnectionChanges
}

// Reason is why the program is not at its best: Code for programs (snake_case), Message for people.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Sandbox is what the process has given up once everything was open.
type Sandbox struct {
	User         string   `json:"user"`         // whom it runs as
	Capabilities []string `json:"capabilities"` // that it keeps
	NoNewPrivs   bool     `json:"no_new_privs"`
	Landlock     int      `json:"landlock"` // version of the kernel's interface; 0: files are not restricted
	Seccomp      bool     `json:"seccomp"`
	Missing      []string `json:"missing"` // parts that are not in force, and why
}

// TLS says how the listeners encrypt.
type TLS struct {
	CertFile, KeyFile string // PEM; both or none
	SelfSigned        bool   // make an own certificate, also on loopback
	Dir               string // where the own certificate is kept; it is made when there is none or it expires soon
}

// Options configure a Server. Store, Live, Registry and Log are required.
type Options struct {
	Listen       string   // "" means 127.0.0.1:8090
	WSListen     string   // "" means 127.0.0.1:8091; "off": only /ws on Listen
	AllowedHosts []string // names in the Host header beside localhost, loopback and the listen addresses
	Token        string   // "": no authentication, loopback only; else one that CheckToken takes
	ReadToken    string   // lets read, but not decide; needs Token; "": there is none
	Deciders     []int    // local users who may decide where there is no Token; nil: root and who runs this
	TLS          TLS
	MaxClients   int             // WebSocket clients at a time; 0 means 64
	Version      string          // of the program
	Store        Store           // the past
	Live         Live            // the present
	News         <-chan struct{} // receives when Live has changed; nil: Changed says so
	Sandbox      func() *Sandbox // what the process has given up; nil, and a nil answer: nothing is known of it
	Health       func() []Reason // nil: only what Live.Stats tells; called for each request for health, must not block
	UI           fs.FS           // index.html and assets/; nil: a note in its place
	Registry     *prometheus.Registry
	Log          *slog.Logger
}

const (
	defaultListen   = "127.0.0.1:8090"
	defaultWSListen = "127.0.0.1:8091"
	wsOff           = "off"
	defaultClients  = 64

	shutdownTime = 3 * time.Second
)

// Server is the API with its listeners bound.
type Server struct {
	opts     Options
	log      *slog.Logger
	started  time.Time
	main     endpoint
	ws       endpoint // listener nil: off
	hosts    hostGuard
	auth     authenticator
	guesses  *guesses
	places   *places
	refusals *refusals
	sockets  *sockets
	deciders map[int]string // names by uid
	hub      *hub
	metrics  *metrics
	drops    dropWatch
	store    *storeWatch
	cert     *certKeeper // nil: no TLS

	pageFiles         map[string]*asset // by path
	openAPI, asyncAPI *asset
}

// endpoint is one listener and what it serves.
type endpoint struct {
	flag     string
	listener net.Listener
	server   *http.Server
}

// New checks the options and binds the listeners, so that a port in use is known before a capture starts; nothing is
// served until Run. An error names the flag and says what to do. A Server that is not run is to be closed.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Server{
		opts: o, log: o.Log, started: time.Now(), auth: newAuthenticator(o.Token, o.ReadToken), guesses: newGuesses(),
		refusals: newRefusals(o.Log), sockets: openSockets(), deciders: deciderNames(o.Deciders),
		store: newStoreWatch(),
	}
	s.places = newPlaces(func(whence string) { s.refusals.add(reasonStrangers, whence, nil) })
	if err := s.bind(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Check says whether New would serve with these options, and leaves everything as it is; Store, Live, Registry and Log need not be there.
// The listeners are opened and closed again. All that is wrong is reported. makes says that New would make a certificate in TLS.Dir.
func Check(o Options) (makes bool, err error) {
	o = o.withDefaults()
	err = o.checkServing()
	if !resolves(o.Listen) || o.WSListen != wsOff && !resolves(o.WSListen) {
		return false, err
	}
	s := &Server{opts: o}
	err = errors.Join(err, s.listen())
	if s.needsTLS() && (o.TLS.CertFile == "") == (o.TLS.KeyFile == "") && (o.TLS.CertFile != "" || o.TLS.Dir != "") {
		var problem error
		makes, problem = o.TLS.check(s.hosts.names(), time.Now())
		err = errors.Join(err, problem)
	}
	for _, l := range s.listeners() {
		err = errors.Join(err, l.Close())
	}
	return makes, err
}

func resolves(addr string) bool {
	_, err := net.ResolveTCPAddr("tcp", addr)
	return err == nil
}

func (o Options) withDefaults() Options {
	if o.Listen == "" {
		o.Listen = defaultListen
	}
	if o.WSListen == "" {
		o.WSListen = defaultWSListen
	}
	if o.MaxClients == 0 {
		o.MaxClients = defaultClients
	}
	return o
}

// check also puts addresses in the place of names, so that what was checked is what is bound.
func (o *Options) check() error {
	var errs []error
	if o.Store == nil || o.Live == nil || o.Registry == nil || o.Log == nil {
		errs = append(errs, errors.New("api: Options needs Store, Live, Registry and Log"))
	}
	return errors.Join(append(errs, o.checkServing())...)
}

// checkServing checks what says where and to whom is served.
func (o *Options) checkServing() error {
	errs := []error{o.checkTokens()}
	if (o.TLS.CertFile == "") != (o.TLS.KeyFile == "") {
		errs = append(errs, errors.New("api: a certificate needs its key: give both files or none"))
	}
	if o.MaxClients < 0 {
		errs = append(errs, fmt.Errorf("api: %d WebSocket clients: use 1 or more", o.MaxClients))
	}
	errs = append(errs, o.checkListen("--listen", &o.Listen))
	if o.WSListen != wsOff {
		errs = append(errs, o.checkListen("--ws-listen", &o.WSListen))
	}
	return errors.Join(errs...)
}

func (o *Options) checkTokens() error {
	var errs []error
	for _, t := range []struct{ name, token string }{{"the token", o.Token}, {"the token for reading", o.ReadToken}} {
		if t.token == "" {
			continue
		}
		if err := CheckToken(t.token); err != nil {
			errs = append(errs, fmt.Errorf("api: %s: %w", t.name, err))
		}
	}
	switch {
	case o.ReadToken != "" && o.Token == "":
		errs = append(errs, errors.New("api: a token for reading needs one for deciding beside it"))
	case o.ReadToken != "" && o.ReadToken == o.Token:
		errs = append(errs, errors.New("api: the token for reading is that for deciding: use two different ones"))
	}
	return errors.Join(errs...)
}

// checkListen refuses addresses that others can reach unless there is a token, and somewhere to keep a certificate.
func (o *Options) checkListen(flag string, listen *string) error {
	addr := *listen
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return fmt.Errorf("api: %s %s: not a host:port: %w", flag, addr, err)
	}
	*listen = tcp.String()
	if tcp.IP.IsLoopback() {
		return nil
	}
	if o.Token == "" {
		return fmt.Errorf("api: %s %s can be reached from other machines, which needs a token: set --token or NETLYRA_TOKEN "+
			"(%d characters or more), or listen on 127.0.0.1", flag, addr, minToken)
	}
	if o.TLS.CertFile == "" && o.TLS.Dir == "" {
		return fmt.Errorf("api: %s %s can be reached from other machines, which needs TLS: give a certificate and its key, "+
			"or a directory to keep an own one in", flag, addr)
	}
	return nil
}

// bind opens the listeners, wrapped in TLS where it is needed or asked for.
func (s *Server) bind() error {
	if err := s.listen(); err != nil {
		return err
	}
	s.main.listener = s.places.listener(s.main.listener)
	if s.ws.listener != nil {
		s.ws.listener = s.places.listener(s.ws.listener)
	}
	return s.encrypt()
}

// listen opens the listeners, and learns from them by which names this server is called.
func (s *Server) listen() error {
	var errs [2]error
	s.main.flag, s.ws.flag = "--listen", "--ws-listen"
	s.main.listener, errs[0] = listen(s.main.flag, s.opts.Listen)
	if s.opts.WSListen != wsOff {
		s.ws.listener, errs[1] = listen(s.ws.flag, s.opts.WSListen)
	}
	s.hosts = newHostGuard(s.opts.AllowedHosts, s.listeners())
	return errors.Join(errs[:]...)
}

func (s *Server) listeners() (open []net.Listener) {
	for _, l := range []net.Listener{s.main.listener, s.ws.listener} {
		if l != nil {
			open = append(open, l)
		}
	}
	return open
}

func listen(flag, addr string) (net.Listener, error) {
	// Multipath TCP, Go's default, is refused by the sandbox: Landlock's TCP rules do not cover it.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("api: %s %s: the port is in use by another program: stop that or choose another with %s", flag, addr, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("api: %s %s: this machine does not have that address: choose another with %s", flag, addr, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("api: %s %s: not permitted: choose a port above 1023 with %s", flag, addr, flag)
	case err != nil:
		return nil, fmt.Errorf("api: %s %s: %w", flag, addr, err)
	}
	return l, nil
}

// needsTLS says whether any of the listeners can be reached from elsewhere, or the options ask for TLS.
func (s *Server) needsTLS() bool {
	need := s.opts.TLS.CertFile != "" || s.opts.TLS.SelfSigned
	for _, l := range s.listeners() {
		need = need || !isLoopback(l.Addr())
	}
	return need
}

// encrypt wraps the listeners in TLS where it is needed.
func (s *Server) encrypt() error {
	if !s.needsTLS() {
		return nil
	}
	var err error
	if s.cert, err = keepCertificate(s.opts.TLS, s.hosts.names(), s.log); err != nil {
		return err
	}
	config := &tls.Config{GetCertificate: s.cert.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	s.main.listener = tls.NewListener(s.main.listener, config)
	if s.ws.listener != nil {
		s.ws.listener = tls.NewListener(s.ws.listener, config)
	}
	return nil
}

// build makes everything that serves.
func (s *Server) build() error {
	s.metrics = newMetrics(s.opts.Version)
	if err := s.metrics.register(s.opts.Registry, s.stats, s.refusals.total, s.places.gauge); err != nil {
		return fmt.Errorf("api: metrics: %w", err)
	}
	var epoch [8]byte
	rand.Read(epoch[:])
	s.hub = newHub(hubOptions{
		live: s.opts.Live, news: s.opts.News, stats: s.stats, epoch: hex.EncodeToString(epoch[:]), version: s.opts.Version,
		max: s.opts.MaxClients, metrics: s.metrics,
	})
	if err := s.loadAssets(); err != nil {
		return err
	}
	packed, err := compress(s.routes(true))
	if err != nil {
		return err
	}
	s.main.server = s.httpServer(packed)
	s.ws.server = s.httpServer(s.routes(false))
	return nil
}

// loadAssets packs what does not change: the page and the descriptions.
func (s *Server) loadAssets() (err error) {
	const yaml = "application/yaml; charset=utf-8"
	if s.openAPI, err = newAsset(yaml, cacheAsk, openAPI); err != nil {
		return err
	}
	if s.asyncAPI, err = newAsset(yaml, cacheAsk, asyncAPI); err != nil {
		return err
	}
	s.pageFiles, err = loadPage(s.opts.UI)
	return err
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           headAsGet(h),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext:       withConn,
	}
}

// Run serves until ctx ends, which is no error, or a listener fails. WebSocket clients are told bye; requests under way have
// three seconds.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	defer func() { _ = s.sockets.close() }() // read only: nothing to lose
	g.Go(func() error { return s.hub.run(ctx) })
	g.Go(func() error { return s.refusals.run(ctx) })
	g.Go(func() error { return s.store.run(ctx, s.opts.Store) })
	g.Go(func() error { return s.drops.run(ctx, s.stats) })
	g.Go(func() error { return s.serve(ctx, s.main) })
	if s.ws.listener != nil {
		g.Go(func() error { return s.serve(ctx, s.ws) })
	}
	return g.Wait()
}

func (s *Server) serve(ctx context.Context, e endpoint) error {
	failed := make(chan error, 1)
	go func() { failed <- e.server.Serve(e.listener) }()
	attrs := []slog.Attr{slog.String("flag", e.flag), slog.String("address", e.listener.Addr().String())}
	if s.encrypted() {
		attrs = append(attrs, slog.String("certificate_sha256", s.Fingerprint()))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "listening", attrs...)
	select {
	case err := <-failed:
		return fmt.Errorf("api: %s %s: %w", e.flag, e.listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := e.server.Shutdown(grace); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "requests cut off", slog.Any("error", err))
		_ = e.server.Close() // what is left is cut off: there is nobody to report it to
	}
	<-failed //nolint:errcheck // http.ErrServerClosed, which was asked for
	return nil
}

// Close releases the listeners of a Server that will not be run.
func (s *Server) Close() error {
	errs := []error{s.sockets.close()}
	for _, l := range []net.Listener{s.main.listener, s.ws.listener} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Addrs are the addresses that the listeners are bound to: Listen's, then WSListen's unless that is off.
func (s *Server) Addrs() []net.Addr {
	var all []net.Addr
	for _, l := range s.listeners() {
		all = append(all, l.Addr())
	}
	return all
}

// URL is where the page is, with the address as it was bound.
func (s *Server) URL() string {
	scheme := "http"
	if s.encrypted() {
		scheme = "https"
	}
	return scheme + "://" + s.main.listener.Addr().String() + "/"
}

// Fingerprint is the SHA-256 of the certificate in use, upper-case hex with colons, as browsers show it; "" without TLS.
func (s *Server) Fingerprint() string {
	if s.cert == nil {
		return ""
	}
	return s.cert.fingerprint()
}

// encrypted says whether the listeners speak TLS.
func (s *Server) encrypted() bool { return s.cert != nil }

// PublishAlert sends a revision of an alert to the WebSocket clients. It is called after the store has committed it, never
// blocks, and keeps no reference to a.
func (s *Server) PublishAlert(a *models.Alert) { s.hub.publishAlert(a) }

// TriageChanged tells the WebSocket clients that alerts have left the list or come back into it, so that they fetch it again.
// It never blocks.
func (s *Server) TriageChanged() { s.hub.triageChanged() }

// Changed says that Live has something new, so that clients hear of it at once if nothing was sent for a while. It never
// blocks; without it they hear within 16 ms.
func (s *Server) Changed() { s.hub.changed() }

// stats are Live's, with what this package itself has dropped.
func (s *Server) stats() models.Stats {
	st := s.opts.Live.Stats()
	drops := make([]models.Drop, 0, len(st.Drops)+3)
	st.Drops = append(append(drops, st.Drops...), s.hub.drops()...)
	return st
}

// port of a listener's address.
func port(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return strconv.Itoa(tcp.Port)
	}
	return ""
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// hostOnly strips port and brackets from a Host header or a listen address.
func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}
