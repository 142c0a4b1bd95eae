package detect

import (
	"fmt"
	"testing"

	"netlyra/internal/models"
)

// spoofed is the n-th of very many addresses.
func spoofed(n int) models.Addr { return models.Addr{Lo: 0xffff<<32 | uint64(0x0b000000+n)} }

func TestScansAndSweeps(t *testing.T) {
	source, victim := addr("10.0.0.66"), addr("10.0.0.77")
	l := DefaultLimits()
	const from = 1000 // a half of the window begins
	tries := func(n int, seconds float64, make func(i int) models.ConnSlot) func(*script) {
		return func(s *script) {
			s.learned()
			for i := range n {
				s.conn(from+seconds*float64(i)/float64(n), make(i))
			}
			s.until(from + seconds + 120)
		}
	}
	checkRules(t, []rule{
		{"ports of one host", tries(l.ScanPorts, 9, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), false) }), "port_scan"},
		{"ports of one host, one less", tries(l.ScanPorts-1, 9, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), false) }), ""},
		{"ports of one host, of which half answer", tries(10*l.ScanPorts, 9, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), i%2 == 0) }), "port_scan"},
		{"ports of one host, of which more than half answer", tries(10*l.ScanPorts, 9, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), i%5 < 3) }), ""},
		{"ports of one host in a minute", tries(l.ScanPorts, 60, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), false) }), ""},
		{"hosts", tries(l.SweepHosts, 9, func(i int) models.ConnSlot { return attemptAt(source, hostN(200+i), 22, false) }), "host_sweep"},
		{"hosts, one less", tries(l.SweepHosts-1, 9, func(i int) models.ConnSlot { return attemptAt(source, hostN(200+i), 22, false) }), ""},
		{"ports of several hosts", tries(12*l.ScanPorts, 9, func(i int) models.ConnSlot { return attemptAt(source, hostN(200+i%12), uint16(1+i/12), false) }), "port_scan"},
		{"peers, each on a port of its own", tries(l.SweepHosts-10, 9, func(i int) models.ConnSlot { return attemptAt(source, spoofed(i), uint16(20_000+i), false) }), ""},
		{"a scan of a flooded host by the flooder", func(s *script) {
			s.learned()
			for i := range 4000 {
				s.conn(from+float64(i)/400, attemptAt(source, victim, 80, false))
			}
			for i := range 200 {
				s.conn(from+5+float64(i)/100, attemptAt(source, victim, uint16(1+i), false))
			}
		}, "flood"},
		{"echo requests to hosts", tries(l.SweepHosts, 9, func(i int) models.ConnSlot {
			return models.ConnSlot{Orig: source, Resp: hostN(200 + i), Proto: models.ProtoICMP, ICMPType: 8, New: true, Up: models.SlotDir{Packets: 1, Bytes: 98}}
		}), "host_sweep"},
		{"errors over ICMP to hosts", tries(10*l.SweepHosts, 9, func(i int) models.ConnSlot {
			return models.ConnSlot{Orig: source, Resp: hostN(200 + i), Proto: models.ProtoICMP, ICMPType: 3, New: true, Up: models.SlotDir{Packets: 1, Bytes: 98}}
		}), ""},
		{"half of the answers are lost", func(s *script) {
			s.losses = []loss{{from - 2, from + 20, 0.1}}
			tries(10*l.ScanPorts, 9, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), i%5 == 0) })(s)
		}, ""},
		{"packets are lost, and hardly any of the ports answers", func(s *script) {
			s.losses = []loss{{from - 2, from + 20, 0.1}}
			tries(10*l.ScanPorts, 9, func(i int) models.ConnSlot { return attemptAt(source, victim, uint16(1+i), i%20 == 0) })(s)
		}, "port_scan"},
	})
}

