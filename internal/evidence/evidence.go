// Package evidence keeps bounded copies of recent packets, by connection, so that an alert can be shown with the packets before
// and after it. Its memory is fixed: one ring of bytes, in which the oldest copy gives way to the newest. Of each packet it keeps
// the first snapBytes bytes, of each connection the first headPackets packets and then one packet in sampleEvery, so that one
// long download does not push out everything else.
package evidence

import (
	"sync"

	"netlyra/internal/models"
)

// Packet is a copy of a frame.
type Packet struct {
	ConnID  int64
	TS      int64 // capture time, microseconds
	WireLen uint32
	Link    models.LinkType
	TPID    uint16 // a VLAN tag that the kernel had stripped; 0: none
	TCI     uint16
	Data    []byte // at most snapBytes
}

const (
	snapBytes    = 256
	recordBytes  = snapBytes + 64 // a copy with its entry: what memory is counted in
	headPackets  = 16
	sampleEvery  = 64
	minimumBytes = 1 << 20
)

// Ring holds the copies. One goroutine adds, any may read.
type Ring struct {
	mu      sync.Mutex
	records []record
	data    []byte
	next    int
	full    bool
}

type record struct {
	connID  int64
	ts      int64
	wireLen uint32
	link    models.LinkType
	tpid    uint16
	tci     uint16
	n       uint16
}

// New makes a ring that takes about the given memory, at least 1 MiB.
func New(bytes int) *Ring {
	n := max(bytes, minimumBytes) / recordBytes
	return &Ring{records: make([]record, n), data: make([]byte, n*snapBytes)}
}

// Wants says whether the n-th packet of a connection (counted from 1) is one that is kept.
func Wants(n uint64) bool { return n <= headPackets || n%sampleEvery == 0 }

// Add copies the frame of a packet of a connection.
func (r *Ring) Add(connID int64, f *models.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.next
	n := copy(r.data[at*snapBytes:(at+1)*snapBytes], f.Data)
	r.records[at] = record{connID, f.TS, f.WireLen, f.Link, f.TPID, f.TCI, uint16(n)}
	if r.next++; r.next == len(r.records) {
		r.next, r.full = 0, true
	}
}

// Packets copies out what is kept of a connection, oldest first.
func (r *Ring) Packets(connID int64) []Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ps []Packet
	visit := func(from, to int) {
		for i := from; i < to; i++ {
			if rec := &r.records[i]; rec.connID == connID && rec.wireLen > 0 {
				ps = append(ps, Packet{
					ConnID: rec.connID, TS: rec.ts, WireLen: rec.wireLen, Link: rec.link, TPID: rec.tpid, TCI: rec.tci,
					Data: append([]byte(nil), r.data[i*snapBytes:i*snapBytes+int(rec.n)]...),
				})
			}
		}
	}
	if r.full {
		visit(r.next, len(r.records))
	}
	visit(0, r.next)
	return ps
}
