package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"
)

const (
	// credit is how many updates may be under way to a client. Two keep the page busy; more only pile up when it stalls,
	// because the socket swallows megabytes before a write blocks.
	credit = 2
	// maxQueue bounds what waits for one client, in bytes. An update is queued only while less than maxWaiting waits; the
	// rest is room for alerts.
	maxQueue   = 256 << 10
	maxWaiting = 32 << 10
	// maxClientMessage bounds what a client may send at a time, in bytes.
	maxClientMessage = 8 << 10
	// A client may send one message for each that it was sent, of which maxAnswers are remembered, and beside those inputBurst at
	// once and inputRate a second.
	inputRate  = 20
	inputBurst = 100
	maxAnswers = 4096

	writeTime   = 2 * time.Second
	stallTime   = 5 * time.Second  // without an acknowledgement: once a second
	abandonTime = 30 * time.Second // without an acknowledgement: closed
	pingEvery   = 15 * time.Second
)

// client is one WebSocket connection. Its reader and its writer are goroutines of its own; the hub hands it messages and
// never waits for it.
type client struct {
	conn *websocket.Conn
	hub  *hub
	from netip.Addr    // whom it belongs to
	wake chan struct{} // holds one: the queue has something
	quit chan struct{} // closed when the client is to stop; why is set then

	mu       sync.Mutex
	admit    func(token string) leaveReason // nil once it may listen
	why      leaveReason
	detail   string // what was wrong, where the reason does not say all
	queue    []*message
	queued   int  // bytes
	greeted  bool // has said hello, or has had its time to
	welcomed bool // knows where it starts
	since    *sinceData
	stats    bool // topics
	alerts   bool
	rows     bool
	slow     bool // has asked for one a second
	missed   uint64
	outdated bool   // alerts have left the list or come back
	passed   uint64 // the generation that it was last passed over in
	lastSeq  uint64 // of what was queued
	answers  int    // messages that it may send for those that it was sent

	acking    bool      // has ever acknowledged
	inFlight  []uint64  // the last seq of each update not acknowledged, oldest first
	waitSince time.Time // since when the oldest has waited
	statGen   uint64    // what it knows, and when that was queued
	rowsGen   uint64
	statAt    time.Time
	rowsAt    time.Time
}

// clientView is what the hub decides on.
type clientView struct {
	greeted, welcomed   bool
	blocked             bool // has no credit, or no room
	slow                bool
	wantStats, wantRows bool
	since               *sinceData
	lastSeq             uint64 // of what it has been sent
	statGen, rowsGen    uint64
	statAt, rowsAt      time.Time
}

func (v clientView) every(fast time.Duration) time.Duration {
	if v.slow {
		return slowEvery
	}
	return fast
}

func newClient(conn *websocket.Conn, h *hub, from netip.Addr) *client {
	return &client{
		conn: conn, hub: h, from: from, wake: make(chan struct{}, 1), quit: make(chan struct{}),
		stats: true, alerts: true, rows: true,
	}
}

// view also decides whether the client is to be waited for, slowed down or given up. A client that has never acknowledged
// does not know of credit: it gets one update a second, however long. One that has and stops gets that after five seconds.
func (c *client) view(now time.Time) clientView {
	c.mu.Lock()
	defer c.mu.Unlock()
	var waited time.Duration
	if len(c.inFlight) > 0 {
		waited = now.Sub(c.waitSince)
	}
	if c.acking && waited >= abandonTime {
		c.stopLocked(leaveAbandon)
	}
	spent := len(c.inFlight) >= credit
	stalled := spent && (!c.acking || waited >= stallTime)
	return clientView{
		greeted: c.greeted, welcomed: c.welcomed, since: c.since,
		slow: c.slow || stalled, blocked: spent && !stalled || c.queued > maxWaiting,
		wantStats: c.stats, wantRows: c.rows, lastSeq: c.lastSeq,
		statGen: c.statGen, rowsGen: c.rowsGen, statAt: c.statAt, rowsAt: c.rowsAt,
	}
}

// passOver counts the news that a blocked client gets as part of a later update.
func (c *client) passOver(gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen > c.statGen && gen > c.passed {
		c.passed = gen
		c.hub.metrics.merged.Inc()
	}
}

