// Package kafka is the bus over a Kafka broker, or one that speaks its protocol. A Bus needs no broker to start and none to go on: while it has
// none, or one that refuses, it keeps what is produced up to a bound a topic, drops and counts what goes beyond, and says in Health what is wrong.
//
//	Produce ─ room (bytes a topic) ─ stream (a client a topic) ─ broker ─ consumer (a client each) ─ Poll
//
// docs/wire-format.md has the topics, their keys, headers and records.
package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// Options configure a Bus.
type Options struct {
	Brokers     []string                    // host or host:port (9092), at least one: the others are learned from it
	ClientID    string                      // for the broker's logs, quotas and ACLs; "" means netlyra
	TLS         *TLS                        // nil: not encrypted
	SASL        *SASL                       // nil: no authentication, or by the client's certificate
	Topics      []bus.Topic                 // that this program uses: they are looked for, and made where they are absent; nil means all
	NoCreate    bool                        // topics that are absent are a problem, and not made
	Partitions  int32                       // of a topic that is made; 0 means 8
	Replication int16                       // of a topic that is made; 0 means the broker's default
	Retention   map[bus.Topic]time.Duration // of a topic that is made; 0 means that of docs/wire-format.md
	BufferBytes int                         // bound on what one topic keeps for the broker; 0 means 64 MiB. A single larger record fits into an empty topic
	TopicBytes  map[bus.Topic]int           // the same for topics that have a bound of their own
	Session     time.Duration               // after which a member of a group that is not heard of has left; 0 means 6 s, a broker's least by default
	Drain       time.Duration               // for what has been taken, at the end; 0 means 5 s
}

// TLS says how the connection to a broker is encrypted, and with whom. Files are in PEM.
type TLS struct {
	CAFile   string // who may sign the broker's certificate; "" means the system's
	CertFile string // of the client, with KeyFile; both or none
	KeyFile  string
}

// SASL says who the client is.
type SASL struct {
	Mechanism string // "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512"
	User      string
	Password  string
}

// Mechanisms lists the mechanisms of SASL.
func Mechanisms() []string { return []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} }

// Deps are what a Bus needs.
type Deps struct {
	Log *slog.Logger // gets each change of what Health says, once
}

// The reasons of losses that only a broker has.
const (
	DropUndelivered  = "undelivered"   // the broker refused the record, or the program ended before it took it
	DropMalformed    = "malformed"     // read, but not what it should be: it is in TopicDLQ
	DropNewerVersion = "newer_version" // read, but written by a newer program: it stays in its topic
)

const (
	requestTimeout  = 5 * time.Second        // of a produce request, and on top of others'
	metadataMaxAge  = 10 * time.Second       // so that a topic or a leader that is new is found
	metadataMinAge  = 250 * time.Millisecond // between two tries
	retryAtMost     = 2 * time.Second
	defaultSession  = 6 * time.Second
	defaultDrain    = 5 * time.Second
	defaultBuffer   = 64 << 20
	defaultClientID = "netlyra"
	partitions      = 8
)

// Bus is a bus.Bus on a broker.
type Bus struct {
	options Options
	log     *slog.Logger
	common  []kgo.Opt // of every client
	admin   *kgo.Client
	streams map[bus.Topic]*stream
	losses  bus.Losses
	health  health
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	look    chan struct{}        // a token: Run is to look at the broker now
	crowded map[string]time.Time // groups that have had other members since; Run's

	mu        sync.Mutex
	closed    bool
	consumers map[*consumer]struct{}
	ids       map[bus.Topic][16]byte // of the topics as they were seen last
}

var _ bus.Bus = (*Bus)(nil)

