package detect

import (
	"fmt"
	"testing"

	"netlyra/internal/models"
)

const (
	arpRequest = 1 // RFC 826
	arpReply   = 2
)

func TestClaims(t *testing.T) {
	owner, attacker, outside := addr("10.0.0.10"), addr("10.0.0.66"), addr("203.0.113.9")
	thief := hardware(attacker)
	// uses has a host be heard once a second.
	uses := func(s *script, from, to float64, host models.Addr, mac models.MAC) {
		for at := from; at < to; at++ {
			c := page(host, addr(fmt.Sprintf("198.51.%d.10", 100+int(at)%8)), 443, 500, 5000)
			c.OrigMAC = mac
			s.conn(at+0.5, c)
		}
		s.until(to)
	}
	own := func(s *script, from, to float64) { uses(s, from, to, owner, hardware(owner)) }
	const from = 1000
	checkRules(t, []rule{
		{"one claim, and the owner goes on", func(s *script) {
			s.learned()
			own(s, from, from+60)
			s.hear(from+20.1, arpReply, thief, owner, owner)
		}, "arp_spoofing"},
		{"the thief has an address of its own", func(s *script) {
			s.learned()
			s.conn(from, page(attacker, outside, 443, 500, 5000))
			own(s, from, from+60)
			s.hear(from+20.1, arpReply, thief, owner, owner)
		}, "arp_spoofing"},
		{"a request claims as well", func(s *script) {
			s.learned()
			own(s, from, from+60)
			s.hear(from+20.1, arpRequest, thief, owner, addr("10.0.0.1"))
		}, "arp_spoofing"},
		{"the owner claims what is his", func(s *script) {
			s.learned()
			own(s, from, from+60)
			s.hear(from+20.1, arpReply, hardware(owner), owner, owner)
		}, ""},
		{"another machine takes over", func(s *script) {
			s.learned()
			own(s, from, from+20)
			s.hear(from+20.1, arpReply, thief, owner, owner)
			uses(s, from+21, from+120, owner, thief)
		}, ""},
		{"another machine takes over, and the owner comes back half a minute later", func(s *script) {
			s.learned()
			own(s, from, from+20)
			s.hear(from+20.1, arpReply, thief, owner, owner)
			own(s, from+20+contestSeconds+2, from+120)
		}, ""},
		{"the owner has been silent for a minute before", func(s *script) {
			s.learned()
			own(s, from, from+20)
			s.hear(from+21+ownerSeconds, arpReply, thief, owner, owner)
			own(s, from+23+ownerSeconds, from+200)
		}, ""},
		{"somebody looks whether the address is taken", func(s *script) {
			s.learned()
			own(s, from, from+60)
			for i := range 3 {
				s.hear(from+20+float64(i), arpRequest, thief, addr("0.0.0.0"), owner)
			}
		}, ""},
		{"the virtual router of a pair", func(s *script) {
			s.learned()
			own(s, from, from+60)
			s.hear(from+20.1, arpReply, models.MAC{0, 0, 0x5e, 0, 1, 7}, owner, owner)
		}, ""},
		{"from a virtual router to a machine's own", func(s *script) {
			s.learned()
			uses(s, from, from+60, owner, models.MAC{0, 0, 0x5e, 0, 1, 7})
			s.hear(from+20.1, arpReply, hardware(owner), owner, owner)
		}, ""},
		{"two go on claiming an address that nobody is seen to use", func(s *script) {
			s.learned()
			for i := range claimsToTell {
				s.hear(from+float64(i), arpReply, thief, owner, owner)
				s.hear(from+float64(i)+0.5, arpReply, hardware(owner), owner, owner)
			}
		}, "arp_spoofing"},
		{"one of them claims it once less", func(s *script) {
			s.learned()
			for i := range claimsToTell {
				if i > 0 {
					s.hear(from+float64(i), arpReply, thief, owner, owner)
				}
				s.hear(from+float64(i)+0.5, arpReply, hardware(owner), owner, owner)
			}
		}, ""},
		{"the thief is by far the more insistent", func(s *script) {
			s.learned().conn(from, page(attacker, outside, 443, 500, 5000))
			for i := range 15 {
				s.hear(from+float64(i), arpReply, thief, owner, owner)
				if i%5 == 0 {
					s.hear(from+float64(i)+0.5, arpReply, hardware(owner), owner, owner)
				}
			}
		}, "arp_spoofing"},
		{"the owner is by far the more insistent", func(s *script) {
			s.learned().conn(from, page(attacker, outside, 443, 500, 5000))
			for i := range 15 {
				s.hear(from+float64(i), arpReply, hardware(owner), owner, owner)
				if i%5 == 0 {
					s.hear(from+float64(i)+0.5, arpReply, thief, owner, owner)
				}
			}
		}, "arp_spoofing"},
		{"the router's address, by one who has no other", func(s *script) {
			s.learned()
			router := hardware(outside)
			for i := range 15 {
				s.hear(from+float64(i), arpReply, thief, addr("10.0.0.254"), owner)
				if i%5 == 0 {
					s.hear(from+float64(i)+0.5, arpReply, router, addr("10.0.0.254"), owner)
				}
			}
		}, "arp_spoofing"},
		{"between a host and its router", func(s *script) {
			s.learned()
			s.conn(from, page(attacker, outside, 443, 500, 5000))
			router := addr("10.0.0.1")
			own(s, from, from+120)
			uses(s, from, from+120, router, hardware(router))
			for i := range 60 {
				s.hear(from+20+float64(i), arpReply, thief, owner, router)
				s.hear(from+20.1+float64(i), arpReply, thief, router, owner)
			}
		}, "arp_spoofing"},
		{"a whole network", func(s *script) {
			s.learned()
			s.conn(from, page(attacker, outside, 443, 500, 5000))
			for i := range 30 {
				uses(s, from, from+60, hostN(100+i), hardware(hostN(100+i)))
				s.hear(from+20+float64(i)/2, arpReply, thief, hostN(100+i), owner)
			}
		}, "arp_spoofing"},
	})
}

