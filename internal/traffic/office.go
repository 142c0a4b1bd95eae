package traffic

import (
	"math/rand/v2"

	"netlyra/internal/models"
)

// role is what a host of the office is for.
type role int

const (
	workstation role = iota
	phone
	fileServer
	webServer
	nas
	printer
	camera
	sensor // of temperature, doors and the like
)

// host is a machine of the office.
type host struct {
	node
	name      string
	role      role
	resolver  *node
	known     map[*site]int64 // until when a name need not be looked up
	asks6     bool            // looks up IPv6 addresses too
	asksHTTPS bool            // and HTTPS records (RFC 9460), as browsers do
	until     int64           // when it goes off, while it is on
	tastes    []*site
	gone      bool // for good
	linux     bool
}

// world is the office and what of the internet it knows.
type world struct {
	prefix4 [3]byte
	prefix6 [8]byte
	gateway *node
	inside  []*host
	last    byte // the address that was given out last
	deaf    bool // the resolver does not answer

	resolver *node
	sites    []*site // the most popular first
	ads      []*site // third parties of pages
	mail     *site
	chat     *site
	sync     *site
	update   *site
	virus    string // zone of an antivirus product's reputation lookups
	clocks   []*node
	polls    []*site // whom programs ask again and again
	people   []*node // ends of calls, peers
	backup   *site
	private  *site // a resolver over HTTPS
}

func (w *world) of(r role) []*host {
	var all []*host
	for _, h := range w.inside {
		if h.role == r {
			all = append(all, h)
		}
	}
	return all
}

// one is a host of a role: the first.
func (w *world) one(r role) *host { return w.of(r)[0] }

// newWorld draws an office: its network, its hosts, the sites they use.
func newWorld(rng *rand.Rand, o *Options) *world {
	w := &world{}
	switch rng.IntN(3) {
	case 0:
		w.prefix4 = [3]byte{192, 168, byte(rng.IntN(256))}
	case 1:
		w.prefix4 = [3]byte{10, byte(rng.IntN(256)), byte(rng.IntN(256))}
	default:
		w.prefix4 = [3]byte{172, 16 + byte(rng.IntN(16)), byte(rng.IntN(256))}
	}
	w.prefix6 = [8]byte{0x20, 1, 0x0d, 0xb8, byte(rng.IntN(256)), byte(rng.IntN(256)), 0, byte(rng.IntN(16))}
	w.gateway = &node{} // nobody has an address yet
	gw := w.newHost(rng, workstation, true)
	gw.v4[3], gw.v6[15] = 1, 1
	w.gateway = &gw.node
	w.gateway.open = []uint16{53, 80, 443}
	w.resolver = w.gateway
	if rng.IntN(2) == 0 {
		w.resolver = w.outsider(rng)
		w.resolver.rtt, w.resolver.open = 6*ms+rng.Int64N(10*ms), []uint16{53, 443, 853}
	}
	w.last = 9
	for i := range o.Hosts - 1 {
		w.inside = append(w.inside, w.newHost(rng, roleOf(i, o.Hosts), i%2 == 0))
	}
	w.internet(rng)
	for _, h := range w.inside {
		w.equip(rng, h)
	}
	return w
}

// roleOf spreads the roles over an office: most are workstations and phones.
func roleOf(i, hosts int) role {
	fixed := []role{fileServer, webServer, nas, printer, camera, sensor, sensor}
	if i < len(fixed) {
		return fixed[i]
	}
	if i < len(fixed)+(hosts-len(fixed))*3/5 {
		return workstation
	}
	return phone
}

// newHost is a machine with the next free address.
func (w *world) newHost(rng *rand.Rand, r role, six bool) *host {
	vendors := [][3]byte{{0xf0, 0x18, 0x98}, {0x00, 0x1b, 0x21}, {0x3c, 0x5a, 0xb4}, {0xd8, 0x9e, 0xf3}, {0xb8, 0x27, 0xeb}, {0xa4, 0xbb, 0x6d}}
	v := vendors[rng.IntN(len(vendors))]
	h := &host{role: r, known: map[*site]int64{}, linux: rng.IntN(4) == 0}
	h.mac = models.MAC{v[0], v[1], v[2], byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))}
	h.v4 = [4]byte{w.prefix4[0], w.prefix4[1], w.prefix4[2], w.address(rng)}
	copy(h.v6[:], w.prefix6[:])
	ll := linkLocal(h.mac)
	copy(h.v6[8:], ll[8:])
	h.six = six
	h.ttl = 128
	if h.linux {
		h.ttl = 64
	}
	h.rtt = 120 + rng.Int64N(400)
	h.rate = 60_000
	if r == phone || r == camera || r == sensor {
		h.rtt, h.rate = 1500+rng.Int64N(4000), 6000 // over radio
	}
	h.ipid, h.ports = uint16(rng.Uint32()), 49152+uint16(rng.IntN(16000))
	return h
}

// address finds one that nobody has, with gaps as leases have them.
func (w *world) address(rng *rand.Rand) byte {
	for {
		if w.last++; w.last < 150 {
			w.last += byte(rng.IntN(4))
		}
		if w.last > 250 {
			w.last = 10
		}
		if w.at(w.last) == nil {
			return w.last
		}
	}
}

