package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"netlyra/internal/models"
)

// repeat has a connection made n times, at gaps that gap gives in seconds, and then a minute pass. It returns when the last was.
func (s *script) repeat(from float64, n int, gap func(i int) float64, make func(i int) models.ConnSlot) float64 {
	at := from
	for i := range n {
		if i > 0 {
			at += gap(i)
		}
		s.conn(at, make(i))
	}
	s.until(at + 61)
	return at
}

func every(seconds float64) func(int) float64 { return func(int) float64 { return seconds } }

func same(c models.ConnSlot) func(int) models.ConnSlot { return func(int) models.ConnSlot { return c } }

func TestBeacons(t *testing.T) {
	client, other, peer := addr("10.0.0.5"), addr("10.0.0.6"), addr("203.0.113.9")
	call := page(client, peer, 443, 400, 900)
	calls := func(n int, gap func(int) float64, c models.ConnSlot) func(*script) {
		return func(s *script) { s.learned().repeat(afterwards, n, gap, same(c)) }
	}
	jitter := func(share float64) func(int) float64 {
		rng := rand.New(rand.NewPCG(1, 1))
		return func(int) float64 { return 30 * (1 + share*(2*rng.Float64()-1)) }
	}
	exponential := func(seed uint64) func(int) float64 {
		rng := rand.New(rand.NewPCG(seed, 1))
		return func(int) float64 { return 30 * rng.ExpFloat64() }
	}
	rules := []rule{
		{"every 30 s", calls(tightGaps+1, every(30), call), "beacon"},
		{"a call less", calls(tightGaps, every(30), call), ""},
		{"every hour, for three days", calls(70, every(3600), call), "beacon"},
		{"one call in thirteen comes late", calls(tightGaps+1, func(i int) float64 { return []float64{30, 55}[i/tightGaps] }, call), "beacon"},
		{"two calls in thirteen come late", calls(tightGaps+1, func(i int) float64 { return []float64{30, 55}[i/(tightGaps-1)] }, call), ""},
		{"jitter of half the interval", calls(pairGaps+1, jitter(0.5), call), "beacon"},
		{"jitter of half the interval, a call less", calls(pairGaps, jitter(0.5), call), ""},
		{"calls of several connections each", func(s *script) {
			s.learned()
			for i := range 20 {
				s.conn(afterwards+30*float64(i), call)
				s.conn(afterwards+30*float64(i)+0.2, call)
				s.conn(afterwards+30*float64(i)+0.4, call)
			}
		}, "beacon"},
		{"another host calls the peer, too", func(s *script) {
			s.learned().conn(afterwards, page(other, peer, 443, 400, 900))
			s.repeat(afterwards+1, 40, every(30), same(call))
		}, ""},
		{"another host calls the peer's network", func(s *script) {
			s.learned().conn(afterwards, page(other, addr("203.0.113.77"), 993, 400, 900))
			s.repeat(afterwards+1, 40, every(30), same(call))
		}, ""},
		{"another host calls the peer from the third call on", func(s *script) {
			s.learned().conn(afterwards+70, page(other, peer, 443, 400, 900))
			s.repeat(afterwards+1, 40, every(30), same(call))
		}, ""},
		{"questions to a server of an odd port", calls(40, every(30), datagrams(client, peer, 4433, 200, 200)), "beacon"},
		{"an hour of NTP", calls(60, every(60), datagrams(client, peer, 123, 48, 48)), ""},
		{"an hour of DNS", calls(60, every(60), datagrams(client, peer, portDNS, 48, 48)), ""},
		{"a DHCP lease is renewed", calls(60, every(60), datagrams(client, peer, 67, 300, 300)), ""},
		{"a server of the inside", calls(60, every(30), page(client, addr("10.0.0.77"), 443, 400, 900)), ""},
		{"a client from outside", calls(60, every(30), page(peer, addr("10.0.0.77"), 443, 400, 900)), ""},
		{"calls of all sizes", func(s *script) {
			rng := rand.New(rand.NewPCG(1, 1))
			s.learned().repeat(afterwards, 60, every(30), func(int) models.ConnSlot {
				return page(client, peer, 443, uint64(100*math.Exp(3*rng.Float64())), 900)
			})
		}, ""},
		{"from the start, and a few more calls than are needed of others", func(s *script) { s.learned().repeat(100, oldGaps, every(30), same(call)) }, ""},
		{"from the start, and so often that it is told all the same", func(s *script) { s.learned().repeat(100, oldGaps+1, every(30), same(call)) }, "beacon"},
		{"two at the same time", func(s *script) {
			s.learned().repeat(afterwards, 30, every(30), same(call))
			s.repeat(afterwards+7, 40, every(20), same(page(client, addr("192.0.2.77"), 8080, 400, 900)))
		}, "beacon"},
		{"it goes on after a pause of three hours", func(s *script) {
			at := s.learned().repeat(afterwards, 20, every(30), same(call))
			s.repeat(at+3*3600, 20, every(30), same(call))
		}, "beacon beacon"},
	}
	for seed := range uint64(5) {
		rules = append(rules, rule{fmt.Sprintf("exponential gaps %d", seed), calls(1000, exponential(seed), call), ""})
	}
	checkRules(t, rules)
}