func TestFloods(t *testing.T) {
	source, victim, server := addr("203.0.113.66"), addr("10.0.0.77"), addr("10.0.0.78")
	l := DefaultLimits()
	const from = 1000 // a half of the window begins
	comes := func(n int, seconds float64, make func(i int) models.ConnSlot) func(*script) {
		return func(s *script) {
			s.learned()
			for i := range n {
				s.conn(from+seconds*float64(i)/float64(n), make(i))
			}
			s.until(from + seconds + 120)
		}
	}
	// datagram is one that no answer comes to.
	datagram := func(from models.Addr, srcPort, port uint16, size uint64) models.ConnSlot {
		return models.ConnSlot{Orig: from, Resp: victim, OrigPort: srcPort, RespPort: port, Proto: models.ProtoUDP, New: true, Up: models.SlotDir{Packets: 1, Bytes: size, Payload: size - 42, EntropyN: 1, EntropySum: 50_000}}
	}
	// stream is a second of packets on one connection.
	stream := func(proto models.Proto, up, down uint32) func(int) models.ConnSlot {
		return func(i int) models.ConnSlot {
			c := models.ConnSlot{Orig: source, Resp: victim, OrigPort: 5004, RespPort: 5004, Proto: proto, New: i == 0, Answered: down > 0, Up: models.SlotDir{Packets: up / 25, Bytes: 500 * uint64(up/25)}, Down: models.SlotDir{Packets: down / 25, Bytes: 60 * uint64(down/25)}}
			if proto == models.ProtoICMP {
				c.ICMPType, c.OrigPort, c.RespPort = 8, 0, 0
			}
			return c
		}
	}
	// rush has clients come to a server in ordinary numbers while everything is usual, and in others later.
	rush := func(usual, later float64) func(*script) {
		return func(s *script) {
			s.work(0, from)
			for at := 10.0; at < learnSeconds-20; at += 1 / usual {
				s.conn(at, page(hostN(300+int(at*977)%40), server, 443, uint64(300+int(at*977)%3000), uint64(500+int(at*7919)%50_000)))
			}
			for at := from + 0.0; at < from+60; at += 1 / later {
				s.conn(at, page(hostN(300+int(at*977)%40), server, 443, uint64(300+int(at*977)%3000), uint64(500+int(at*7919)%50_000)))
			}
			s.until(from + 200)
		}
	}
	checkRules(t, []rule{
		{"connections from everywhere that do not get through", comes(l.FloodHalfOpen, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, false) }), "flood"},
		{"connections from everywhere, one less", comes(l.FloodHalfOpen-1, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, false) }), ""},
		{"connections to more ports than a flood has", comes(l.FloodHalfOpen, 9, func(i int) models.ConnSlot {
			return attemptAt(spoofed(i), victim, uint16(1+i%(l.FloodPorts+1)), false)
		}), ""},
		{"connections to all ports from everywhere", comes(l.FloodSources+20, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, uint16(1+i), false) }), "flood"},
		{"half of the connections get through", comes(2*l.FloodHalfOpen, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, i%2 == 0) }), "flood"},
		{"six in ten get through", comes(2*l.FloodHalfOpen-120, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, i%5 < 3) }), ""},
		{"packets that are not answered", comes(50, 2, stream(models.ProtoUDP, l.FloodPackets+25, 0)), "flood"},
		{"packets that are not answered, fewer", comes(50, 2, stream(models.ProtoUDP, l.FloodPackets-25, 0)), ""},
		{"packets of which one in forty is answered", comes(250, 10, stream(models.ProtoUDP, 4*l.FloodPackets, 4*l.FloodPackets/40)), ""},
		{"packets to a group", comes(250, 10, func(i int) models.ConnSlot {
			c := stream(models.ProtoUDP, 4*l.FloodPackets, 0)(i)
			c.Resp = addr("239.1.1.1")
			return c
		}), ""},
		{"datagrams of connections of their own", comes(int(l.FloodDatagrams)+20, 0.9, func(i int) models.ConnSlot { return datagram(source, uint16(1024+i), uint16(7000+i%9), 500) }), "flood"},
		{"datagrams of connections of their own, fewer", comes(int(l.FloodDatagrams)-1, 0.9, func(i int) models.ConnSlot { return datagram(source, uint16(1024+i), uint16(7000+i%9), 500) }), ""},
		{"small datagrams of connections of their own", comes(int(l.FloodDatagrams)+20, 0.9, func(i int) models.ConnSlot { return datagram(source, uint16(1024+i), uint16(7000+i%9), 90) }), ""},
		{"echo requests", comes(50, 2, stream(models.ProtoICMP, l.FloodICMP+25, l.FloodICMP+25)), "flood"},
		{"echo requests, fewer", comes(50, 2, stream(models.ProtoICMP, l.FloodICMP-25, l.FloodICMP-25)), ""},
		{"eight times as many clients as usual", rush(4, 33), "flood"},
		{"seven times as many clients as usual", rush(4, 26), ""},
		{"a few clients, and nobody came before", rush(0.02, float64(l.FloodOpened)/20-1), ""},
		{"some clients, and nobody came before", rush(0.02, float64(l.FloodOpened)/20+2), "flood"},
		{"a flood in the first minute", func(s *script) {
			s.work(0, 100)
			for i := range l.FloodOpened*coldFactor + 100 {
				s.conn(60+float64(i)/400, page(spoofed(i%50), server, 443, uint64(300+i%3000), uint64(500+7*i%50_000)))
			}
			s.until(200)
		}, "flood"},
		{"a rush in the first minute", func(s *script) {
			s.work(0, 100)
			for i := range l.FloodOpened*coldFactor - 100 {
				s.conn(60+float64(i)/400, page(spoofed(i%50), server, 443, uint64(300+i%3000), uint64(500+7*i%50_000)))
			}
			s.until(200)
		}, ""},
		{"a slow ramp", func(s *script) { // from 1 to 15 a second within two hours
			s.learned()
			at, i := 60.0, 0
			for at < from+7200 {
				rate := 1.0
				if at > from {
					rate += 14 * (at - from) / 7200
				}
				s.conn(at, page(hostN(300+i%40), server, 443, uint64(300+i*997%3000), uint64(500+i*7919%50_000)))
				at += 1 / rate
				i++
			}
		}, "flood"},
		{"two at the same time", func(s *script) {
			s.learned()
			for i := range 2000 {
				s.conn(from+float64(i)/200, attemptAt(spoofed(i), victim, 80, false))
				s.conn(from+float64(i)/200, attemptAt(spoofed(i), server, 25, false))
			}
		}, "flood flood"},
		{"one in five gets through", comes(l.FloodOpened-5, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, i%5 == 0) }), "flood"},
		{"packets are lost, and one in five gets through", func(s *script) {
			s.losses = []loss{{from - 2, from + 20, 0.3}}
			comes(l.FloodOpened-5, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, i%5 == 0) })(s)
		}, ""},
		{"packets are lost, and one in twenty gets through", func(s *script) {
			s.losses = []loss{{from - 2, from + 20, 0.3}}
			comes(l.FloodOpened-5, 9, func(i int) models.ConnSlot { return attemptAt(spoofed(i), victim, 80, i%20 == 0) })(s)
		}, "flood"},
		{"a burst like one while everything was usual", func(s *script) {
			s.learned()
			for _, at := range []float64{300, from} {
				for i := range 2 * l.FloodOpened {
					s.conn(at+float64(i)/50, page(hostN(300+i%40), server, 443, uint64(300+i*997%3000), uint64(500+i*7919%50_000)))
				}
			}
			s.until(from + 120)
		}, ""},
	})
}

