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