func TestGuessing(t *testing.T) {
	inside, client, outside := addr("10.0.0.77"), addr("10.0.0.5"), addr("203.0.113.9")
	try, abroad := page(client, inside, 22, 900, 1500), page(client, outside, 22, 900, 1500)
	const minute = 1020 // one begins
	within := func(n int, seconds float64, c models.ConnSlot) func(*script) {
		return func(s *script) { s.learned().repeat(minute, n, every(seconds/float64(n)), same(c)) }
	}
	// byHand is not at regular times: that would be a beacon.
	byHand := func(n int, c models.ConnSlot) func(*script) {
		rng := rand.New(rand.NewPCG(2, 2))
		return func(s *script) {
			s.learned().repeat(minute, n, func(int) float64 { return 0.6 * rng.ExpFloat64() }, same(c))
		}
	}
	sizes := func(up, down func(rng *rand.Rand) float64) func(*script) {
		rng := rand.New(rand.NewPCG(1, 1))
		return func(s *script) {
			s.learned().repeat(minute, 100, every(0.5), func(int) models.ConnSlot { return page(client, inside, 22, uint64(up(rng)), uint64(down(rng))) })
		}
	}
	fixed := func(v float64) func(*rand.Rand) float64 { return func(*rand.Rand) float64 { return v } }
	decades := func(least, n float64) func(*rand.Rand) float64 {
		return func(rng *rand.Rand) float64 { return least * math.Pow(10, n*rng.Float64()) }
	}
	checkRules(t, []rule{
		{"a server of the inside", within(tries, 50, try), "brute_force"},
		{"a try less", within(tries-1, 50, try), ""},
		{"over two minutes", within(2*tries, 230, try), "brute_force"},
		{"over three minutes", within(tries, 180, try), ""},
		{"from outside", within(tries, 50, page(outside, inside, 22, 900, 1500)), "brute_force"},
		{"a server outside", byHand(outsideFactor*tries, abroad), "brute_force"},
		{"a server outside, a try less", byHand(outsideFactor*tries-1, abroad), ""},
		{"a web server of the inside", within(webFactor*tries, 50, page(client, inside, 443, 900, 1500)), "brute_force"},
		{"a web server of the inside, a try less", within(webFactor*tries-1, 50, page(client, inside, 443, 900, 1500)), ""},
		{"a web server outside, a try less", byHand(webFactor*outsideFactor*tries-1, page(client, outside, 443, 900, 1500)), ""},
		{"by datagrams", within(datagramTries, 50, datagrams(client, inside, 88, 200, 300)), "brute_force"},
		{"by datagrams, a try less", within(datagramTries-1, 50, datagrams(client, inside, 88, 200, 300)), ""},
		{"datagrams to a server outside", byHand(5*datagramTries, datagrams(client, outside, 88, 200, 300)), ""},
		{"questions to the resolver", within(5*datagramTries, 50, datagrams(client, inside, portDNS, 40, 90)), ""},
		{"one to five tries a connection", sizes(fixed(900), func(rng *rand.Rand) float64 { return 1000 + 120*float64(1+rng.IntN(5)) }), "brute_force"},
		{"answers of all sizes", sizes(fixed(900), decades(100, 2.5)), ""},
		{"requests of all sizes", sizes(decades(40, 2.5), fixed(1500)), ""},
		{"downloads", within(100, 50, page(client, inside, 22, 900, shortDown+1)), ""},
		{"uploads", within(100, 50, page(client, inside, 22, shortUp+1, 1500)), ""},
		{"nothing comes back", within(100, 50, page(client, inside, 22, 900, 0)), ""},
		{"long connections", func(s *script) {
			s.learned().repeat(minute+120, 100, every(0.5), func(i int) models.ConnSlot {
				c := try
				c.New, c.Completed, c.Through = false, false, true
				c.Start = micros(minute+120+0.5*float64(i)) - shortMicros - 1
				c.Before = c.Start
				return c
			})
		}, ""},
		{"in the time of learning", func(s *script) { s.work(0, 400); s.repeat(420, outsideFactor*tries, every(0.5), same(try)) }, "brute_force"},
		{"in the time of learning, a try less", func(s *script) { s.work(0, 400); s.repeat(420, outsideFactor*tries-1, every(0.5), same(try)) }, ""},
		{"in the time of learning, and later again", func(s *script) {
			s.learned().repeat(420, 4*outsideFactor*tries, every(0.2), same(try))
			s.repeat(2*3600, 4*outsideFactor*tries, every(0.2), same(try))
		}, "brute_force brute_force"},
		{"it has always been so, and goes half as fast again", func(s *script) {
			s.learned().repeat(60, 15*15, every(4), same(try)) // 30 in two minutes
			s.repeat(1140, 44, every(1.2), same(try))
		}, ""},
		{"it has always been so, and goes faster than that", func(s *script) {
			s.learned().repeat(60, 15*15, every(4), same(try))
			s.repeat(1140, 90, every(0.6), same(try))
		}, "brute_force"},
		{"one who comes later may not do what another has always done", func(s *script) {
			s.learned().repeat(60, 15*15, every(4), same(page(addr("10.0.0.6"), inside, 22, 900, 1500)))
			s.repeat(1140, 30, every(1), same(try))
		}, "brute_force"},
		{"ten guess at one service", func(s *script) {
			s.learned().repeat(minute, 400, every(0.125), func(i int) models.ConnSlot {
				return page(addr(fmt.Sprintf("203.0.%d.9", 1+i%10)), inside, 22, 900, 1500)
			})
		}, "brute_force"},
		{"the second of two is the busier one", func(s *script) {
			s.learned().repeat(minute, tries+1, every(1), same(page(outside, inside, 22, 900, 1500)))
			s.repeat(minute+25, 60, every(0.2), same(page(addr("192.0.2.9"), inside, 22, 900, 1500)))
		}, "brute_force"},
		{"two services of two hosts, one for long and one fast", func(s *script) {
			s.learned().repeat(minute, 10*tries, every(2), same(page(outside, inside, 22, 900, 1500)))
			s.repeat(minute+420, 60, every(0.2), same(page(outside, addr("10.0.0.78"), 3389, 900, 1500)))
		}, "brute_force"},
		{"many clients of one service, each but a few times", func(s *script) {
			s.learned().repeat(minute, 1000, every(0.2), func(i int) models.ConnSlot { return page(hostN(300+i%100), inside, 22, 900, 1500) })
		}, ""},
	})
}

