package detect

import (
	"fmt"
	"strings"
	"testing"

	"netlyra/internal/models"
)

// Record types (RFC 1035, section 3.2.2; RFC 3596; RFC 2782).
const (
	qA    = 1
	qNULL = 10
	qPTR  = 12
	qTXT  = 16
	qAAAA = 28
	qSRV  = 33
)

// fresh is a name that nobody has asked for before: so many bytes under a domain.
func fresh(i, size int, domain string) string {
	label := fmt.Sprintf("%0*d", size, i)
	for at := 60; at < len(label); at += 61 { // a label has 63 bytes at most (RFC 1035, section 2.3.4)
		label = label[:at] + "." + label[at+1:]
	}
	return label + "." + domain
}

func TestDNS(t *testing.T) {
	client, resolver, other := addr("10.0.0.5"), addr("10.0.0.1"), addr("10.0.0.6")
	const minute = 1020 // one begins
	// asks has a client ask n questions within seconds, each answered by so many bytes.
	asks := func(s *script, from, seconds float64, client models.Addr, n int, name func(i int) string, qtype uint16, answered int) {
		for i := range n {
			at := from + seconds*float64(i)/float64(n)
			q := question(client, resolver, qtype, name(i))
			s.ask(at, q)
			s.answer(at+0.01, q, answered)
		}
		s.until(from + seconds)
	}
	names := func(size int, domain string) func(int) string {
		return func(i int) string { return fresh(i, size, domain) }
	}
	// known has the domain asked for while everything is usual.
	known := func(s *script, clients ...models.Addr) *script {
		for _, c := range clients {
			s.ask(100, question(c, resolver, qA, "www.known.example"))
		}
		return s.learned()
	}
	within := func(n, size int, qtype uint16, answered int) func(*script) {
		return func(s *script) {
			asks(known(s, client), minute, 50, client, n, names(size, "known.example"), qtype, answered)
		}
	}
	// A set of names has 1,024 bits: some new names are taken for known ones, one in eight at 250.
	most := func(n int) int { return n + n/20 + n*n/1500 }
	const long = 121
	checkRules(t, []rule{
		{"long names that ask for text", within(tunnelNames, long, qTXT, 100), "tunnel"},
		{"a name less", within(tunnelNames-1, long, qTXT, 100), ""},
		{"long names that ask for addresses", within(most(plainFactor*tunnelBytes/100), 100, qA, 100), "tunnel"},
		{"long names that ask for addresses, a name less", within(plainFactor*tunnelBytes/100-1, 100, qA, 100), ""},
		{"long names, and next to nothing comes back", within(most(plainFactor*tunnelBytes/100), 100, qA, 16), "exfiltration"},
		{"names that are too short to carry much", within(240, meanBytes-1, qA, 100), ""},
		{"short names that ask for text", within(most(oddNames), 6, qTXT, 10), "tunnel"},
		{"short names that ask for text, one less", within(oddNames-1, 6, qTXT, 10), ""},
		{"short names, and much comes back", within(oddFew+1, 6, qNULL, oddBytes/oddFew), "tunnel"},
		{"short names, and not so much comes back", within(oddFew+1, 6, qNULL, oddBytes/(oddFew+2)), ""},
		{"the same name again and again", func(s *script) {
			asks(known(s, client), minute, 50, client, 500, func(int) string { return fresh(0, long, "known.example") }, qTXT, 400)
		}, ""},
		{"spread over two minutes", func(s *script) {
			asks(known(s, client), minute, 115, client, tunnelNames, names(long, "known.example"), qTXT, 100)
		}, "tunnel"},
		{"spread over ten minutes", func(s *script) {
			asks(known(s, client), minute, 600, client, tunnelNames, names(long, "known.example"), qTXT, 100)
		}, ""},
		{"many different names within an hour", func(s *script) {
			asks(known(s, client), 3600, 3500, client, most(slowNames), names(slowMean, "known.example"), qA, 100)
		}, "tunnel"},
		{"many different names within an hour, one less", func(s *script) {
			asks(known(s, client), 3600, 3500, client, slowNames-1, names(slowMean, "known.example"), qA, 100)
		}, ""},
		{"many different short names within an hour", func(s *script) {
			asks(known(s, client), 3600, 3500, client, 10*slowNames, names(slowMean-1, "known.example"), qA, 100)
		}, ""},
		{"names of a domain that is new here, within an hour", func(s *script) {
			asks(s.learned(), 3600, 3500, client, most(strangeNames), names(strangeMean, "new.example"), qA, 100)
		}, "tunnel"},
		{"names of a domain that is new here, one less", func(s *script) {
			asks(s.learned(), 3600, 3500, client, strangeNames-1, names(strangeMean, "new.example"), qA, 100)
		}, ""},
		{"names of a domain that is new here, half of them twice", func(s *script) {
			asks(s.learned(), 3600, 3500, client, 3*strangeNames, func(i int) string { return fresh(i/2, strangeMean, "new.example") }, qA, 100)
		}, ""},
		{"names of a domain that is new here, and another host asks, too", func(s *script) {
			s.learned().ask(3600, question(other, resolver, qA, "www.new.example"))
			asks(s, 3601, 3500, client, 2*strangeNames, names(strangeMean, "new.example"), qA, 100)
		}, ""},
		{"names of a domain that was there from the start", func(s *script) {
			asks(known(s, client), 3600, 3500, client, 2*strangeNames, names(strangeMean, "known.example"), qA, 100)
		}, ""},
		{"a domain that many use", func(s *script) {
			known(s, other, addr("10.0.0.7"), addr("10.0.0.8"))
			asks(s, minute, 50, client, knownFactor*plainFactor*tunnelBytes/long, names(long, "known.example"), qA, 100)
		}, ""},
		{"a domain that many use, and four times as much", func(s *script) {
			known(s, other, addr("10.0.0.7"), addr("10.0.0.8"))
			asks(s, minute, 50, client, most(knownFactor*plainFactor*tunnelBytes/long), names(long, "known.example"), qA, 100)
		}, "tunnel"},
		{"reverse zones", func(s *script) {
			asks(s.learned(), minute, 50, client, 500, func(i int) string { return fmt.Sprintf("%d.%d.0.10.in-addr.arpa", i%256, i/256) }, qPTR, 60)
			asks(s, minute+60, 50, client, 200, func(i int) string { return strings.Repeat("a.", 30) + fmt.Sprintf("%d.ip6.arpa", i) }, qPTR, 60)
		}, ""},
		{"names of services", func(s *script) {
			asks(known(s, client), minute, 50, client, oddNames*2, func(i int) string { return fmt.Sprintf("_s%d._tcp.known.example", i) }, qSRV, 20)
		}, ""},
		{"the domain itself", func(s *script) {
			asks(s.learned(), minute, 50, client, 500, func(int) string { return "known.example" }, qTXT, 400)
		}, ""},
		{"names of one label", func(s *script) {
			asks(s.learned(), minute, 50, client, 500, func(i int) string { return fmt.Sprintf("host%040d", i) }, qTXT, 400)
		}, ""},
		{"domains of all the world", func(s *script) {
			asks(s.learned(), minute, 50, client, 1000, func(i int) string { return fmt.Sprintf("www.domain%d.example", i) }, qA, 100)
		}, ""},
		{"a suffix under which anybody may register", func(s *script) {
			asks(s.learned(), minute, 50, client, 500, func(i int) string { return fresh(i, 60, "co.uk") }, qTXT, 100)
		}, ""},
		{"a resolver asks on behalf of the client", func(s *script) {
			upstream := addr("203.0.113.53")
			known(s, client)
			for i := range 100 {
				at := minute + float64(i)/2
				name := fresh(i, long, "known.example")
				s.ask(at, question(client, resolver, qTXT, name))
				up := question(resolver, upstream, qTXT, name)
				s.ask(at+0.01, up)
				s.answer(at+0.05, up, 200)
				s.answer(at+0.06, question(client, resolver, qTXT, name), 200)
			}
		}, "tunnel"},
		{"one host over IPv4 and IPv6", func(s *script) {
			six := addr("2001:db8::5")
			known(s, client)
			for _, a := range []models.Addr{client, six} {
				c := page(a, resolver, 443, 100, 100)
				c.OrigMAC = hardware(client)
				s.conn(minute-1, c)
				asks(s, minute, 50, a, tunnelNames-10, func(i int) string { return fresh(i+100*int(a.Hi>>63|a.Hi>>61), long, "known.example") }, qTXT, 100)
			}
		}, "tunnel"},
		{"it goes on for half an hour", func(s *script) {
			asks(known(s, client), minute, 1800, client, 1800, names(long, "known.example"), qTXT, 100)
		}, "tunnel"},
		{"a name that wants to be more than a name", func(s *script) {
			asks(s.learned(), minute, 50, client, tunnelNames, names(long, "\x1b[31m<b>%s.example"), qTXT, 100)
		}, "tunnel"},
	})
}