func TestARPSweeps(t *testing.T) {
	scanner := addr("10.0.0.66")
	asks := func(s *script, from, seconds float64, n int, mac models.MAC, from4 models.Addr, answered bool) {
		for i := range n {
			at := from + seconds*float64(i)/float64(n)
			s.hear(at, arpRequest, mac, from4, hostN(200+i))
			if answered {
				s.hear(at+0.01, arpReply, hardware(hostN(200+i)), hostN(200+i), from4)
			}
		}
		s.until(from + seconds + 60)
	}
	const from = 1000
	checkRules(t, []rule{
		{"nobody has these addresses", func(s *script) { asks(s.learned(), from, 50, probedByARP, hardware(scanner), scanner, false) }, "host_sweep"},
		{"an address less", func(s *script) { asks(s.learned(), from, 50, probedByARP-1, hardware(scanner), scanner, false) }, ""},
		{"everybody answers", func(s *script) { asks(s.learned(), from, 50, 250, hardware(scanner), scanner, true) }, ""},
		{"so slowly that it is ordinary", func(s *script) { asks(s.learned(), from, 600, 300, hardware(scanner), scanner, false) }, ""},
		{"the same addresses again and again", func(s *script) {
			s.learned()
			for i := range 1000 {
				s.hear(from+float64(i)/10, arpRequest, hardware(scanner), scanner, hostN(200+i%20))
			}
		}, ""},
		{"a router asks for whatever others send to", func(s *script) {
			asks(s.learned(), from, 50, 250, hardware(addr("198.51.100.1")), addr("10.0.0.254"), false)
		}, ""},
		{"a quarter of the packets is lost", func(s *script) {
			s.losses = []loss{{from - 2, from + 100, 0.25}}
			asks(s.learned(), from, 50, 250, hardware(scanner), scanner, false)
		}, ""},
		{"a packet in a hundred is lost", func(s *script) {
			s.losses = []loss{{from - 2, from + 100, 0.01}}
			asks(s.learned(), from, 50, probedByARP, hardware(scanner), scanner, false)
		}, "host_sweep"},
		{"somebody announces himself", func(s *script) {
			s.learned()
			for i := range 250 {
				s.hear(from+float64(i)/10, arpRequest, hardware(hostN(200+i)), hostN(200+i), hostN(200+i))
			}
		}, ""},
		{"a network of two hundred wakes up", func(s *script) {
			s.learned()
			for i := range 200 {
				for k := range 10 {
					s.hear(from+float64(i*10+k)/100, arpRequest, hardware(hostN(200+i)), hostN(200+i), addr(fmt.Sprintf("10.0.0.%d", 100+k)))
				}
			}
		}, ""},
	})
}