func TestUploads(t *testing.T) {
	client, other, peer, mirror := addr("10.0.0.5"), addr("10.0.0.6"), addr("203.0.113.9"), addr("192.0.2.44")
	const from, step = afterwards, uploadStep
	// sends uploads n steps to a server, one in so many seconds.
	sends := func(s *script, from float64, n int, seconds float64, server models.Addr, port uint16, down uint64) {
		s.session(from, from+float64(n-1)*seconds, seconds, models.ConnSlot{Orig: client, Resp: server, RespPort: port, Hello: port == 443}, step, down)
		s.until(from + float64(n)*seconds)
	}
	const enough = (uploadUsual + step - 1) / step
	const oddly = (uploadOdd + step - 1) / step
	checkRules(t, []rule{
		{"to a new peer", func(s *script) { sends(s.learned(), from, enough, 2, peer, 443, 1000) }, "exfiltration"},
		{"a step less", func(s *script) { sends(s.learned(), from, enough-1, 2, peer, 443, 1000) }, ""},
		{"over a port that nobody else uses", func(s *script) { sends(s.learned(), from, oddly, 2, peer, 21, 1000) }, "exfiltration"},
		{"over a port that nobody else uses, a step less", func(s *script) { sends(s.learned(), from, oddly-1, 2, peer, 21, 1000) }, ""},
		{"in nineteen minutes", func(s *script) { sends(s.learned(), 1201, enough, 1140/enough, peer, 443, 1000) }, "exfiltration"},
		{"in an hour", func(s *script) { sends(s.learned(), 1201, enough, 3600/enough, peer, 443, 1000) }, ""},
		{"in files", func(s *script) {
			s.learned().repeat(from, 20, func(i int) float64 { return float64(2 + 7*(i%3)) }, same(page(client, peer, 443, step+step/2, 1000)))
		}, "exfiltration"},
		{"in files, each smaller than a step", func(s *script) {
			s.learned().repeat(from, 100, func(i int) float64 { return float64(2 + 7*(i%3)) }, same(page(client, peer, 443, step/2, 1000)))
		}, "exfiltration"},
		{"to a peer that was there from the start", func(s *script) {
			s.learned().conn(100, page(client, peer, 443, 1000, 1000))
			sends(s, from, 500, 1, peer, 443, 1000)
		}, ""},
		{"to a peer that another host knows", func(s *script) {
			s.learned().conn(100, page(other, peer, 443, 1000, 1000))
			sends(s, from, 500, 1, peer, 443, 1000)
		}, ""},
		{"as much comes back", func(s *script) { sends(s.learned(), from, 500, 1, peer, 443, step/4) }, ""},
		{"within the network", func(s *script) { sends(s.learned(), from, 500, 1, addr("10.0.0.77"), 443, 1000) }, ""},
		{"three times what the host usually uploads", func(s *script) {
			s.learned()
			sends(s, 100, 50, 2, mirror, 443, 1000)
			sends(s, from, 3*50, 2, peer, 443, 1000)
		}, ""},
		{"five times what the host usually uploads", func(s *script) {
			s.learned()
			sends(s, 100, 50, 2, mirror, 443, 1000)
			sends(s, 1201, 5*50, 2, peer, 443, 1000)
		}, "exfiltration"},
		{"as much again, hours later", func(s *script) {
			sends(s.learned(), from, 2*enough, 2, peer, 443, 1000)
			sends(s, 2*3600, 3*enough, 2, peer, 443, 1000)
		}, "exfiltration"},
		{"four times as much, hours later", func(s *script) {
			sends(s.learned(), from, 2*enough, 2, peer, 443, 1000)
			sends(s, 2*3600, 4*enough, 2, peer, 443, 1000)
		}, "exfiltration exfiltration"},
		{"to a peer that has been here for more than three days", func(s *script) {
			s.learned().conn(from, page(client, peer, 443, 1000, 1000))
			sends(s, from+73*3600, 100, 2, peer, 443, 1000)
		}, ""},
		{"from outside", func(s *script) {
			s.learned().session(from, from+200, 1, models.ConnSlot{Orig: peer, Resp: addr("10.0.0.77"), RespPort: 443}, step, 1000)
		}, ""},
	})
}

