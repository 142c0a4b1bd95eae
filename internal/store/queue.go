package store

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"sync"

	"netlyra/internal/models"
)

// The bounds of what waits for the writer.
const (
	maxJobs        = 1024   // calls that wait for their commit; further ones wait for a place
	maxConnections = 20_000 // about 8 MB
	maxHosts       = 20_000
	maxSeries      = 8192
)

// The reasons for which Drops counts.
const (
	dropFull     = "queue_full"
	dropRejected = "rejected"
	dropShutdown = "shutdown"
	dropFlood    = "unanswered" // connections and hosts that nobody has answered, beyond the sample that is stored
)

// The kinds of rows that can be dropped, as Drops names their stage.
const (
	kindConnections = "store.connections"
	kindHosts       = "store.hosts"
	kindSeries      = "store.series"
)

// job is a call that waits for its commit.
type job struct {
	ctx  context.Context // the caller's: once it has ended, nobody waits any more
	run  func(ctx context.Context, tx *sql.Tx) error
	rows int
	done chan error // gets one value
}

type dropKey struct{ kind, reason string }

// queue holds what callers have handed in and the writer has not yet taken.
type queue struct {
	wake  chan struct{} // a token when there is a job
	slots chan struct{} // one token for each job that waits

	mu                sync.Mutex
	jobs              []*job
	connections       []models.Connection
	hosts             map[seenBy]models.Host
	series            map[secondOf]models.SeriesPoint
	drops             map[dropKey]uint64
	sampleConnections sample[int64]
	sampleHosts       sample[string]
	taken             int // rows that the writer has, and has not yet written
	closed            bool
}

// rowBatch is what one transaction writes besides jobs.
type rowBatch struct {
	connections []models.Connection
	hosts       []models.Host
	series      []models.SeriesPoint
}

func (b *rowBatch) len() int { return len(b.connections) + len(b.hosts) + len(b.series) }

func newQueue() *queue {
	return &queue{
		wake:              make(chan struct{}, 1),
		slots:             make(chan struct{}, maxJobs),
		hosts:             map[seenBy]models.Host{},
		series:            map[secondOf]models.SeriesPoint{},
		drops:             map[dropKey]uint64{},
		sampleConnections: newSample[int64](), sampleHosts: newSample[string](),
	}
}

// do hands a job to the writer and waits for its commit.
func (q *queue) do(ctx context.Context, rows int, run func(context.Context, *sql.Tx) error) error {
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	j := &job{ctx: ctx, run: run, rows: rows, done: make(chan error, 1)}
	if !q.push(j) {
		return ErrClosed
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// room is how many connections fit; all of them once the queue is closed, which will count them as lost.
func (q *queue) room() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return maxConnections
	}
	return maxConnections - len(q.connections)
}

func (q *queue) push(j *job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.jobs = append(q.jobs, j)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// takeJobs takes the oldest jobs, those with nobody waiting left out, up to about maxRows rows.
func (q *queue) takeJobs(maxRows int) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var jobs []*job
	n, rows := 0, 0
	for _, j := range q.jobs {
		if rows >= maxRows {
			break
		}
		n++
		if j.ctx.Err() == nil {
			jobs = append(jobs, j)
			rows += j.rows
		}
	}
	q.jobs = slices.Delete(q.jobs, 0, n)
	return jobs
}

// putBack returns jobs that could not be committed to the head of the line.
func (q *queue) putBack(jobs []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = slices.Concat(jobs, q.jobs)
}

// takeRows takes up to n rows. Series and hosts, of which there are few, go first.
func (q *queue) takeRows(n int) *rowBatch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := &rowBatch{}
	b.series = takeMap(q.series, n)
	b.hosts = takeMap(q.hosts, n-b.len())
	k := min(n-b.len(), len(q.connections))
	b.connections = q.connections[:k:k]
	q.connections = q.connections[k:]
	q.taken = b.len()
	return b
}

func takeMap[K comparable, V any](m map[K]V, n int) []V {
	var out []V
	for k, v := range m {
		if len(out) == n {
			break
		}
		out = append(out, v)
		delete(m, k)
	}
	return out
}

// written says that what was taken is written, or lost and counted.
func (q *queue) written() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = 0
}

// unwritten is the number of rows that wait, or that the writer has.
func (q *queue) unwritten() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.connections) + len(q.hosts) + len(q.series) + q.taken
}

// waiting is the number of rows that wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.connections) + len(q.hosts) + len(q.series)
}

// closeIfEmpty ends the queue once there is nothing left in it.
func (q *queue) closeIfEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = len(q.jobs)+len(q.connections)+len(q.hosts)+len(q.series) == 0
	return q.closed
}

