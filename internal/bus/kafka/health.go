package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"netlyra/internal/bus"
)

// Problem is one reason why a Bus is not at its best.
type Problem struct {
	Code    string // one of the constants
	Message string // one or two English sentences: what is wrong, and what to do
}

// The codes of problems.
const (
	BrokerUnreachable = "broker_unreachable" // no broker answers
	BrokerTLS         = "broker_tls"         // the connection cannot be encrypted as is asked
	BrokerRefuses     = "broker_refuses"     // the broker does not know the user, or does not let it in
	BrokerSlow        = "broker_slow"        // it answers, but takes nothing
	BufferFull        = "bus_full"           // there was no room for records, which are lost
	TopicMissing      = "topic_missing"      // a topic is not there, and cannot be made
	TopicRefused      = "topic_refused"      // the user may not write or read a topic, or the topic does not take a record
	RecordsMalformed  = "records_malformed"  // what others have written cannot be read
	RecordsNewer      = "records_newer"      // what others have written is of a newer version
	GroupShared       = "group_shared"       // another program reads as this one, so that each has a part of the records
)

const (
	lately     = 30 * time.Second // what has happened once is a problem for so long
	slowAfter  = 5 * time.Second
	checkEvery = 5 * time.Second // of the broker and its topics
	checkAgain = time.Second     // while there is a problem
)

// Health lists what is wrong, the worst first; nothing where all is well. It says nothing of a broker before Run has looked.
func (b *Bus) Health() []Problem { return b.health.list() }

// health holds what Health says.
type health struct {
	mu       sync.Mutex
	problems []Problem            // as they were found and logged last
	events   map[Problem]eventful // that happened to single records
}

// eventful is when something has happened last. Its Problem has the text of the first error.
type eventful struct {
	last time.Time
	text string
}

func (h *health) list() []Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.problems)
}

// note keeps that something has happened to a record of a topic, and has Run say so where that is new; kind is a code and the beginning of the sentence.
func (b *Bus) note(kind Problem, err error) {
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.events[kind]; !known {
		b.wake()
	}
	if h.events == nil {
		h.events = map[Problem]eventful{}
	}
	e := h.events[kind]
	if e.text == "" {
		e.text = err.Error()
	}
	e.last = time.Now()
	h.events[kind] = e
}

func (b *Bus) refused(t bus.Topic, err error) {
	b.note(Problem{TopicRefused, "The broker has refused records of " + string(t) + ", which are lost: let the user write to the topic, or correct the topic's limits"}, err)
}

func (b *Bus) untaken(t bus.Topic, err error) {
	b.note(Problem{BrokerSlow, "The broker does not take records of " + string(t) + " now, and they wait: look at its log"}, err)
}

// passing says whether an error goes by itself: the broker is away, which Run says, or has just come back.
func passing(err error) bool {
	if refusal, ok := errors.AsType[*kerr.Error](err); ok {
		return refusal.Retriable
	}
	var link net.Error
	return errors.As(err, &link) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// unread notes that a topic, or whatever a group reads (""), is refused.
func (b *Bus) unread(t bus.Topic, err error) {
	if !passing(err) {
		b.note(Problem{TopicRefused, "The broker does not let " + cmp.Or(string(t), "what this program reads") + " be read: let the user read the topics and join the group"}, err)
	}
}

func (b *Bus) uncommitted(err error) {
	if passing(err) {
		return
	}
	b.note(Problem{TopicRefused, "The broker does not keep how far this program has read, so nothing more is read: let the user commit offsets of the group"}, err)
}

func (b *Bus) malformed(t bus.Topic, err error) {
	b.note(Problem{RecordsMalformed, "Records of " + string(t) + " cannot be read and are put into " + string(bus.TopicDLQ) + ": find out what writes them"}, err)
}

func (b *Bus) newer(t bus.Topic, err error) {
	b.note(Problem{RecordsNewer, "Records of " + string(t) + " are of a newer version and are left there: upgrade this program"}, err)
}

// recent are the problems of what has happened lately. The caller holds the lock.
func (h *health) recent(now time.Time) (ps []Problem) {
	for kind, e := range h.events {
		if now.Sub(e.last) > lately {
			delete(h.events, kind)
			continue
		}
		ps = append(ps, Problem{kind.Code, kind.Message + " (" + e.text + ")."})
	}
	slices.SortFunc(ps, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message)) })
	return ps
}

