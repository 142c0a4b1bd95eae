package detect

import (
	"slices"

	"netlyra/internal/models"
)

// Some of what is abnormal can only be told from what is usual here: who is inside, who talks to whom. The first learnSeconds of
// capture time are taken for usual; what begins later is new.
const learnSeconds = 900

// hostKey is a host: on this link its hardware address, so that a new DHCP lease does not make a new host; else its address.
type hostKey struct {
	mac  models.MAC
	addr models.Addr
}

func (k hostKey) hash() uint32 {
	m := k.mac
	return hashAddr(models.Addr{Hi: k.addr.Hi ^ uint64(m[0])<<40 ^ uint64(m[1])<<32, Lo: k.addr.Lo ^ uint64(m[2])<<24 ^ uint64(m[3])<<16 ^ uint64(m[4])<<8 ^ uint64(m[5])})
}

// host is what a host of the inside usually does.
type host struct {
	first  int64 // capture time
	period int64 // of uploadSeconds
	sent   uint64
	peak   uint64 // the most that it has uploaded in one period before
}

// link is one hardware address and the networks that it speaks for.
type link struct {
	nets  [routerNets]models.Addr
	heard [routerNets]int64 // when a conversation last began from it, capture time
	n     uint8
}

const (
	routerNets    = 6 // a hardware address that speaks for so many networks is a router's
	maxLinks      = 1 << 14
	maxHosts      = 1 << 14
	leaseMicros   = 24 * hourMicros
	uploadSeconds = 600
	uploadGrowth  = 144 // periods, a day, in which what is usual may grow to 2.7 times as much
)

// note takes a sender's network address. A router speaks for many at once; a host may have had as many, one lease after the other: the one
// that has been silent for longer than a day makes room.
func (l *link) note(a models.Addr, now int64) {
	if !a.Is4() {
		a.Lo = 0 // a host has many IPv6 addresses, but few networks (RFC 8981)
	}
	if l.n == routerNets {
		return
	}
	at := slices.Index(l.nets[:l.n], a)
	if at < 0 && l.n == routerNets-1 {
		oldest := 0
		for i := range l.nets[:l.n] {
			if l.heard[i] < l.heard[oldest] {
				oldest = i
			}
		}
		if now-l.heard[oldest] > leaseMicros {
			at = oldest
		}
	}
	if at < 0 {
		at = int(l.n)
		l.n++
	}
	l.nets[at], l.heard[at] = a, now
}

// meet notes which hardware address speaks for which address: only of who has sent in this slot.
func (j *Judge) meet(s *models.ConnSlot) {
	if s.Up.Packets > 0 {
		j.speaks(s.OrigMAC, s.Orig)
	}
	if s.Down.Packets > 0 {
		j.speaks(s.RespMAC, s.Resp)
	}
}

func (j *Judge) speaks(mac models.MAC, a models.Addr) {
	if mac == (models.MAC{}) || mac[0]&1 == 1 {
		return
	}
	l, fresh := j.links.get(mac)
	l.note(a, j.end)
	if fresh {
		if today, rare := j.devices.rare(j.end, j.elapsed); rare {
			j.newcomer(a, mac, today)
		}
	}
}

// inside says whether an address belongs here: it is a private one, or a hardware address of this link speaks for it that is no router's.
func (j *Judge) inside(a models.Addr, mac models.MAC) bool {
	if private(a) {
		return true
	}
	return j.onLink(mac)
}

func (j *Judge) onLink(mac models.MAC) bool {
	l := j.links.find(mac)
	return l != nil && l.n < routerNets
}

// private: RFC 1918, RFC 6598, RFC 3927; RFC 4193 and RFC 4291's link-local.
func private(a models.Addr) bool {
	if !a.Is4() {
		return a.Hi>>57 == 0xfc>>1 || a.Hi>>54 == 0xfe80>>6
	}
	v := uint32(a.Lo)
	return v>>24 == 10 || v>>20 == 172<<4|1 || v>>16 == 192<<8|168 || v>>22 == 100<<2|1 || v>>16 == 169<<8|254
}

// hostOf is the host behind an address of the inside.
func (j *Judge) hostOf(a models.Addr, mac models.MAC) *host {
	h, fresh := j.hosts.get(j.hostKeyOf(a, mac))
	if fresh {
		h.first = j.end
	}
	return h
}

// upload adds what a host has sent to the outside. What is usual follows freely while everything is taken for usual; later it grows by so
// little a day that a slow ramp shows.
func (h *host) upload(now int64, bytes uint64, free bool) {
	for p := now / secondMicros / uploadSeconds; h.period < p; {
		h.peak = min(max(h.peak, h.sent), h.peak+h.peak/uploadGrowth+uploadStep/uploadGrowth)
		h.sent = 0
		if h.period == 0 || p-h.period > uploadGrowth {
			h.period = p
		} else {
			h.period++
		}
	}
	h.sent += bytes
	if free { // at once: the next upload may come when it no longer is
		h.peak = max(h.peak, h.sent)
	}
}

// newcomers are the times of the last arrivals of something: who arrives where hardly anybody ever does is news.
type newcomers [rareArrivals]int64

const (
	rareArrivals = 3 // in rareMicros: more are usual
	rareMicros   = 24 * hourMicros
)