func TestEchoes(t *testing.T) {
	client, server := addr("10.0.0.5"), addr("203.0.113.9")
	// pings has n echoes sent and answered, one a second, on one connection.
	pings := func(s *script, from float64, n int, proto models.Proto, up, down models.SlotDir) {
		c := models.ConnSlot{Orig: client, Resp: server, Proto: proto, ICMPType: 8, Answered: true, Through: true, Start: micros(from)}
		if proto == models.ProtoICMPv6 {
			c.Orig, c.Resp, c.ICMPType = addr("fd00::5"), addr("2001:db8::9"), 128
		}
		for i := range n {
			at := from + float64(i)
			c.New, c.Completed = i == 0, i == 0
			c.First, c.Last = micros(at), micros(at)
			c.Up, c.Down = up, down
			c.TotalUp += up.Payload
			c.TotalDown += down.Payload
			s.conn(at, c)
			c.Before = c.Last
		}
		s.until(from + float64(n))
	}
	echo := func(packets uint32, payload, entropy uint64) models.SlotDir {
		return models.SlotDir{Packets: packets, Bytes: uint64(packets)*42 + payload, Payload: payload, EntropyN: packets, EntropySum: entropy * uint64(packets)}
	}
	const minute = 1020 // one begins
	of := func(n int, proto models.Proto, up, down models.SlotDir) func(*script) {
		return func(s *script) { pings(s.learned(), minute, n, proto, up, down) }
	}
	checkRules(t, []rule{
		{"answers of another length", of(changedEchoes, models.ProtoICMP, echo(1, 56, 40_000), echo(1, 900, 40_000)), "tunnel"},
		{"answers of another length, one less", of(changedEchoes-1, models.ProtoICMP, echo(1, 56, 40_000), echo(1, 900, 40_000)), ""},
		{"answers of another make", of(changedEchoes, models.ProtoICMP, echo(1, 900, 40_000), echo(1, 900, 45_001)), "tunnel"},
		{"answers that are hardly of another make", of(600, models.ProtoICMP, echo(1, 900, 40_000), echo(1, 900, 45_000)), ""},
		{"a tunnel over IPv6", of(changedEchoes, models.ProtoICMPv6, echo(1, 56, 40_000), echo(1, 900, 40_000)), "tunnel"},
		{"a ping for an hour", of(3600, models.ProtoICMP, echo(1, 56, 40_000), echo(1, 56, 40_000)), ""},
		{"a ping of which answers are lost", of(600, models.ProtoICMP, echo(2, 112, 40_000), echo(1, 56, 40_000)), ""},
		{"a ping of which answers come twice", of(600, models.ProtoICMP, echo(1, 56, 40_000), echo(2, 112, 40_000)), ""},
		{"a few echoes changed in a long ping", func(s *script) {
			s.learned()
			for i := range 60 {
				pings(s, minute+120*float64(i), 1, models.ProtoICMP, echo(1, 56, 40_000), echo(1, 900, 40_000))
				pings(s, minute+120*float64(i)+1, 100, models.ProtoICMP, echo(1, 56, 40_000), echo(1, 56, 40_000))
			}
		}, ""},
		{"timestamps, whose answers are longer", func(s *script) {
			s.learned()
			for i := range 60 {
				c := models.ConnSlot{Orig: client, Resp: server, Proto: models.ProtoICMP, ICMPType: 13, New: i == 0, Completed: i == 0, Answered: true, Through: true, Up: echo(1, 12, 1), Down: echo(1, 20, 1)}
				c.Start = micros(minute)
				s.conn(minute+float64(i), c)
			}
		}, ""},
	})
}