// push queues a message, whatever its size; the callers bound what they push.
func (c *client) push(m *message) {
	c.queue = append(c.queue, m)
	c.queued += len(m.b)
	c.answers = min(c.answers+1, maxAnswers)
	c.lastSeq = m.seq
	c.hub.metrics.messages.WithLabelValues(m.typ).Inc()
	select {
	case c.wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}

func (c *client) send(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(m)
}

// offerAlert needs no credit, but room.
func (c *client) offerAlert(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.welcomed {
		c.offerLocked(m)
	}
}

func (c *client) offerLocked(m *message) {
	switch {
	case !c.alerts:
	case c.queued+len(m.b) > maxQueue:
		c.missed++
		c.hub.droppedQueue.Add(1)
		c.hub.metrics.dropped.WithLabelValues("client_slow").Inc()
	default:
		c.push(m)
	}
}

// lost adds alerts that were lost before they became messages.
func (c *client) lost(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alerts {
		c.missed += n
	}
}

func (c *client) takeMissed() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.missed
	c.missed = 0
	return n
}

// outdate says that alerts have left the list or come back. A client that has not begun fetches the list when it does.
func (c *client) outdate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outdated = c.alerts && c.welcomed
}

func (c *client) takeOutdated() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.outdated
	c.outdated = false
	return was
}

// update queues the messages of one update, which cost one credit together.
func (c *client) update(all []*message, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range all {
		c.push(m)
		switch m.typ {
		case typeStats:
			c.statGen, c.statAt = m.gen, now
		case typeConnection:
			c.rowsGen, c.rowsAt = m.gen, now
		}
	}
	c.spend(all[len(all)-1].seq, now)
}

// snapshot queues the message that a client starts with; statGen is the generation of its stats.
func (c *client) snapshot(m *message, statGen uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(m)
	c.welcomed = true
	c.statGen, c.statAt = statGen, now
	c.rowsGen, c.rowsAt = m.gen, now
	c.spend(m.seq, now)
}

// resume goes on with the alerts that the client has not had, and from the generation of connections that it knows; nil: it
// knows none.
func (c *client) resume(gen *uint64, alerts []*message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.welcomed = true
	if gen != nil {
		c.rowsGen = *gen
	}
	for _, m := range alerts {
		c.offerLocked(m)
	}
}

// spend takes a credit. Beyond the credit only the latest update is remembered: its acknowledgement covers all.
func (c *client) spend(seq uint64, now time.Time) {
	if len(c.inFlight) == 0 {
		c.waitSince = now
	}
	if len(c.inFlight) < credit {
		c.inFlight = append(c.inFlight, seq)
		return
	}
	c.inFlight[credit-1] = seq
}

// enter lets a client in whose first message brings the token, which is how a program without headers can send it.
func (c *client) enter(m clientMessage) leaveReason {
	c.mu.Lock()
	admit := c.admit
	c.mu.Unlock()
	if admit == nil {
		return leaveNot
	}
	if m.Type != typeHello {
		return leaveNoToken
	}
	if why := admit(m.Token); why != leaveNot {
		return why
	}
	if why := c.hub.take(c); why != leaveNot {
		return why
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admit = nil
	c.push(c.hub.hello())
	return leaveNot
}

// demandToken ends the time that a client has to bring the token.
func (c *client) demandToken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.admit != nil {
		c.stopLocked(leaveNoToken)
	}
}

func (c *client) acknowledge(seq uint64, now time.Time) {
	c.acking = true
	n := 0
	for n < len(c.inFlight) && c.inFlight[n] <= seq {
		n++
	}
	if n > 0 {
		c.inFlight = slices.Delete(c.inFlight, 0, n)
		c.waitSince = now
	}
}

func (c *client) stop(why leaveReason) { c.stopFor(why, "") }

func (c *client) stopFor(why leaveReason, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == leaveNot {
		c.detail = detail
	}
	c.stopLocked(why)
}

func (c *client) stopLocked(why leaveReason) {
	if c.why == leaveNot {
		c.why = why
		close(c.quit)
	}
}

// pop takes the next message to write; nil: there is none.
func (c *client) pop() *message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil
	}
	m := c.queue[0]
	c.queue[0] = nil // may go as soon as it is written
	c.queue = c.queue[1:]
	c.queued -= len(m.b)
	return m
}

// write sends what is queued until the client is to stop.
func (c *client) write(ctx context.Context) {
	for {
		select {
		case <-c.quit:
			return
		case <-c.wake:
		}
		if err := c.drain(ctx); err != nil {
			c.writeFailed(err)
			return
		}
	}
}

