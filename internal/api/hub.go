package api

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"netlyra/internal/models"
)

const (
	// statsEvery is the shortest time between two stats messages to a client: 60 Hz, so that a number is at most one tick
	// late. After a longer silence news goes out at once.
	statsEvery = 16 * time.Millisecond
	// connectionsEvery is the same for connections: a table that people read needs no more than 20 Hz, and rows cost
	// fifty times what numbers cost.
	connectionsEvery = 50 * time.Millisecond
	// slowEvery is the pace of clients that asked for it, and of those that do not acknowledge. Stats come that often even
	// when nothing has changed, so that a client can tell silence of the network from silence of the server.
	slowEvery = time.Second

	// pendingAlerts bounds the alerts between PublishAlert and the hub.
	pendingAlerts = 4096

	// ringTime and ringBytes bound the alerts that a client which comes back gets again.
	ringTime  = 10 * time.Second
	ringBytes = 4 << 20
)

type hubOptions struct {
	live    Live
	news    <-chan struct{}
	stats   func() models.Stats
	epoch   string
	version string
	max     int
	metrics *metrics
}

// hub makes the messages, each once for all clients, and hands them to the clients, which write them in goroutines of their
// own. One goroutine, run, makes and hands out; everything else only leaves it something and wakes it.
type hub struct {
	hubOptions
	wake chan struct{} // holds one: something was left

	mu       sync.Mutex
	clients  map[*client]struct{}
	waiting  map[*client]struct{} // have not shown the token yet: they take no place
	of       map[netip.Addr]int   // clients, by whom they belong to
	incoming [][]byte             // data of alerts, not yet made into messages
	missed   uint64               // alerts that incoming had no room for, not yet told to the clients
	decided  bool                 // alerts have left the list or come back, not yet told to the clients
	ended    bool                 // no client is taken any more

	count        atomic.Int64 // of clients
	droppedFull  atomic.Uint64
	droppedQueue atomic.Uint64
	droppedUnfit atomic.Uint64
	members      sync.WaitGroup // the clients' handlers

	seq atomic.Uint64 // of the latest message; run alone raises it

	// What follows is run's own.
	asked    time.Time // when live was last asked for connections
	askedGen uint64    // and what its generation was
	rowsGen  uint64    // of the connections that it had then
	lastStat *message  // of statGen
	statGen  uint64
	statAt   time.Time
	blocks   map[uint64]*message // connection messages of rowsGen, by what the client knew; nil where there is nothing new
	ring     []ringEntry         // oldest first
	ringSize int
	ringFrom uint64 // the greatest seq that is no longer in the ring
	listFrom uint64 // the seq of when alerts last left the list or came back
}

// ringEntry is an alert message and when it was made.
type ringEntry struct {
	*message
	at time.Time
}

func newHub(o hubOptions) *hub {
	return &hub{
		hubOptions: o, wake: make(chan struct{}, 1), clients: map[*client]struct{}{}, waiting: map[*client]struct{}{}, of: map[netip.Addr]int{},
		blocks: map[uint64]*message{},
	}
}

func (h *hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // it is awake, or about to be
	}
}

func (h *hub) changed() {
	if h.count.Load() > 0 {
		h.poke()
	}
}

// publishAlert encodes at once: the caller may change a afterwards.
func (h *hub) publishAlert(a *models.Alert) {
	data, err := json.Marshal(a)
	if err != nil {
		h.unfit()
		return
	}
	h.mu.Lock()
	if len(h.incoming) < pendingAlerts {
		h.incoming = append(h.incoming, data)
	} else {
		h.missed++
		h.droppedFull.Add(1)
		h.metrics.dropped.WithLabelValues("hub_full").Inc()
	}
	h.mu.Unlock()
	h.poke()
}

func (h *hub) triageChanged() {
	h.mu.Lock()
	h.decided = true
	h.mu.Unlock()
	h.poke()
}

// unfit counts a message that was not made because JSON cannot hold a value of it (not a number, infinite), which is a fault
// of whoever computed that.
func (h *hub) unfit() {
	h.droppedUnfit.Add(1)
	h.metrics.dropped.WithLabelValues("not_json").Inc()
}

// drops are this package's part of Stats.Drops.
func (h *hub) drops() []models.Drop {
	return []models.Drop{
		{Stage: "api", Reason: "ws_hub_full", Count: h.droppedFull.Load(), Unit: models.DropMessages, Effect: models.DropUnlisted},
		{Stage: "api", Reason: "ws_client_slow", Count: h.droppedQueue.Load(), Unit: models.DropMessages, Effect: models.DropUnlisted},
		{Stage: "api", Reason: "ws_not_json", Count: h.droppedUnfit.Load(), Unit: models.DropMessages, Effect: models.DropUnlisted},
	}
}

// join takes a client in, unless there are too many or the server ends; one that is taken in has to leave. One that has not shown
// the token waits without a place.
func (h *hub) join(c *client, authorized bool) leaveReason {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return leaveShutdown
	case !authorized:
		h.waiting[c] = struct{}{}
	case h.fullLocked(c.from):
		return leaveFull
	default:
		h.seatLocked(c)
	}
	h.members.Add(1)
	return leaveNot
}

