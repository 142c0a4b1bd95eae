package api

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// The bounds of TCP connections. A stranger is a connection that has not shown the token yet (without a token: that has made no
// request yet), a guest one that has.
const (
	maxStrangers     = 256
	strangersOfOne   = 128 // from one address
	maxGuests        = 512
	guestsOfOne      = 256
	ipv6NetworkBits  = 64 // whoever has one address of such a network has all
	reasonStrangers  = "connections"
	reasonFloodingWS = "websocket_input"
)

// places bounds the TCP connections of all listeners, in all and by address. Who has shown nothing takes no place: a stranger
// beyond the bound pushes out the oldest stranger of the same address, or of the address with the most of them, so that the
// newest always has the time to show what it has.
type places struct {
	refused func(whence string) // a stranger was pushed out

	mu        sync.Mutex
	of        map[netip.Addr]*neighbours
	strangers int
	guests    int
	gauge     *prometheus.GaugeVec
}

// neighbours are the connections from one address.
type neighbours struct {
	strangers *list.List // of *seat, oldest first
	guests    int
}

func newPlaces(refused func(whence string)) *places {
	return &places{
		refused: refused, of: map[netip.Addr]*neighbours{},
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "netlyra_api_connections", Help: "TCP connections that are open, by whether they have shown what is demanded.",
		}, []string{"kind"}),
	}
}

// listener counts what another accepts.
func (p *places) listener(l net.Listener) net.Listener { return placedListener{l, p} }

type placedListener struct {
	net.Listener
	places *places
}

// Accept takes every connection, and makes room for it.
func (l placedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.places.seat(conn), nil
}

// seat is a connection in its place.
type seat struct {
	net.Conn
	places *places
	from   netip.Addr
	entry  *list.Element // among the strangers; nil for a guest
	gone   bool

	uid    int // of the other end's owner, once known
	hasUID bool
}

// NetConn is the connection below.
func (s *seat) NetConn() net.Conn { return s.Conn }

// Close frees the place.
func (s *seat) Close() error {
	s.places.leave(s)
	return s.Conn.Close()
}

// sourceOf is whom an address belongs to: one machine, or one IPv6 network.
func sourceOf(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	ip := a.Addr().Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.Is6():
		if p, err := ip.Prefix(ipv6NetworkBits); err == nil {
			return p.Addr()
		}
	}
	return ip
}

func (p *places) seat(conn net.Conn) *seat {
	s := &seat{Conn: conn, places: p, from: sourceOf(conn.RemoteAddr().String())}
	p.mu.Lock()
	n := p.of[s.from]
	if n == nil {
		n = &neighbours{strangers: list.New()}
		p.of[s.from] = n
	}
	s.entry = n.strangers.PushBack(s)
	p.strangers++
	var out *seat
	switch {
	case n.strangers.Len() > strangersOfOne:
		out = oldest(n)
	case p.strangers > maxStrangers:
		out = oldest(p.most())
	}
	p.show()
	p.mu.Unlock()
	if out != nil {
		_ = out.Close() // nobody is interested
		p.refused(out.from.String())
	}
	return s
}

// most is the address with the most strangers.
func (p *places) most() *neighbours {
	var most *neighbours
	for _, n := range p.of {
		if most == nil || n.strangers.Len() > most.strangers.Len() {
			most = n
		}
	}
	return most
}

func oldest(n *neighbours) *seat {
	return n.strangers.Front().Value.(*seat) //nolint:errcheck // the list holds nothing else
}

// welcome makes a guest of a connection; false: there are too many.
func (p *places) welcome(s *seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.of[s.from]
	switch {
	case s.gone:
		return false
	case s.entry == nil:
		return true
	case p.guests >= maxGuests || n.guests >= guestsOfOne:
		return false
	}
	n.strangers.Remove(s.entry)
	s.entry = nil
	p.strangers--
	p.guests++
	n.guests++
	p.show()
	return true
}

// knows says whether a connection is a guest.
func (p *places) knows(s *seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.entry == nil && !s.gone
}

func (p *places) leave(s *seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.gone {
		return
	}
	s.gone = true
	n := p.of[s.from]
	if s.entry != nil {
		n.strangers.Remove(s.entry)
		p.strangers--
	} else {
		n.guests--
		p.guests--
	}
	if n.strangers.Len() == 0 && n.guests == 0 {
		delete(p.of, s.from)
	}
	p.show()
}

func (p *places) show() {
	p.gauge.WithLabelValues("stranger").Set(float64(p.strangers))
	p.gauge.WithLabelValues("guest").Set(float64(p.guests))
}

// seatOf is the place of a request's connection; nil where it came by no listener of ours.
func seatOf(r *http.Request) *seat {
	conn, _ := r.Context().Value(connKey{}).(net.Conn) // withConn has put it there
	for conn != nil {
		if s, ok := conn.(*seat); ok {
			return s
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = below.NetConn()
	}
	return nil
}
