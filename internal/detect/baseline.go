package detect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"netlyra/internal/models"
)

// Baseline is what a state says, for people.
type Baseline struct {
	Sensor    string             `json:"sensor"`
	Host      string             `json:"host,omitempty"` // the state is about this host alone
	Saved     models.Micros      `json:"saved_ts"`       // capture time
	Watched   float64            `json:"watched_seconds"`
	Learning  float64            `json:"learning"` // 0 to 1
	Parts     map[string]float64 `json:"parts"`
	Incidents int                `json:"open_incidents"`
	Known     map[string]int     `json:"known"` // how many of what
	Hosts     []KnownHost        `json:"hosts"`
}

// KnownHost is what is known of a host of the inside.
type KnownHost struct {
	Host      string             `json:"host"` // its hardware address on this link, else its address
	Addresses []string           `json:"addresses"`
	First     models.Micros      `json:"first_ts"`
	Usual     map[string][]Usual `json:"usual"`    // by role
	Upload    uint64             `json:"upload"`   // the most bytes that it usually uploads in ten minutes
	Peers     []string           `json:"peers"`    // that it talks to
	Ports     []string           `json:"ports"`    // that it talks to them on
	Services  []string           `json:"services"` // that it offers, or is talked to on
}

// Usual is the range that a feature of a host usually keeps to.
type Usual struct {
	Feature string  `json:"feature"`
	Unit    string  `json:"unit"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
}

// ErrUnknownHost says that nothing is known of a host.
var ErrUnknownHost = errors.New("detect: nothing is known of this host")

// owner says which host of the inside an address is one of: on this link a hardware address, else the address itself. ok is false outside.
type owner func(models.Addr) (k hostKey, ok bool)

// owners finds out who has which address now: of several hosts that have had it, who has it last. Of IPv6 only networks are known: who is
// alone in one has all of its addresses.
func (m *memory) owners() owner {
	type held struct {
		mac    models.MAC
		at     int64
		shared bool
	}
	by := map[models.Addr]held{}
	for i := range m.links.cells {
		c := &m.links.cells[i]
		l := &c.value
		if l.n == routerNets {
			continue
		}
		for n, a := range l.nets[:l.n] {
			h, there := by[a]
			h.shared = there
			if !there || l.heard[n] > h.at {
				h.mac, h.at = c.key, l.heard[n]
			}
			by[a] = h
		}
	}
	return func(a models.Addr) (hostKey, bool) {
		whose := a
		if !a.Is4() {
			whose.Lo = 0
		}
		if h, there := by[whose]; there && (a.Is4() || !h.shared) {
			return hostKey{mac: h.mac}, true
		}
		return hostKey{addr: a}, private(a)
	}
}

// of is the host behind a key: what was learned of an address before its hardware address was known is the host's, too.
func (f owner) of(k hostKey) (hostKey, bool) {
	if k.mac != (models.MAC{}) {
		return k, true
	}
	return f(k.addr)
}

func (k hostKey) String() string {
	if k.mac != (models.MAC{}) {
		return k.mac.String()
	}
	return k.addr.String()
}

func compareHosts(a, b hostKey) int {
	return cmp.Or(bytes.Compare(a.mac[:], b.mac[:]), compareAddr(a.addr, b.addr))
}

// Host finds a host by its text: a hardware address or an address that it has.
func (s *State) Host(text string) (k HostID, err error) {
	of := s.owners()
	if mac, ok := parseMAC(text); ok {
		k.key = hostKey{mac: mac}
	} else {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return k, fmt.Errorf("%q is neither an IP nor a hardware address such as 192.0.2.7 or 02:00:00:00:00:07", text)
		}
		k.key, _ = of(models.AddrFromNetip(a.WithZone("")))
	}
	if s.knownHosts(of)[k.key] == nil {
		return k, fmt.Errorf("%w: %s", ErrUnknownHost, text)
	}
	return k, nil
}

// HostID names a host of a state.
type HostID struct{ key hostKey }

// String is the host's hardware address on this link, else its address.
func (h HostID) String() string { return h.key.String() }

func parseMAC(text string) (m models.MAC, ok bool) {
	n, err := fmt.Sscanf(text, "%02x:%02x:%02x:%02x:%02x:%02x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5])
	return m, err == nil && n == len(m) && len(text) == len("00:00:00:00:00:00")
}

// Baseline says what the state holds. Hosts are in the order of their hardware addresses, then of their addresses.
func (s *State) Baseline() Baseline {
	j := &Judge{options: s.options, memory: s.memory}
	for r := range s.models {
		j.roles[r].model = s.models[r]
	}
	b := Baseline{
		Sensor: s.sensor, Host: s.scope, Saved: models.Micros(s.end), Watched: float64(s.elapsed) / secondMicros, Parts: j.parts(), Incidents: s.open,
		Known: map[string]int{
			"conversations": len(s.pairs.cells), "networks": len(s.peers.cells), "ports": len(s.ports.cells), "services": len(s.services.cells),
			"domains": len(s.domains.cells), "hardware_addresses": len(s.links.cells), "habits": len(s.habits.cells),
		},
		Hosts: []KnownHost{},
	}
	b.Learning = learning(b.Parts)
	known := s.knownHosts(s.owners())
	keys := make([]hostKey, 0, len(known))
	for k := range known {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareHosts)
	for _, k := range keys {
		b.Hosts = append(b.Hosts, known[k].finish())
	}
	return b
}

// gathered is a host of which all is being put together.
type gathered struct {
	KnownHost
	addresses map[models.Addr]bool
	peers     map[models.Addr]bool
	ports     map[portProto]bool
	services  map[portProto]bool
}

// knownHosts puts together what is known of each host of the inside.
func (s *State) knownHosts(of owner) map[hostKey]*gathered {
	all := map[hostKey]*gathered{}
	host := func(k hostKey, first int64) *gathered {
		h := all[k]
		if h == nil {
			h = &gathered{
				KnownHost: KnownHost{Host: k.String(), Usual: map[string][]Usual{}}, addresses: map[models.Addr]bool{},
				peers: map[models.Addr]bool{}, ports: map[portProto]bool{}, services: map[portProto]bool{},
			}
			all[k] = h
		}
		if first > 0 && (h.First == 0 || models.Micros(first) < h.First) {
			h.First = models.Micros(first)
		}
		return h
	}
	for i := range s.hosts.cells {
		c := &s.hosts.cells[i]
		if k, inside := of.of(c.key); inside {
			host(k, c.value.first).Upload = c.value.peak
		}
	}
	for i := range s.habits.cells {
		c := &s.habits.cells[i]
		if k, inside := of.of(c.key.host); inside {
			h := host(k, c.value.first)
			h.Usual[c.key.role.String()] = c.value.own.ranges()
			if c.key.host.addr != (models.Addr{}) {
				h.addresses[c.key.host.addr] = true
			}
		}
	}
	for i := range s.pairs.cells {
		c := &s.pairs.cells[i]
		service := portProto{c.key.port, c.key.proto}
		if k, inside := of(c.key.client); inside {
			h := host(k, c.value.first)
			h.addresses[c.key.client], h.peers[c.key.server], h.ports[service] = true, true, true
		}
		if k, inside := of(c.key.server); inside {
			h := host(k, c.value.first)
			h.addresses[c.key.server], h.services[service] = true, true
		}
	}
	for i := range s.services.cells {
		c := &s.services.cells[i]
		if k, inside := of(c.key.server); inside {
			h := host(k, 0)
			h.addresses[c.key.server], h.services[portProto{c.key.port, c.key.proto}] = true, true
		}
	}
	return all
}

// ranges lists what is usual, where that is known.
func (o *own) ranges() []Usual {
	all := []Usual{}
	for f := range numFeatures {
		if low, high, ok := o.usual(f); ok {
			all = append(all, Usual{f.info().name, f.info().unit, low, high})
		}
	}
	return all
}

func (h *gathered) finish() KnownHost {
	h.Addresses = texts(h.addresses, compareAddr, models.Addr.String)
	h.Peers = texts(h.peers, compareAddr, models.Addr.String)
	h.Ports = texts(h.ports, comparePorts, portProto.String)
	h.Services = texts(h.services, comparePorts, portProto.String)
	return h.KnownHost
}

func texts[K comparable](set map[K]bool, compare func(a, b K) int, text func(K) string) []string {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = text(k)
	}
	return all
}

// Forget makes a host one of which nothing has been learned, but that it exists: whatever it does from then on is new. What it does right
// now, an open incident, goes on.
func (s *State) Forget(h HostID) {
	of := s.owners()
	for i := range s.pairs.cells {
		if k := s.pairs.cells[i].key; of.is(k.client, h) {
			user := h.key.hash()
			leave(&s.peers, network(k.server), user)
			leave(&s.ports, portProto{k.port, k.proto}, user^hashAddr(k.server))
		}
	}
	for i := range s.domains.cells {
		if c := &s.domains.cells[i]; c.key.client == (hostKey{}) {
			c.value.renown.drop(h.key.hash())
		}
	}
	s.sift(of, h, false)
}

// Only is what a state holds of one host: for Adopt.
func (s *State) Only(h HostID) *State {
	o := *s
	o.scope = h.String()
	o.incidents, o.open, o.sweeps, o.floods = nil, 0, nil, nil
	o.sift(s.owners(), h, true)
	o.links = s.links.kept(func(k models.MAC) bool { return k == h.key.mac })
	o.peers, o.ports = newTable[models.Addr, renown](maxPeers), newTable[portProto, renown](maxPorts)
	return &o
}

// Scope is the host that a state is about; "": a whole network.
func (s *State) Scope() string { return s.scope }

// Transplant makes a state of a whole network one of this sensor's. Its incidents stay where they happened.
func (s *State) Transplant(sensor string) {
	s.sensor = sensor
	s.incidents, s.open, s.sweeps, s.floods = nil, 0, nil, nil
}

// Adopt takes over what another state holds of one host, in place of what was known of it here.
func (s *State) Adopt(o *State) error {
	h, err := o.Host(o.scope)
	if err != nil {
		return err
	}
	s.Forget(h)
	for i := range o.links.cells {
		c := &o.links.cells[i]
		v, _ := s.links.get(c.key)
		*v = c.value
	}
	copyCells(&s.hosts, &o.hosts)
	copyCells(&s.habits, &o.habits)
	copyCells(&s.services, &o.services)
	copyCells(&s.domains, &o.domains)
	copyCells(&s.probes, &o.probes)
	copyCells(&s.pairs, &o.pairs)
	for i := range o.domains.cells {
		known, _ := s.domains.get(domainKey{domain: o.domains.cells[i].key.domain})
		known.renown.meet(h.key.hash())
	}
	of := o.owners()
	for i := range o.pairs.cells {
		k := o.pairs.cells[i].key
		p := s.pairs.find(k)
		if p == nil || !of.is(k.client, h) {
			continue // there was no room, or the host is the server
		}
		p.met += s.elapsed - o.elapsed // as long ago as it was there
		user := h.key.hash()
		peer, fresh := s.peers.get(network(k.server))
		if fresh {
			peer.first, peer.seen = p.first, !p.new
		}
		peer.meet(user)
		port, fresh := s.ports.get(portProto{k.port, k.proto})
		if fresh {
			port.first, port.seen = p.first, !p.new
		}
		port.meet(user ^ hashAddr(k.server))
	}
	return nil
}

// is says whether an address is one of a host.
func (f owner) is(a models.Addr, h HostID) bool {
	k, _ := f(a)
	return k == h.key
}

// sift keeps of a state what is about a host, or all else.
func (s *State) sift(of owner, h HostID, about bool) {
	is := func(k hostKey) bool {
		k, _ = of.of(k)
		return k == h.key
	}
	s.hosts = s.hosts.kept(func(k hostKey) bool { return is(k) == about })
	s.habits = s.habits.kept(func(k habitKey) bool { return is(k.host) == about })
	s.pairs = s.pairs.kept(func(k pairKey) bool { return (of.is(k.client, h) || of.is(k.server, h)) == about })
	s.services = s.services.kept(func(k serviceKey) bool { return of.is(k.server, h) == about })
	s.domains = s.domains.kept(func(k domainKey) bool { return (k.client != (hostKey{}) && is(k.client)) == about })
	s.probes = s.probes.kept(func(k probeKey) bool { return of.is(k.source, h) == about })
}

// kept is a table with the entries whose keys keep wants.
func (t *table[K, V]) kept(keep func(K) bool) table[K, V] {
	n := newTable[K, V](t.room)
	for i := range t.cells {
		if c := &t.cells[i]; keep(c.key) {
			n.put(c)
		}
	}
	return n
}

func copyCells[K comparable, V any](to, from *table[K, V]) {
	for i := range from.cells {
		c := &from.cells[i]
		v, _ := to.get(c.key)
		*v = c.value
	}
}

// leave takes a user off what is known of something, and with the last one what is known.
func leave[K comparable](t *table[K, renown], k K, user uint32) {
	if r := t.find(k); r != nil && r.drop(user) == 0 {
		t.drop(k)
	}
}

// drop takes a user off and returns how many are left. Of many, who is not listed may be using it: then nobody is.
func (r *renown) drop(user uint32) int {
	if at := slices.Index(r.users[:r.n], user); at >= 0 && r.n < renownUsers {
		r.n--
		r.users[at] = r.users[r.n]
		r.users[r.n] = 0
	}
	return int(r.n)
}
