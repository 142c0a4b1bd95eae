package detect

import (
	"fmt"
	"testing"

	"netlyra/internal/models"
)

const day = 24 * 3600

func TestNewcomers(t *testing.T) {
	outside, server := addr("203.0.113.9"), addr("10.0.0.77")
	device := func(s *script, at float64, n int) { s.conn(at, page(hostN(50+n), outside, 443, 500, 5000)) }
	// office has the server be known, and every hour some work.
	office := func(s *script, days float64) {
		s.pulse = maxStep / models.SlotMicros
		s.learned().conn(100, page(addr("10.0.0.1"), server, 445, 500, 500))
		for h := 1.0; h < days*24; h++ {
			s.work(3600*h, 3600*h+60)
		}
		s.until(days * day)
	}
	checkRules(t, []rule{
		{"a device on the second day", func(s *script) { office(s, 1.1); device(s, 1.1*day, 0) }, "new_device"},
		{"a device on the first day", func(s *script) { office(s, 1.1); device(s, 0.9*day, 0) }, ""},
		{"it comes again", func(s *script) {
			office(s, 1.5)
			for i := range 10 {
				s.conn((1.1+float64(i)/50)*day, page(hostN(50), addr(fmt.Sprintf("203.0.%d.9", 1+i)), 443, 500, 5000))
			}
		}, "new_device"},
		{"a device that has another address", func(s *script) {
			office(s, 1.1)
			c := page(hostN(50), outside, 443, 500, 5000)
			c.OrigMAC = hardware(addr("10.0.0.1"))
			s.conn(1.1*day, c)
		}, ""},
		{"a device that is only seen to answer", func(s *script) { office(s, 1.1); s.conn(1.1*day, page(outside, hostN(50), 55_000, 500, 5000)) }, "new_device"},
		{"somebody outside, behind the router", func(s *script) { office(s, 1.1); s.conn(1.1*day, page(addr("192.0.2.1"), server, 445, 500, 5000)) }, ""},
		{"two devices on one day", func(s *script) { office(s, 1.2); device(s, 1.1*day, 0); device(s, 1.2*day, 1) }, "new_device new_device"},
		{"more than three on one day", func(s *script) {
			office(s, 1.2)
			for i := range 10 {
				device(s, 1.1*day+float64(i)*600, i)
			}
		}, "new_device new_device new_device"},
		{"every day five devices", func(s *script) {
			office(s, 4)
			for i := range 15 {
				device(s, 0.5*day+float64(i)*day/5, i)
			}
		}, ""},
		{"a service on the second day", func(s *script) { office(s, 1.1); s.conn(1.1*day, page(addr("10.0.0.1"), server, 8443, 500, 5000)) }, "new_service"},
		{"a service on the first day", func(s *script) { office(s, 1.1); s.conn(0.9*day, page(addr("10.0.0.1"), server, 8443, 500, 5000)) }, ""},
		{"a service for clients from outside", func(s *script) { office(s, 1.1); s.conn(1.1*day, page(outside, server, 8443, 500, 5000)) }, "new_service"},
		{"a service over datagrams", func(s *script) { office(s, 1.1); s.conn(1.1*day, datagrams(addr("10.0.0.1"), server, 161, 50, 500)) }, "new_service"},
		{"a service on a port that another machine has offered", func(s *script) {
			office(s, 1.1)
			s.conn(0.5*day, page(addr("10.0.0.2"), addr("10.0.0.5"), 8443, 500, 5000))
			s.conn(1.1*day, page(addr("10.0.0.1"), server, 8443, 500, 5000))
		}, ""},
		{"a service on a port that is used outside", func(s *script) {
			office(s, 1.1)
			s.conn(0.5*day, page(addr("10.0.0.2"), outside, 8443, 500, 5000))
			s.conn(1.1*day, page(addr("10.0.0.1"), server, 8443, 500, 5000))
		}, "new_service"},
		{"a service that others come to later", func(s *script) {
			office(s, 1.5)
			for i := range 10 {
				s.conn((1.1+float64(i)/50)*day, page(addr(fmt.Sprintf("10.0.0.%d", 1+i%4)), server, 8443, 500, 5000))
			}
		}, "new_service"},
		{"a port that is for clients", func(s *script) {
			office(s, 1.1)
			s.conn(1.1*day, page(addr("10.0.0.1"), server, ephemeralPort, 500, 5000))
		}, ""},
		{"a service that nobody gets through to", func(s *script) { office(s, 1.1); s.conn(1.1*day, refused(addr("10.0.0.1"), server, 8443)) }, ""},
		{"a service outside", func(s *script) { office(s, 1.1); s.conn(1.1*day, page(addr("10.0.0.1"), outside, 8443, 500, 5000)) }, ""},
		{"every day five services", func(s *script) {
			office(s, 4)
			for i := range 15 {
				s.conn(0.5*day+float64(i)*day/5, page(addr("10.0.0.1"), server, uint16(8000+i), 500, 5000))
			}
		}, ""},
	})
}

