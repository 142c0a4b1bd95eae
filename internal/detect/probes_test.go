package detect

import (
	"fmt"
	"testing"

	"netlyra/internal/models"
)

func TestProbes(t *testing.T) {
	source, victim, outside := addr("10.0.0.66"), addr("10.0.0.77"), addr("203.0.113.9")
	const from = 1000
	// probes has one try something again and again, over so many seconds.
	probes := func(s *script, seconds float64, n int, try func(at float64, i int)) {
		for i := range n {
			try(from+seconds*float64(i)/float64(n), i)
		}
		s.until(from + seconds + 100)
	}
	// while the tests' sources probe, others are at work outside, so that the way there is known to be open.
	learned := func(s *script) *script {
		s.work(afterwards, from+4000)
		return s.learned()
	}
	ports := func(n int, seconds float64, proto models.Proto) func(*script) {
		return func(s *script) {
			learned(s)
			probes(s, seconds, n, func(at float64, i int) { s.silent(at, proto, source, victim, uint16(100+i)) })
		}
	}
	hosts := func(n int, seconds float64, proto models.Proto, port uint16) func(*script) {
		return func(s *script) {
			learned(s)
			probes(s, seconds, n, func(at float64, i int) { s.silent(at, proto, source, hostN(200+i), port) })
		}
	}
	checkRules(t, []rule{
		{"ports of one host, slowly", ports(probedPorts, 3000, models.ProtoTCP), "port_scan"},
		{"ports of one host, one less", ports(probedPorts-1, 3000, models.ProtoTCP), ""},
		{"ports of one host, more slowly than one can see", ports(probedPorts, 4200, models.ProtoTCP), ""},
		{"ports of one host over UDP", ports(probedPorts, 60, models.ProtoUDP), "port_scan"},
		{"ports that refuse", func(s *script) {
			learned(s)
			probes(s, 60, probedPorts, func(at float64, i int) { s.conn(at, refused(source, victim, uint16(100+i))) })
		}, "port_scan"},
		{"ports that refuse, one less", func(s *script) {
			learned(s)
			probes(s, 60, probedPorts-1, func(at float64, i int) { s.conn(at, refused(source, victim, uint16(100+i))) })
		}, ""},
		{"the same ports again and again", func(s *script) {
			learned(s)
			probes(s, 600, 600, func(at float64, i int) { s.conn(at, refused(source, victim, uint16(100+i%(probedPorts-1)))) })
		}, ""},
		{"ports of one host outside", func(s *script) {
			learned(s)
			probes(s, 600, probedPorts, func(at float64, i int) { s.silent(at, models.ProtoTCP, source, outside, uint16(100+i)) })
		}, "port_scan"},
		{"ports by one outside", func(s *script) {
			learned(s)
			probes(s, 600, probedPorts, func(at float64, i int) { s.silent(at, models.ProtoTCP, outside, victim, uint16(100+i)) })
		}, "port_scan"},
		{"one port of many hosts, slowly", hosts(probedHosts, 3000, models.ProtoTCP, 22), "host_sweep"},
		{"one port of many hosts, one less", hosts(probedHosts-1, 3000, models.ProtoTCP, 22), ""},
		{"echoes to many hosts", hosts(probedHosts, 60, models.ProtoICMP, 0), "host_sweep"},
		{"echoes to many hosts, one less", hosts(probedHosts-1, 60, models.ProtoICMP, 0), ""},
		{"most of the hosts answer", func(s *script) {
			learned(s)
			probes(s, 600, 4*probedHosts, func(at float64, i int) {
				if i%4 == 0 {
					s.silent(at, models.ProtoTCP, source, hostN(200+i), 22)
				} else {
					s.conn(at, page(source, hostN(200+i), 22, uint64(500+100*i), uint64(500+300*i)))
				}
			})
		}, ""},
		{"a quarter of the hosts answers", func(s *script) {
			learned(s)
			probes(s, 600, 2*probedHosts, func(at float64, i int) {
				if i%4 > 0 {
					s.silent(at, models.ProtoTCP, source, hostN(200+i), 22)
				} else {
					s.conn(at, page(source, hostN(200+i), 22, 5000, 5000))
				}
			})
		}, "host_sweep"},
		{"hosts outside that many were at", func(s *script) {
			learned(s)
			probes(s, 600, 6*probedHosts, func(at float64, i int) {
				if i%6 == 0 {
					s.silent(at, models.ProtoTCP, source, addr(fmt.Sprintf("203.0.%d.9", i)), 6881)
				} else {
					s.conn(at, page(source, addr(fmt.Sprintf("203.0.%d.9", i)), 6881, uint64(500+100*i), uint64(500+300*i)))
				}
			})
		}, ""},
		{"a few ports of many hosts", func(s *script) {
			learned(s)
			probes(s, 600, probedHere, func(at float64, i int) {
				s.silent(at, models.ProtoTCP, source, hostN(200+i/2), []uint16{139, 445}[i%2])
			})
		}, "host_sweep"},
		{"a few ports of many hosts, one less", func(s *script) {
			learned(s)
			probes(s, 600, probedHere-1, func(at float64, i int) {
				s.silent(at, models.ProtoTCP, source, hostN(200+i/2), []uint16{139, 445}[i%2])
			})
		}, ""},
		{"an hour of a few ports of many hosts", func(s *script) {
			learned(s)
			probes(s, 3000, 100, func(at float64, i int) {
				s.silent(at, models.ProtoTCP, source, hostN(200+i/5), []uint16{22, 80, 139, 443, 445}[i%5])
			})
		}, "host_sweep"},
		{"errors over ICMP", func(s *script) {
			learned(s)
			probes(s, 60, 200, func(at float64, i int) {
				c := models.ConnSlot{Orig: source, Resp: hostN(200 + i), Proto: models.ProtoICMP, ICMPType: 3, ICMPCode: 3, New: true, Up: models.SlotDir{Packets: 1, Bytes: 90}}
				s.conn(at, c)
				s.failed(at+60, c, micros(at))
			})
		}, ""},
		{"answers over UDP that come too late", func(s *script) {
			learned(s)
			probes(s, 60, 200, func(at float64, i int) {
				c := models.ConnSlot{Orig: source, Resp: victim, OrigPort: 53, RespPort: uint16(20_000 + i), Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: 90}}
				s.conn(at, c)
				s.failed(at+60, c, micros(at))
			})
		}, ""},
		{"somebody looks for the way", func(s *script) {
			learned(s)
			probes(s, 60, 90, func(at float64, i int) { s.silent(at, models.ProtoUDP, source, outside, uint16(33_434+i)) })
		}, ""},
		{"discovery by multicast", func(s *script) {
			learned(s)
			probes(s, 60, 90, func(at float64, i int) {
				s.silent(at, models.ProtoUDP, source, addr(fmt.Sprintf("239.1.1.%d", 1+i)), 1900)
			})
		}, ""},
		{"the answers of an initiator that is seen from the middle on", func(s *script) {
			learned(s)
			probes(s, 60, 200, func(at float64, i int) {
				c := refused(source, hostN(200+i), 22)
				c.Backward = true
				s.conn(at, c)
			})
		}, ""},
		{"the way outside is down", func(s *script) {
			s.learned() // and from then on nobody gets through
			for i := range 1000 {
				s.silent(from+quietSeconds+float64(i)/2, models.ProtoTCP, addr(fmt.Sprintf("10.0.0.%d", 1+i%4)), addr(fmt.Sprintf("203.%d.%d.9", i/250, i%250)), 443)
			}
		}, ""},
		{"the way outside is down, and inside somebody scans", func(s *script) {
			s.learned()
			for i := range probedHosts {
				s.silent(from+quietSeconds+float64(i)/2, models.ProtoTCP, source, hostN(200+i), 22)
			}
		}, "host_sweep"},
		{"a tenth of the packets is lost", func(s *script) {
			s.losses = []loss{{from - 2, from + 2000, 0.1}}
			learned(s)
			probes(s, 600, 200, func(at float64, i int) { s.silent(at, models.ProtoTCP, source, hostN(200+i), 22) })
		}, ""},
		{"a packet in a hundred is lost", func(s *script) {
			s.losses = []loss{{from - 2, from + 2000, 0.01}}
			hosts(probedHosts, 600, models.ProtoTCP, 22)(s)
		}, "host_sweep"},
		{"connections to a host that is being flooded", func(s *script) {
			learned(s)
			for i := range 3000 {
				s.conn(from+float64(i)/100, attemptAt(models.Addr{Lo: 0xffff<<32 | uint64(0x0b000000+i)}, victim, 80, false))
			}
			probes(s, 60, 2*probedPorts, func(at float64, i int) { s.conn(at+10, refused(source, victim, uint16(100+i))) })
		}, "flood"},
		{"the scan goes on for an hour", func(s *script) {
			learned(s)
			probes(s, 3000, 300, func(at float64, i int) { s.conn(at, refused(source, victim, uint16(100+i))) })
		}, "port_scan"},
	})
}