// take gives a place to a client that has waited.
func (h *hub) take(c *client) leaveReason {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fullLocked(c.from) {
		return leaveFull
	}
	delete(h.waiting, c)
	h.seatLocked(c)
	return leaveNot
}

func (h *hub) seatLocked(c *client) {
	h.clients[c] = struct{}{}
	h.of[c.from]++
	h.counted()
}

func (h *hub) leave(c *client, why leaveReason) {
	h.metrics.closed.WithLabelValues(why.label()).Inc()
	h.mu.Lock()
	delete(h.waiting, c)
	if _, there := h.clients[c]; there {
		delete(h.clients, c)
		if h.of[c.from]--; h.of[c.from] == 0 {
			delete(h.of, c.from)
		}
	}
	h.counted()
	h.mu.Unlock()
	h.members.Done()
}

func (h *hub) counted() {
	h.count.Store(int64(len(h.clients)))
	h.metrics.clients.Set(float64(len(h.clients)))
}

func (h *hub) full(from netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fullLocked(from)
}

// fullLocked leaves half of the places to other addresses. Behind loopback there may be many: a tunnel or a proxy.
func (h *hub) fullLocked(from netip.Addr) bool {
	most := max(1, h.max/2)
	if from.IsLoopback() {
		most = h.max
	}
	return len(h.clients) >= h.max || h.of[from] >= most
}

// run serves the clients until ctx ends, then bids them farewell.
func (h *hub) run(ctx context.Context) error {
	timer := time.NewTimer(slowEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			h.end()
			return nil
		case <-h.news:
		case <-h.wake:
		case <-timer.C:
		}
		timer.Reset(h.step(time.Now()))
	}
}

// end closes every client and waits for them.
func (h *hub) end() {
	h.mu.Lock()
	h.ended = true
	for c := range h.clients {
		c.stop(leaveShutdown)
	}
	for c := range h.waiting {
		c.stop(leaveShutdown)
	}
	h.mu.Unlock()
	h.members.Wait()
}

// step makes and hands out what is due, alerts first, and tells how long nothing more will be due.
func (h *hub) step(now time.Time) time.Duration {
	h.mu.Lock()
	alerts, missed, decided := h.incoming, h.missed, h.decided
	h.incoming, h.missed, h.decided = nil, 0, false
	clients := make([]*client, 0, len(h.clients))
	for c := range h.clients {
		clients = append(clients, c)
	}
	h.mu.Unlock()

	for _, data := range alerts {
		h.sendAlert(h.message(typeAlert, now, data), now, clients)
	}
	h.trimRing(now)
	if decided {
		h.listFrom = h.seq.Add(1) // a number of its own: who has seen it need not be told
	}
	if len(clients) == 0 {
		return slowEvery
	}
	next := slowEvery
	gen := h.live.Generation()
	for _, c := range clients {
		c.lost(missed)
		if decided {
			c.outdate()
		}
		next = min(next, h.serve(c, gen, now))
	}
	return next
}

func (h *hub) message(typ string, now time.Time, data []byte) *message {
	seq := h.seq.Add(1)
	return &message{typ: typ, seq: seq, b: envelope(typ, h.epoch, seq, now, data)}
}

// aside is a message to one client that is not in the order of the others: it has the seq of the latest of them.
func (h *hub) aside(typ string, data any) *message {
	return h.numbered(h.seq.Load(), typ, data)
}

func (h *hub) numbered(seq uint64, typ string, data any) *message {
	return &message{typ: typ, seq: seq, b: envelope(typ, h.epoch, seq, time.Now(), encode(data))}
}

// hello has no number: what a client that resumes gets next is older than the latest.
func (h *hub) hello() *message {
	return h.numbered(0, typeHello, helloData{
		Server: "netlyra", Version: h.version, Topics: topics(), Rates: []int{60, 1}, Credit: credit, MaxBytes: maxQueue,
	})
}

func (h *hub) sendAlert(m *message, now time.Time, clients []*client) {
	h.ring = append(h.ring, ringEntry{m, now})
	h.ringSize += len(m.b)
	for _, c := range clients {
		c.offerAlert(m)
	}
}

// trimRing forgets what is too old or too much.
func (h *hub) trimRing(now time.Time) {
	n := 0
	for n < len(h.ring) && (h.ringSize > ringBytes || now.Sub(h.ring[n].at) > ringTime) {
		h.ringSize -= len(h.ring[n].b)
		h.ringFrom = h.ring[n].seq
		n++
	}
	h.ring = append(h.ring[:0], h.ring[n:]...)
	clear(h.ring[len(h.ring):cap(h.ring)]) // what was forgotten may go
}