// rare notes an arrival, and says whether arrivals are known to be rare: a day has been seen, and it had fewer than rareArrivals of them.
// today is how many there have been within a day, with this one.
func (n *newcomers) rare(now, elapsed int64) (today int, rare bool) {
	today = 1
	for _, at := range n {
		if at != 0 && now-at < rareMicros {
			today++
		}
	}
	copy(n[:], n[1:])
	n[rareArrivals-1] = now
	return today, elapsed >= rareMicros && today <= rareArrivals
}

// arrivals is why an arrival is told: what the day before it had is what is usual.
func arrivals(feature, unit string, today int) []models.Reason {
	return []models.Reason{{Feature: feature, Value: float64(today), Unit: unit, Expected: models.Range{High: float64(today - 1)}, Contribution: 1, Basis: models.BasisNetwork}}
}

// newcomer raises what a new device is worth.
func (j *Judge) newcomer(a models.Addr, mac models.MAC, today int) {
	s := models.ConnSlot{Orig: a, Resp: a, Proto: models.ProtoARP}
	j.blame(&s, finding{
		category: models.CategoryNewDevice, score: models.AlertLine + 0.01, severity: models.SeverityLow, text: mac.String(),
		lead: lead{"devices_known", "devices", float64(len(j.links.cells)), 0}, pair: mainConn{peer: a, proto: models.ProtoARP}, since: j.end,
		reasons: arrivals("new_devices_a_day", "devices", today),
	}, 1)
}

// offer notes a service of the inside. One on a port on which nobody here is known to offer anything is news, where such services hardly
// ever appear: a machine offering what others offer is an everyday event.
func (j *Judge) offer(v *visit) {
	s := v.s
	if s.RespPort >= ephemeralPort || !v.server() {
		return
	}
	if _, fresh := j.services.get(serviceKey{s.Resp, s.RespPort, s.Proto}); !fresh || j.offeredBeside(s) {
		return
	}
	today, rare := j.offers.rare(j.end, j.elapsed)
	if !rare {
		return
	}
	server := *s
	j.blame(&server, finding{
		category: models.CategoryNewService, score: models.AlertLine + 0.01, severity: models.SeverityLow, pair: pairOf(s), since: s.Start,
		lead:    lead{"services_known", "services", float64(len(j.services.cells)), 0},
		reasons: arrivals("new_services_a_day", "services", today),
	}, 1)
}

// offeredBeside says whether another machine is known to offer something on a connection's port. It goes through all that is known: a service is
// new seldom, and what is forgotten or adopted (baseline.go) needs no second account.
func (m *memory) offeredBeside(s *models.ConnSlot) bool {
	return slices.ContainsFunc(m.services.cells, func(c cell[serviceKey, uint32]) bool {
		return c.key.port == s.RespPort && c.key.proto == s.Proto && c.key.server != s.Resp
	})
}

// leases says whether somebody hands out addresses: a DHCP server to a client (RFC 2131, section 4.1).
func leases(s *models.ConnSlot) bool {
	return s.Proto == models.ProtoUDP && s.OrigPort == 67 && s.RespPort == 68 || s.Proto == models.ProtoUDP && s.RespPort == 67 && s.OrigPort == 68 && s.Completed
}

// lease notes who hands out addresses. A second one on the same network hands out more than that: where to send everything.
func (j *Judge) lease(s *models.ConnSlot) {
	server := s.Orig
	if s.RespPort == 67 {
		server = s.Resp
	}
	if slices.Contains(j.lessors, server) {
		return
	}
	if !j.learned() || len(j.lessors) == 0 {
		if len(j.lessors) < maxLessors {
			j.lessors = append(j.lessors, server)
		}
		return
	}
	j.blame(&models.ConnSlot{Orig: server, Resp: j.lessors[0], RespPort: 67, Proto: models.ProtoUDP}, finding{
		category: models.CategoryNewService, score: limitScore(float64(len(j.lessors)+1), float64(len(j.lessors))), hold: newServiceHold,
		lead: lead{leadLessors, "servers", float64(len(j.lessors) + 1), float64(len(j.lessors))},
		pair: mainConn{peer: j.lessors[0], respPort: 67, proto: models.ProtoUDP}, since: s.First,
		reasons: []models.Reason{{Feature: leadLessors, Value: float64(len(j.lessors) + 1), Unit: "servers", Expected: models.Range{Low: 1, High: float64(len(j.lessors))}, Contribution: 1, Basis: models.BasisLimit}},
	}, 0)
}

const (
	leadLessors    = "dhcp_servers"
	maxLessors     = 8
	newServiceHold = 1800 * secondMicros
)

const ephemeralPort = 49152 // RFC 6335, section 6: from here on ports are for clients

// learned says whether the time in which everything is taken for usual is over.
func (j *Judge) learned() bool { return j.elapsed >= learnSeconds*secondMicros }

// group says whether a connection goes to many: unanswered is what it is meant to be.
func group(s *models.ConnSlot) bool { return s.Resp.IsMulticast() || s.RespMAC[0]&1 == 1 }

// renown is how many hosts of the inside something is known to.
type renown struct {
	first int64 // when it was first met, capture time
	seen  bool  // in the time of learning
	users [renownUsers]uint32
	n     uint8
}

const renownUsers = 4

// common says whether many know it, or did so from the start.
func (r *renown) common() bool { return r.seen || r.n > 2 }

// meet counts a user and returns how many there are, renownUsers at most.
func (r *renown) meet(user uint32) int {
	if r.n < renownUsers && !slices.Contains(r.users[:r.n], user) {
		r.users[r.n] = user
		r.n++
	}
	return int(r.n)
}