func TestRemoteAccess(t *testing.T) {
	client, other, peer := addr("10.0.0.5"), addr("10.0.0.6"), addr("203.0.113.9")
	const from, seconds = afterwards, sessionMicros / secondMicros
	talk := func(length float64, port uint16, hello bool, up, down uint64) func(*script) {
		return func(s *script) {
			s.learned().session(from, from+length, 10, models.ConnSlot{Orig: client, Resp: peer, RespPort: port, Hello: hello}, up, down)
		}
	}
	checkRules(t, []rule{
		{"a port that nobody else uses", talk(seconds+30, 4444, false, 900, 100), "remote_access"},
		{"for half an hour", talk(1800, 4444, false, 900, 100), "remote_access"},
		{"two minutes have not passed", talk(seconds-1, 4444, false, 900, 100), ""},
		{"not the language of the port", talk(seconds+30, 443, false, 900, 100), "remote_access"},
		{"the language of the port", talk(seconds+30, 443, true, 900, 100), ""},
		{"a port that others use", talk(seconds+30, 80, false, 900, 100), ""},
		{"more comes in", talk(seconds+30, 4444, false, 900, 901), ""},
		{"hardly anything goes out", talk(seconds+30, 4444, false, 100, 0), ""},
		{"a peer that was there from the start", func(s *script) {
			s.conn(100, page(client, peer, 4444, 100, 100))
			talk(seconds+30, 4444, false, 900, 100)(s)
		}, ""},
		{"a peer that another host knows", func(s *script) {
			s.conn(100, page(other, peer, 80, 100, 100))
			talk(seconds+30, 4444, false, 900, 100)(s)
		}, ""},
		{"a peer that another host meets later", func(s *script) {
			s.conn(from+60, page(other, peer, 80, 100, 100))
			talk(1800, 4444, false, 900, 100)(s)
		}, ""},
		{"a port that a second host uses with another peer", func(s *script) {
			s.conn(from, page(other, addr("192.0.2.9"), 4444, 100, 100))
			talk(seconds+30, 4444, false, 900, 100)(s)
		}, "remote_access"},
		{"a port that two more use with other peers", func(s *script) {
			s.conn(from, page(other, addr("192.0.2.9"), 4444, 100, 100))
			s.conn(from, page(addr("10.0.0.7"), addr("192.0.2.9"), 4444, 100, 100))
			talk(seconds+30, 4444, false, 900, 100)(s)
		}, ""},
		{"within the network", func(s *script) {
			s.learned().session(from, from+seconds+30, 10, models.ConnSlot{Orig: client, Resp: other, RespPort: 4444}, 900, 100)
		}, ""},
	})
}