// set takes what was found, and logs what has changed: each code when it comes and when it goes.
func (h *health) set(ctx context.Context, log *slog.Logger, found []Problem) {
	h.mu.Lock()
	before := h.problems
	h.problems = append(found, h.recent(time.Now())...)
	after := h.problems
	h.mu.Unlock()
	has := func(ps []Problem, code string) bool {
		return slices.ContainsFunc(ps, func(p Problem) bool { return p.Code == code })
	}
	for i, p := range after {
		if !has(before, p.Code) && !has(after[:i], p.Code) {
			log.LogAttrs(ctx, slog.LevelWarn, "the bus has a problem", slog.String("code", p.Code), slog.String("problem", p.Message))
		}
	}
	for i, p := range before {
		if !has(after, p.Code) && !has(before[:i], p.Code) {
			log.LogAttrs(ctx, slog.LevelInfo, "a problem of the bus is over", slog.String("code", p.Code))
		}
	}
}

// Run looks after the broker and its topics until ctx ends: it makes topics that are absent, goes on with those that were made anew, and keeps
// Health up to date.
func (b *Bus) Run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.ctx.Done():
			return nil
		case <-tick.C:
		case <-b.look:
		}
		found := b.find(ctx)
		if ctx.Err() != nil || b.ctx.Err() != nil {
			return nil
		}
		b.health.set(ctx, b.log, found)
		next := checkEvery
		if len(b.Health()) > 0 {
			next = checkAgain
		}
		tick.Reset(next)
	}
}

// find finds what is wrong now.
func (b *Bus) find(ctx context.Context) []Problem {
	found := b.broker(ctx)
	if len(found) > 0 && found[0].Code != TopicMissing && found[0].Code != TopicRefused {
		return append(found, b.buffers(false)...)
	}
	return slices.Concat(found, b.buffers(true), b.shared(ctx, time.Now()))
}

// buffers looks at what waits for the broker, which may answer or not.
func (b *Bus) buffers(answers bool) (ps []Problem) {
	now := time.Now()
	for _, t := range bus.Topics() {
		s := b.streams[t]
		waiting, full := s.room.waiting(now)
		if full {
			ps = append(ps, Problem{BufferFull, fmt.Sprintf("Records of %s are lost: %d MB of them wait for the broker, and there is no room for more.", t, s.room.bound>>20)})
		}
		if answers && waiting > slowAfter {
			ps = append(ps, Problem{BrokerSlow, fmt.Sprintf("The broker has taken no record of %s for %d s, though some wait: look at its load, its disk and its log.", t, int(waiting.Seconds()))})
		}
	}
	return ps
}

// unreachable says why the broker does not answer.
func (b *Bus) unreachable(err error) Problem {
	brokers := strings.Join(b.options.Brokers, ", ")
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	var remote *net.OpError
	var firstRead *kgo.ErrFirstReadEOF
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return Problem{BrokerRefuses, fmt.Sprintf("The broker %s does not let the user in (%v): correct user name, password or mechanism.", brokers, err)}
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return Problem{BrokerRefuses, fmt.Sprintf("The broker %s does not allow the user what is needed (%v): add it to the broker's ACLs.", brokers, err)}
	case errors.As(err, &record), errors.As(err, &certificate), errors.As(err, &remote) && remote.Op == "remote error": // an alert of TLS
		return Problem{BrokerTLS, fmt.Sprintf("No encrypted connection to the broker %s (%v): correct the certificates, or the port.", brokers, err)}
	case b.options.SASL != nil && errors.Is(err, io.EOF):
		return Problem{BrokerRefuses, fmt.Sprintf("The broker %s closes the connection when the user is to be let in (%v): correct user name, password or mechanism.", brokers, err)}
	case errors.As(err, &firstRead):
		return Problem{BrokerRefuses, fmt.Sprintf("The broker %s closes the connection at once (%v): it wants TLS or SASL.", brokers, err)}
	case b.options.TLS != nil:
		return Problem{BrokerUnreachable, fmt.Sprintf("No broker of %s answers (%v): start it, correct the address, or do without TLS.", brokers, err)}
	default:
		return Problem{BrokerUnreachable, fmt.Sprintf("No broker of %s answers (%v): start it, or correct the address.", brokers, err)}
	}
}