func TestDHCPServers(t *testing.T) {
	first, second, client := addr("10.0.0.1"), addr("10.0.0.66"), addr("10.0.0.5")
	everybody := addr("255.255.255.255")
	// offer is what a server sends to who has no address yet.
	offer := func(server, to models.Addr) models.ConnSlot {
		return models.ConnSlot{Orig: server, Resp: to, OrigPort: 67, RespPort: 68, Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: 342, Payload: 300}}
	}
	discover := models.ConnSlot{Orig: addr("0.0.0.0"), Resp: everybody, OrigPort: 68, RespPort: 67, Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: 342, Payload: 300}}
	renew := func(server models.Addr) models.ConnSlot {
		c := datagrams(client, server, 67, 300, 300)
		c.OrigPort = 68
		return c
	}
	checkRules(t, []rule{
		{"a second one", func(s *script) {
			s.conn(100, offer(first, client))
			s.learned().conn(afterwards, offer(second, client))
		}, "new_service"},
		{"a second one, to everybody", func(s *script) {
			s.conn(100, offer(first, everybody))
			s.learned().conn(afterwards, offer(second, everybody))
		}, "new_service"},
		{"a second one is asked to renew", func(s *script) { s.conn(100, renew(first)); s.learned().conn(afterwards, renew(second)) }, "new_service"},
		{"a second one goes on for an hour", func(s *script) {
			s.conn(100, offer(first, client))
			s.learned().repeat(afterwards, 60, every(60), same(offer(second, client)))
		}, "new_service"},
		{"a second one that was there from the start", func(s *script) {
			s.conn(100, offer(first, client))
			s.conn(200, offer(second, client))
			s.learned().repeat(afterwards, 60, every(60), same(offer(second, client)))
		}, ""},
		{"the first one, after a day without", func(s *script) { s.learned().conn(day, offer(first, client)); s.conn(day+100, offer(first, client)) }, ""},
		{"clients look for one", func(s *script) {
			s.conn(100, offer(first, client))
			s.learned().repeat(afterwards, 60, every(10), same(discover))
		}, ""},
		{"nobody answers who is asked to renew", func(s *script) {
			s.conn(100, offer(first, client))
			c := renew(second)
			c.Completed, c.Answered, c.Down = false, false, models.SlotDir{}
			s.learned().conn(afterwards, c)
		}, ""},
	})
}

func TestPrivateAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "9.255.255.255": false, "11.0.0.0": false,
		"172.15.255.255": false, "172.16.0.0": true, "172.31.255.255": true, "172.32.0.0": false,
		"192.167.255.255": false, "192.168.0.0": true, "192.168.255.255": true, "192.169.0.0": false,
		"100.63.255.255": false, "100.64.0.0": true, "100.127.255.255": true, "100.128.0.0": false,
		"169.253.255.255": false, "169.254.0.0": true, "169.254.255.255": true, "169.255.0.0": false,
		"fbff::1": false, "fc00::1": true, "fdff:ffff::1": true, "fe00::1": false, "fe7f::1": false, "fe80::1": true, "febf::1": true, "fec0::1": false, "2001:db8::1": false, "::1": false,
	} {
		if got := private(addr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"203.0.113.0", "203.0.113.255", true},
		{"203.0.113.255", "203.0.114.0", false},
		{"2001:db8:1:0::1", "2001:db8:1:ffff:1::", true},
		{"2001:db8:1::", "2001:db8:2::", false},
	} {
		if got := network(addr(tc.a)) == network(addr(tc.b)); got != tc.same {
			t.Errorf("%s and %s: the same network is %v", tc.a, tc.b, got)
		}
	}
}

// Users are counted one by one up to renownUsers, which stands for more; whoever comes again is not counted again.
func TestRenown(t *testing.T) {
	var r renown
	for i, want := range []int{1, 2, 3, 4, 4, 4} {
		if got := r.meet(uint32(100 + i)); got != want {
			t.Errorf("after %d users: %d", i+1, got)
		}
		if got := r.meet(100); got != want {
			t.Errorf("after %d users and the first again: %d", i+1, got)
		}
		if got := r.common(); got != (want > 2) {
			t.Errorf("with %d users, common is %v", want, got)
		}
	}
	if r := (renown{seen: true}); !r.common() {
		t.Error("what was there from the start is not common")
	}
}

