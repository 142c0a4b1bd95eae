package bench

import (
	"math"
	"time"

	"github.com/gopacket/gopacket"

	"netlyra/internal/detect"
	"netlyra/internal/detect/hst"
	"netlyra/internal/models"
)

// naiveWindow is over what a host is judged, about as long as the detector's own; it ends with the second.
const naiveWindow = 15 * time.Second

// naiveEvent is what a packet says of the two hosts of its connection.
type naiveEvent struct {
	key        naiveKey // from the initiator to the responder
	now        time.Time
	direction  int // 0: from the initiator
	bytes      uint64
	hasPayload bool
	entropy    float64
	opened     bool
	completed  bool
}

// naiveHost is what a host did in one role since its window began.
type naiveHost struct {
	since             time.Time
	opened, completed int
	packets           [2]uint64
	bytes             uint64
	entropy           float64
	entropyN          int
	peers, ports      map[gopacket.Endpoint]struct{}
}

// naiveAlert is a host in a role and what it does.
type naiveAlert struct {
	host gopacket.Endpoint
	role int
	what models.Category
}

// naiveHosts judges hosts as initiators (0) and as responders (1): after every packet, by the detector's limits, and by trees of the detector's
// size over its features.
type naiveHosts struct {
	limits detect.Limits
	hosts  [2]map[gopacket.Endpoint]*naiveHost
	trees  [2]*hst.Trees
	alerts map[naiveAlert]bool
	x      [8]float64
}

func newNaiveHosts() (h naiveHosts, err error) {
	h = naiveHosts{limits: detect.DefaultLimits(), alerts: map[naiveAlert]bool{}}
	for role := range h.hosts {
		h.hosts[role] = map[gopacket.Endpoint]*naiveHost{}
		if h.trees[role], err = hst.New(hst.Options{Trees: 25, Height: 8, Window: 2048, Features: len(h.x), Seed: 1}); err != nil {
			return h, err
		}
	}
	return h, nil
}

func (h *naiveHosts) packet(e naiveEvent) {
	client, server := e.key.network.Endpoints()
	port := e.key.transport.Dst()
	h.judge(0, client, h.host(0, client, e.now).add(e, server, port))
	h.judge(1, server, h.host(1, server, e.now).add(e, client, port))
}

// host finds a host or makes it.
func (h *naiveHosts) host(role int, addr gopacket.Endpoint, now time.Time) *naiveHost {
	host := h.hosts[role][addr]
	if host == nil {
		host = &naiveHost{since: now, peers: map[gopacket.Endpoint]struct{}{}, ports: map[gopacket.Endpoint]struct{}{}}
		h.hosts[role][addr] = host
	}
	return host
}

// expire forgets hosts whose window is over: who moves on begins another.
func (h *naiveHosts) expire(now time.Time) {
	for role := range h.hosts {
		for addr, host := range h.hosts[role] {
			if now.Sub(host.since) > naiveWindow {
				delete(h.hosts[role], addr)
			}
		}
	}
}

func (t *naiveHost) add(e naiveEvent, peer, port gopacket.Endpoint) *naiveHost {
	t.packets[e.direction]++
	t.bytes += e.bytes
	if e.opened {
		t.opened++
		t.peers[peer] = struct{}{}
		t.ports[port] = struct{}{}
	}
	if e.completed {
		t.completed++
	}
	if e.direction == 0 && e.hasPayload {
		t.entropy += e.entropy
		t.entropyN++
	}
	return t
}

func (h *naiveHosts) judge(role int, addr gopacket.Endpoint, t *naiveHost) {
	failed := max(t.opened-t.completed, 0) // one may have been opened in the window before
	share := float64(failed) / float64(max(t.opened, 1))
	switch {
	case share < h.limits.FailedShare:
	case role == 0 && len(t.ports) >= h.limits.ScanPorts:
		h.alerts[naiveAlert{addr, role, models.CategoryPortScan}] = true
	case role == 0 && len(t.peers) >= h.limits.SweepHosts:
		h.alerts[naiveAlert{addr, role, models.CategoryHostSweep}] = true
	case role == 1 && (len(t.peers) >= h.limits.FloodSources || failed >= h.limits.FloodHalfOpen && len(t.ports) <= h.limits.FloodPorts):
		h.alerts[naiveAlert{addr, role, models.CategoryFlood}] = true
	}
	h.x = [8]float64{
		decades(float64(t.bytes), 1e10),
		t.entropy / float64(max(t.entropyN, 1)) / 8,
		share,
		decades(float64(t.opened), 1e7),
		decades(float64(t.packets[0]), 1e8),
		decades(float64(len(t.peers)), 65_536),
		decades(float64(len(t.ports)), 65_536),
		float64(t.packets[1]) / float64(t.packets[0]+t.packets[1]),
	}
	if river, _ := h.trees[role].See(h.x[:]); river > 0.999 {
		h.alerts[naiveAlert{addr, role, models.CategoryAnomaly}] = true
	}
	h.trees[role].LearnSeen()
}

// decades spreads 0 to top over 0 to 1 by the logarithm.
func decades(v, top float64) float64 { return min(math.Log1p(v)/math.Log1p(top), 1) }