// abandon ends the queue with what is left in it: jobs get err, rows are counted.
func (q *queue) abandon(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, j := range q.jobs {
		j.done <- err
	}
	q.drop(kindConnections, dropShutdown, len(q.connections))
	q.drop(kindHosts, dropShutdown, len(q.hosts))
	q.drop(kindSeries, dropShutdown, len(q.series))
	q.jobs, q.connections = nil, nil
	clear(q.hosts)
	clear(q.series)
}

// drop counts a loss. The caller holds the lock.
func (q *queue) drop(kind, reason string, n int) {
	if n > 0 {
		q.drops[dropKey{kind, reason}] += uint64(n)
	}
}

func (q *queue) countDrop(kind, reason string, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(kind, reason, n)
}

func (q *queue) listDrops() []models.Drop {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]models.Drop, 0, len(q.drops))
	for k, n := range q.drops {
		out = append(out, models.Drop{Stage: k.kind, Reason: k.reason, Count: n, Unit: models.DropRows, Effect: models.DropUnstored})
	}
	slices.SortFunc(out, func(a, b models.Drop) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// refuse counts n rows as lost if the queue is closed, and says whether it is. The caller holds the lock.
func (q *queue) refuse(kind string, n int) bool {
	if q.closed {
		q.drop(kind, dropShutdown, n)
	}
	return q.closed
}

func (q *queue) offerConnections(cs []models.Connection) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse(kindConnections, len(cs)) {
		return 0
	}
	for i := range cs {
		if q.leavesOutConnection(&cs[i]) {
			if cs[i].End != models.ConnOpen { // so that each is counted once
				q.drop(kindConnections, dropFlood, 1)
			}
			continue
		}
		if len(q.connections) == maxConnections {
			q.drop(kindConnections, dropFull, len(cs)-i)
			return i
		}
		q.connections = append(q.connections, cs[i])
	}
	return len(cs)
}

func (q *queue) offerHosts(hs []models.Host) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse(kindHosts, len(hs)) {
		return 0
	}
	chosen := slices.DeleteFunc(slices.Clone(hs), func(h models.Host) bool { return q.leavesOutHost(&h) })
	q.drop(kindHosts, dropFlood, len(hs)-len(chosen))
	n := mergeAll(q.hosts, maxHosts, chosen, func(h models.Host) seenBy { return seenBy{h.Sensor, h.IP} }, mergeHost)
	q.drop(kindHosts, dropFull, len(chosen)-n)
	return len(hs) - len(chosen) + n
}

func (q *queue) offerSeries(ps []models.SeriesPoint) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse(kindSeries, len(ps)) {
		return 0
	}
	n := mergeAll(q.series, maxSeries, ps, func(p models.SeriesPoint) secondOf { return secondOf{p.Sensor, p.TS} }, mergePoint)
	q.drop(kindSeries, dropFull, len(ps)-n)
	return n
}

// seenBy is an address that a sensor has seen, secondOf a second of its traffic.
type (
	seenBy   struct{ sensor, ip string }
	secondOf struct {
		sensor string
		ts     int64
	}
)

// mergeAll adds values to a map of bounded size, merging those of the same key, and returns how many it took.
func mergeAll[K comparable, V any](m map[K]V, limit int, vs []V, key func(V) K, merge func(V, V) V) (taken int) {
	for _, v := range vs {
		old, found := m[key(v)]
		switch {
		case found:
			m[key(v)] = merge(old, v)
		case len(m) < limit:
			m[key(v)] = v
		default:
			continue
		}
		taken++
	}
	return taken
}

// mergeHost merges as the statement of the table hosts does.
func mergeHost(a, b models.Host) models.Host {
	a.MAC = cmp.Or(b.MAC, a.MAC)
	a.FirstTS = min(a.FirstTS, b.FirstTS)
	a.LastTS = max(a.LastTS, b.LastTS)
	a.PacketsSent = sum(a.PacketsSent, b.PacketsSent)
	a.PacketsRecv = sum(a.PacketsRecv, b.PacketsRecv)
	a.BytesSent = sum(a.BytesSent, b.BytesSent)
	a.BytesRecv = sum(a.BytesRecv, b.BytesRecv)
	return a
}

// mergePoint merges as the statement of the table series_points does.
func mergePoint(a, b models.SeriesPoint) models.SeriesPoint {
	a.Packets = sum(a.Packets, b.Packets)
	a.Bytes = sum(a.Bytes, b.Bytes)
	a.TCPBytes = sum(a.TCPBytes, b.TCPBytes)
	a.UDPBytes = sum(a.UDPBytes, b.UDPBytes)
	a.OtherBytes = sum(a.OtherBytes, b.OtherBytes)
	a.Connections = sum(a.Connections, b.Connections)
	a.Drops = sum(a.Drops, b.Drops)
	return a
}

// sum stops at the end of the numbers, as the statements do at that of SQLite's.
func sum(a, b uint64) uint64 { return a + min(b, math.MaxUint64-a) }