func TestArrivals(t *testing.T) {
	const hour = hourMicros
	for _, tc := range []struct {
		name    string
		at      []int64 // hours
		elapsed int64   // hours, at the last
		today   int
		rare    bool
	}{
		{"the first", []int64{100}, 100, 1, true},
		{"within the first day", []int64{100}, 23, 1, false},
		{"a day has been seen", []int64{100}, 24, 1, true},
		{"the third of a day", []int64{100, 101, 102}, 100, 3, true},
		{"the fourth of a day", []int64{100, 101, 102, 103}, 100, 4, false},
		{"the fourth, a day after the first", []int64{100, 101, 102, 124}, 100, 3, true},
		{"the fourth, less than a day after the first", []int64{100, 101, 102, 123}, 100, 4, false},
		{"the tenth of a day, of which four are remembered", []int64{100, 101, 102, 103, 104, 105, 106, 107, 108, 109}, 100, 4, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var n newcomers
			var today int
			var rare bool
			for _, h := range tc.at {
				today, rare = n.rare(h*hour, tc.elapsed*hour)
			}
			if today != tc.today || rare != tc.rare {
				t.Errorf("%d that day, rare %v; want %d, %v", today, rare, tc.today, tc.rare)
			}
		})
	}
}

// What a host usually uploads is, while everything is usual, the most it has; later it grows by so little a day that a ramp shows.
func TestUsualUploads(t *testing.T) {
	const period = uploadSeconds * secondMicros
	var h host
	now := int64(scriptDay)
	for range 10 {
		h.upload(now, 5<<20, true)
		now += period
	}
	if h.peak != 5<<20 {
		t.Fatalf("the peak is %d", h.peak)
	}
	h.upload(now, 50<<20, true) // and nothing before the time of learning is over
	if h.peak != 50<<20 {
		t.Errorf("the last upload of the time of learning is forgotten: %d", h.peak)
	}
	for range uploadGrowth { // a day
		now += period
		h.upload(now, 1<<40, false)
	}
	if grown := float64(h.peak) / (50 << 20); grown < 2 || grown > 3.5 {
		t.Errorf("within a day the peak has grown to %v times what it was", grown)
	}
	was := h.peak
	h.upload(now+1000*period, 1<<20, false)
	if h.peak < was || h.peak > was+was/uploadGrowth*2+uploadStep {
		t.Errorf("after a week of silence the peak is %d, and was %d", h.peak, was)
	}
}

// A host on this link is its hardware address, whatever address it has; a router's is nobody's.
func TestWhoAHostIs(t *testing.T) {
	j, err := NewJudge(Options{MaxEntities: 16})
	if err != nil {
		t.Fatal(err)
	}
	mac, router := models.MAC{2, 1}, models.MAC{2, 2}
	j.speaks(mac, addr("10.0.0.5"))
	j.speaks(mac, addr("2001:db8::5"))
	j.speaks(models.MAC{}, addr("10.0.0.6"))
	j.speaks(models.MAC{1, 0, 0x5e}, addr("10.0.0.7"))
	for i := range routerNets {
		if j.speaks(router, addr(fmt.Sprintf("198.51.100.%d", 1+i))); j.onLink(router) != (i < routerNets-1) {
			t.Errorf("with %d networks, it is a host's: %v", i+1, j.onLink(router))
		}
	}
	if j.hostOf(addr("10.0.0.5"), mac) != j.hostOf(addr("10.0.0.99"), mac) {
		t.Error("another lease made another host")
	}
	if j.hostOf(addr("198.51.100.1"), router) == j.hostOf(addr("198.51.100.2"), router) {
		t.Error("two hosts behind a router are one")
	}
	if len(j.links.cells) != 2 {
		t.Errorf("%d hardware addresses are known", len(j.links.cells))
	}
	for range 100 { // addresses of one IPv6 network are one (RFC 8981)
		j.speaks(mac, models.Addr{Hi: 0x20010db8 << 32, Lo: uint64(len(j.links.cells)) * 7919})
	}
	if !j.inside(addr("203.0.113.5"), mac) || j.inside(addr("203.0.113.5"), router) || !j.inside(addr("10.9.9.9"), router) || j.inside(addr("203.0.113.5"), models.MAC{2, 9}) {
		t.Error("inside and outside are mixed up")
	}
}