// serve hands one client what is due to it, and tells when to look again at the latest.
func (h *hub) serve(c *client, gen uint64, now time.Time) time.Duration {
	v := c.view(now)
	switch {
	case !v.greeted:
		return slowEvery // its greeting wakes us
	case !v.welcomed:
		h.welcome(c, v, gen, now)
		return statsEvery
	case v.blocked:
		c.passOver(gen)
		return slowEvery // its acknowledgement, or its writer, wakes us
	}
	var update []*message
	if n := c.takeMissed(); n > 0 {
		update = append(update, h.aside(typeResync, resyncData{"missed", n}))
	}
	if c.takeOutdated() {
		update = append(update, h.aside(typeResync, resyncData{Reason: "triage"}))
	}
	if v.wantStats && statsDue(v, gen, now) {
		update = append(update, h.statsMessage(v, gen, now))
	}
	if v.wantRows && now.Sub(v.rowsAt) >= v.every(connectionsEvery) {
		if m := h.rowsMessage(v, gen, now); m != nil {
			update = append(update, m)
		}
	}
	if len(update) > 0 {
		c.update(update, now)
	}
	return wait(v, gen, now)
}

func statsDue(v clientView, gen uint64, now time.Time) bool {
	silent := now.Sub(v.statAt)
	return silent >= slowEvery || gen > v.statGen && silent >= v.every(statsEvery)
}

// wait is until the tick after the client's last stats, if there is news already; else until live is to be looked at again,
// should nobody call Changed.
func wait(v clientView, gen uint64, now time.Time) time.Duration {
	every := v.every(statsEvery)
	if left := every - now.Sub(v.statAt); gen > v.statGen && left > 0 {
		return left
	}
	return every
}

// statsMessage is one for all clients that are served while nothing changes, but for one that has had a later message.
func (h *hub) statsMessage(v clientView, gen uint64, now time.Time) *message {
	if h.lastStat == nil || h.statGen != gen || now.Sub(h.statAt) >= slowEvery/2 || h.lastStat.seq <= v.lastSeq {
		h.lastStat = h.message(typeStats, now, h.encodeStats())
		h.lastStat.gen, h.statGen, h.statAt = gen, gen, now
	}
	return h.lastStat
}

// encodeStats gives null, which no client takes for numbers, if JSON cannot hold one of them.
func (h *hub) encodeStats() []byte {
	b, err := json.Marshal(h.stats())
	if err != nil {
		h.unfit()
		return []byte("null")
	}
	return b
}

// since is what a client that knows generation known has to be told. While nothing is made anew, all clients come to know the same
// generation, the first one's: what has changed since then is told again.
func (h *hub) since(known uint64) rowBlock {
	ch := h.live.ConnectionChanges(known)
	if len(ch.Gone) > maxGone {
		ch = h.live.ConnectionChanges(0)
	}
	if h.rowsGen == 0 {
		h.rowsGen = ch.Generation
	}
	ch.Generation = min(ch.Generation, h.rowsGen)
	return newRowBlock(&ch)
}

// refresh lets messages be made anew, if anything has changed and it is time to.
func (h *hub) refresh(gen uint64, now time.Time) {
	if gen == h.askedGen || now.Sub(h.asked) < connectionsEvery {
		return
	}
	h.asked, h.askedGen, h.rowsGen = now, gen, 0
	clear(h.blocks)
}

// rowsMessage is one for all clients that know the same, but for one that has had a later message; nil if there is nothing
// new to them.
func (h *hub) rowsMessage(v clientView, gen uint64, now time.Time) *message {
	h.refresh(gen, now)
	m, made := h.blocks[v.rowsGen]
	if !made || m != nil && m.seq <= v.lastSeq {
		block := h.since(v.rowsGen)
		if block.empty() {
			h.blocks[v.rowsGen] = nil
			return nil
		}
		m = h.message(typeConnection, now, block.columns())
		m.gen = block.gen
		h.blocks[v.rowsGen] = m
	}
	return m
}

// welcome brings a client up to date: from where it left off if that is near enough, else with a snapshot.
func (h *hub) welcome(c *client, v clientView, gen uint64, now time.Time) {
	if v.since != nil {
		reason := h.resumable(*v.since)
		if reason == "" {
			c.resume(v.since.Gen, h.alertsAfter(v.since.Seq))
			if v.since.Seq < h.listFrom {
				c.outdate()
			}
			return
		}
		c.send(h.aside(typeResync, resyncData{Reason: reason}))
	}
	h.refresh(gen, now)
	block := h.since(0)
	var data snapshotData
	if v.wantStats {
		data.Stats = h.encodeStats()
	}
	if v.wantRows {
		data.Connection = block.columns()
	}
	m := h.message(typeSnapshot, now, encode(data))
	m.gen = block.gen
	c.snapshot(m, gen, now)
}

func (h *hub) alertsAfter(seq uint64) []*message {
	var after []*message
	for _, e := range h.ring {
		if e.seq > seq {
			after = append(after, e.message)
		}
	}
	return after
}

// resumable says why a client cannot go on where it left off; "" if it can.
func (h *hub) resumable(since sinceData) string {
	switch {
	case since.Epoch != h.epoch || since.Seq > h.seq.Load():
		return "epoch"
	case since.Seq < h.ringFrom:
		return "too_old"
	}
	return ""
}