// equip gives a host its services, and its habits.
func (w *world) equip(rng *rand.Rand, h *host) {
	h.resolver = w.resolver
	h.name = word(rng, 2) + "-" + token(rng, 4, hexAlphabet)
	h.asks6 = h.six || rng.IntN(2) == 0
	h.asksHTTPS = h.role == workstation || h.role == phone
	h.open = []uint16{}
	switch h.role {
	case fileServer:
		h.open = []uint16{22, 53, 88, 135, 139, 389, 445, 464, 636, 3389}
	case webServer:
		h.open = []uint16{21, 22, 25, 80, 443, 993, 8080}
	case nas:
		h.open = []uint16{22, 80, 139, 443, 445, 5000, 5001}
	case printer:
		h.open = []uint16{80, 443, 515, 631, 9100}
	case camera:
		h.open = []uint16{80, 554}
	case workstation:
		h.open = []uint16{135, 445}
		if h.linux {
			h.open = []uint16{22}
		}
	case phone, sensor:
	}
	for range 25 {
		h.tastes = append(h.tastes, w.sites[zipf(rng, len(w.sites))])
	}
}

// zipf draws an index, low ones more often.
func zipf(rng *rand.Rand, n int) int {
	u := rng.Float64()
	return int(float64(n) * u * u * u)
}

// outsider is somebody on the internet.
func (w *world) outsider(rng *rand.Rand) *node {
	n := &node{mac: w.gateway.mac, v4: publicAddress(rng), outside: true, open: []uint16{80, 443}}
	n.six = rng.IntN(2) == 0
	n.v6 = [16]byte{0x20, 1, 0x0d, 0xb8, 0xf0 | byte(rng.IntN(16)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))}
	n.v6[14], n.v6[15] = byte(rng.IntN(256)), byte(1+rng.IntN(255))
	n.ttl = []byte{64, 64, 128, 255}[rng.IntN(4)] - byte(4+rng.IntN(14))
	n.rtt = 8*ms + rng.Int64N(40*ms)
	if rng.IntN(6) == 0 {
		n.rtt += 90 * ms // another continent
	}
	n.rate = 1500 + rng.Int64N(9000)
	n.ipid, n.ports = uint16(rng.Uint32()), uint16(49152+rng.IntN(16000))
	return n
}

// publicAddress is any unicast IPv4 address that is not reserved.
func publicAddress(rng *rand.Rand) [4]byte {
	for {
		a := [4]byte{byte(1 + rng.IntN(222)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(1 + rng.IntN(254))}
		switch {
		case a[0] == 10 || a[0] == 127 || a[0] == 169 && a[1] == 254 || a[0] == 192 && a[1] == 168 || a[0] == 100 && a[1]&0xc0 == 64:
		case a[0] == 172 && a[1]&0xf0 == 16 || a[0] == 198 && a[1]&0xfe == 18 || a[0] == 192 && a[1] == 0:
		default:
			return a
		}
	}
}

// internet draws the sites.
func (w *world) internet(rng *rand.Rand) {
	farms := make([][]*node, 12) // of the delivery networks that many sites share
	for i := range farms {
		for range 6 {
			farms[i] = append(farms[i], w.outsider(rng))
		}
	}
	for range 300 {
		w.sites = append(w.sites, w.newSite(rng, farms))
	}
	for range 40 {
		s := w.newSite(rng, farms)
		s.name = token(rng, 10+rng.IntN(14), base32Alphabet) + ".cdn." + s.zone
		w.ads = append(w.ads, s)
	}
	own := func(label string, ttl int) *site {
		z := zone(rng)
		s := &site{name: label + "." + z, zone: z, ttl: ttl, app: appSystem}
		for range 1 + rng.IntN(3) {
			n := w.outsider(rng)
			n.open = []uint16{80, 443, 465, 587, 993}
			s.nodes = append(s.nodes, n)
		}
		return s
	}
	w.mail, w.chat, w.sync, w.update, w.backup = own("imap", 300), own("push", 600), own("sync", 300), own("download", 1800), own("s3", 60)
	w.private = own("dns", 3600)
	for range 10 {
		w.polls = append(w.polls, own("api", 60+rng.IntN(600)))
	}
	for range 4 {
		n := w.outsider(rng)
		n.open = []uint16{}
		w.clocks = append(w.clocks, n)
	}
	for range 60 {
		w.people = append(w.people, w.outsider(rng))
	}
	w.virus = "avqs." + zone(rng)
}

func (w *world) newSite(rng *rand.Rand, farms [][]*node) *site {
	z := zone(rng)
	label := []string{"www", "www", "static", "api", "img", "app", "m"}[rng.IntN(7)]
	s := &site{name: label + "." + z, zone: z, ttl: []int{20, 60, 300, 3600}[rng.IntN(4)], app: appBrowser, quic: rng.IntN(3) == 0}
	if rng.IntN(3) == 0 {
		s.nodes = []*node{w.outsider(rng)}
		return s
	}
	farm := farms[rng.IntN(len(farms))]
	at := rng.IntN(len(farm))
	s.nodes = []*node{farm[at], farm[(at+1)%len(farm)]}
	if rng.IntN(2) == 0 {
		s.chain = []string{"d" + token(rng, 13, base32Alphabet) + ".edge." + zone(rng)}
	}
	return s
}

// open starts the office's day.
func (w *world) open(s *Stream, office *activity, rng *rand.Rand) {
	start := func(run func(*proc)) { s.spawn(s.now+rng.Int64N(3*sec), office, rng, run) }
	for _, h := range w.inside {
		switch h.role {
		case workstation:
			start(func(p *proc) { w.days(p, h, w.workDay) })
		case phone:
			start(func(p *proc) { w.days(p, h, w.phoneDay) })
		default:
			h.until = s.end + hour
			start(func(p *proc) { w.device(p, h) })
		}
	}
	start(w.router)
	if rng.IntN(2) == 0 {
		start(func(p *proc) { w.monitoring(p, s.end) })
	}
	if s.options.Changing {
		start(w.changes)
	}
	if s.options.PeerToPeer {
		start(func(p *proc) { w.sharing(p, pick(p, w.of(workstation)), s.end) })
	}
}