func TestAnswersThatNobodyAskedFor(t *testing.T) {
	victim := addr("10.0.0.77")
	l := DefaultLimits()
	const from, size = 1000, 1400 // a half of the window begins
	reflector := func(i int) models.Addr { return addr(fmt.Sprintf("203.0.%d.9", i%20)) }
	answers := func(n int, seconds float64, make func(i int) models.ConnSlot) func(*script) {
		return func(s *script) {
			s.learned()
			for i := range n {
				s.conn(from+seconds*float64(i)/float64(n), make(i))
			}
			s.until(from + seconds + 120)
		}
	}
	datagram := func(i int, srcPort, port uint16) models.ConnSlot {
		return models.ConnSlot{Orig: reflector(i), Resp: victim, OrigPort: srcPort, RespPort: port, Proto: models.ProtoUDP, New: i < 20, Up: models.SlotDir{Packets: 1, Bytes: size}}
	}
	fragment := func(i int) models.ConnSlot { return datagram(i, 0, 0) }
	enough := int(l.UnsolicitedBytes+size-1) / size
	// asks has the victim turn to a reflector.
	asks := func(s *script, at float64, i int) { s.conn(at, datagrams(victim, reflector(i), 53, 60, 1400)) }
	checkRules(t, []rule{
		{"from a service", answers(enough, 9, func(i int) models.ConnSlot { return datagram(i, 123, 9999) }), "amplification"},
		{"from a service, one less", answers(enough-1, 9, func(i int) models.ConnSlot { return datagram(i, 123, 9999) }), ""},
		{"from a service to a service", answers(3*enough, 9, func(i int) models.ConnSlot { return datagram(i, 123, 123) }), ""},
		{"from no service", answers(3*enough, 9, func(i int) models.ConnSlot { return datagram(i, 40_000, 9999) }), ""},
		{"they were asked for", answers(3*enough, 9, func(i int) models.ConnSlot {
			c := datagram(i, 123, 9999)
			c.Answered = true
			return c
		}), ""},
		{"spread over minutes", answers(2*enough, 120, func(i int) models.ConnSlot { return datagram(i, 123, 9999) }), ""},
		{"fragments", answers(enough, 9, fragment), "amplification"},
		{"fragments, one less", answers(enough-1, 9, fragment), ""},
		{"fragments of answers that were asked for", func(s *script) {
			for i := range 20 {
				asks(s, from-1+float64(i)/50, i)
			}
			answers(3*enough, 9, fragment)(s)
		}, ""},
		{"fragments of answers that are asked for in the same slot", func(s *script) {
			for i := range 3 * enough {
				asks(s, from+9*float64(i)/float64(3*enough), i)
			}
			answers(3*enough, 9, fragment)(s)
		}, ""},
		{"fragments of a stream to a group", answers(3*enough, 9, func(i int) models.ConnSlot {
			c := fragment(i)
			c.Resp = addr("239.1.1.1")
			return c
		}), ""},
		{"among ordinary traffic", func(s *script) {
			for i := range 90 {
				s.conn(from+float64(i)/6, page(hostN(300+i), victim, 443, 500, 5000))
				s.conn(from+float64(i)/6, attemptAt(spoofed(i), victim, 22, i%3 > 0))
			}
			answers(4*enough, 15, func(i int) models.ConnSlot { return datagram(i, 123, 9999) })(s)
		}, "amplification"},
	})
}