// New makes a Bus. It connects to nothing: that the broker cannot be reached is no error, but said by Health once Run runs. The error is one of the options
// or of the files that they name.
func New(o Options, deps Deps) (*Bus, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.ClientID = cmp.Or(o.ClientID, defaultClientID)
	o.Partitions = cmp.Or(o.Partitions, partitions)
	o.BufferBytes = cmp.Or(o.BufferBytes, defaultBuffer)
	o.Session = cmp.Or(o.Session, defaultSession)
	o.Drain = cmp.Or(o.Drain, defaultDrain)
	if o.Topics == nil {
		o.Topics = bus.Topics()
	}
	b := &Bus{options: o, log: deps.Log, streams: map[bus.Topic]*stream{}, consumers: map[*consumer]struct{}{}, ids: map[bus.Topic][16]byte{}, look: make(chan struct{}, 1), crowded: map[string]time.Time{}}
	b.ctx, b.stop = context.WithCancel(context.Background())
	var err error
	if b.common, err = o.common(); err != nil {
		return nil, err
	}
	// The check of the broker is to say what is wrong, so it does not try for long.
	b.admin, err = kgo.NewClient(append(slices.Clone(b.common), kgo.RequestRetries(len(o.Brokers)))...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	for _, t := range bus.Topics() {
		b.streams[t] = newStream(b, specOf(t))
	}
	return b, nil
}

// check lists everything that is wrong with the options.
func (o *Options) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if len(o.Brokers) == 0 {
		wrong("no broker: name at least one as HOST:PORT")
	}
	if o.Partitions < 0 || o.Replication < 0 {
		wrong("%d partitions, %d replicas: neither can be below 0", o.Partitions, o.Replication)
	}
	for _, t := range o.Topics {
		if !slices.Contains(bus.Topics(), t) {
			wrong("no topic %q: there are %v", t, bus.Topics())
		}
	}
	if s := o.SASL; s != nil {
		if !slices.Contains(Mechanisms(), s.Mechanism) {
			wrong("no SASL mechanism %q: there are %v", s.Mechanism, Mechanisms())
		}
		if s.User == "" || s.Password == "" {
			wrong("SASL %s needs a user name and a password", s.Mechanism)
		}
	}
	if t := o.TLS; t != nil && (t.CertFile == "") != (t.KeyFile == "") {
		wrong("the client's certificate %q and key %q go together", t.CertFile, t.KeyFile)
	}
	return errors.Join(errs...)
}

// common are the options of every client.
func (o *Options) common() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ClientID(o.ClientID), kgo.RequestTimeoutOverhead(requestTimeout), kgo.DialTimeout(requestTimeout),
		kgo.MetadataMinAge(metadataMinAge), kgo.MetadataMaxAge(metadataMaxAge), kgo.DisableClientMetrics(),
		kgo.RetryBackoffFn(func(tries int) time.Duration { return min(100*time.Millisecond<<min(tries, 5), retryAtMost) }),
	}
	if o.TLS != nil {
		c, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if s := o.SASL; s != nil {
		switch s.Mechanism {
		case "PLAIN":
			opts = append(opts, kgo.SASL(plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()))
		case "SCRAM-SHA-256":
			opts = append(opts, kgo.SASL(scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()))
		default:
			opts = append(opts, kgo.SASL(scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()))
		}
	}
	return opts, nil
}

func (t *TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: the broker's certificate authority: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka: the broker's certificate authority: %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: the client's certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// wake makes Run look at the broker without delay.
func (b *Bus) wake() {
	select {
	case b.look <- struct{}{}:
	default:
	}
}

// Producer makes a producer for all topics.
func (b *Bus) Producer() (bus.Producer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, bus.ErrClosed
	}
	p := &producer{bus: b}
	p.ctx, p.stop = context.WithCancel(b.ctx)
	return p, nil
}

// Done implements bus.Bus.
func (b *Bus) Done() <-chan struct{} { return b.ctx.Done() }

// Drops lists what was lost, by topic and reason: of what was produced and of what was read.
func (b *Bus) Drops() []models.Drop { return b.losses.Drops() }

// Close ends the bus. Calls that wait return ErrClosed, consumers leave their groups, and what has been taken is given to the broker while it
// takes it, for as long as Options.Drain says; the rest is counted.
func (b *Bus) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	consumers := b.consumers
	b.consumers = nil
	b.mu.Unlock()
	b.stop()
	ctx, cancel := context.WithTimeout(context.Background(), b.options.Drain)
	defer cancel()
	var all sync.WaitGroup
	for c := range consumers {
		all.Go(c.end)
	}
	for _, s := range b.streams {
		all.Go(func() { s.end(ctx) })
	}
	all.Wait()
	b.admin.Close()
	return nil
}