func (c *client) drain(ctx context.Context) error {
	for m := c.pop(); m != nil; m = c.pop() {
		select {
		case <-c.quit:
			return nil
		default:
		}
		if err := c.writeOne(ctx, m.b); err != nil {
			return err
		}
	}
	c.hub.poke() // there is room again
	return nil
}

// writeFailed says why, even if the reader has been first to see that the connection is closed: a write that takes too long
// closes it.
func (c *client) writeFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopLocked(leaveGone)
	if c.why == leaveGone && errors.Is(err, context.DeadlineExceeded) {
		c.why = leaveSlow
	}
}

func (c *client) writeOne(ctx context.Context, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, b); err != nil {
		return fmt.Errorf("api: write: %w", err)
	}
	c.hub.metrics.bytes.Add(float64(len(b)))
	return nil
}

// read takes in what the client sends until it fails.
func (c *client) read(ctx context.Context) {
	pace := rate.NewLimiter(inputRate, inputBurst)
	for {
		kind, r, err := c.conn.Reader(ctx)
		var b []byte
		if err == nil {
			b, err = io.ReadAll(io.LimitReader(r, maxClientMessage+1))
		}
		if err != nil {
			c.stop(leaveGone)
			return
		}
		why, detail := c.take(kind, b, c.mayAnswer() || pace.AllowN(time.Now(), 1))
		if why == leaveNot {
			c.hub.poke()
			continue
		}
		c.stopFor(why, detail)
		if why == leaveTooLarge {
			return // the rest of the message is not read, so that the closing handshake is cut off
		}
		// until the closing handshake is over
	}
}

// mayAnswer uses up one of the messages that the client was sent.
func (c *client) mayAnswer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == 0 {
		return false
	}
	c.answers--
	return true
}

// take reads a message and does what it says, or tells what is wrong with it.
func (c *client) take(kind websocket.MessageType, b []byte, inPace bool) (why leaveReason, detail string) {
	var m clientMessage
	switch {
	case !inPace:
		return leaveFlood, ""
	case len(b) > maxClientMessage:
		return leaveTooLarge, ""
	case kind != websocket.MessageText:
		return leaveProtocol, "it is binary: send JSON as text"
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return leaveProtocol, whatIsWrong(err)
	}
	if why := c.enter(m); why != leaveNot {
		return why, ""
	}
	if detail := c.handle(m, time.Now()); detail != "" {
		return leaveProtocol, detail
	}
	return leaveNot, ""
}

// whatIsWrong says it about JSON that cannot be read.
func whatIsWrong(err error) string {
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if kind.Field == "" {
			return "it is not a JSON object"
		}
		return fmt.Sprintf("%s: a %s is not accepted", kind.Field, kind.Value)
	}
	return "it is not JSON"
}

// handle does what a message says, and tells what is wrong with it.
func (c *client) handle(m clientMessage, now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m.Type {
	case typeHello:
		if !c.greeted {
			c.since, c.greeted = m.Since, true
		}
		return c.subscribe(m.subData)
	case typeSub:
		return c.subscribe(m.subData)
	case typeAck:
		c.acknowledge(m.Seq, now)
	case typeBye:
		c.stopLocked(leaveGone)
	default:
		return fmt.Sprintf("type %s: there are hello, ack, sub and bye", quote(m.Type))
	}
	return ""
}

func (c *client) subscribe(s subData) string {
	for _, t := range s.Topics {
		if !slices.Contains(topics(), t) {
			return fmt.Sprintf("topics: %s: there are %s", quote(t), strings.Join(topics(), ", "))
		}
	}
	if s.Topics != nil {
		c.stats = slices.Contains(s.Topics, typeStats)
		c.alerts = slices.Contains(s.Topics, typeAlert)
		c.rows = slices.Contains(s.Topics, typeConnection)
	}
	if s.Rate != nil {
		c.slow = *s.Rate <= 1
	}
	return ""
}

func topics() []string { return []string{typeStats, typeAlert, typeConnection} }

// greet ends the time that a client has to say where it left off.
func (c *client) greet() {
	c.mu.Lock()
	c.greeted = c.greeted || c.admit == nil
	c.mu.Unlock()
	c.hub.poke()
}

// ping asks for signs of life until ctx ends.
func (c *client) ping(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.pingOne(ctx); err != nil && ctx.Err() == nil {
			c.stop(leavePing)
			return
		}
	}
}

func (c *client) pingOne(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingEvery)
	defer cancel()
	return c.conn.Ping(ctx)
}
