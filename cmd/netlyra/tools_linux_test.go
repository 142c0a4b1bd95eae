package main

import (
	"encoding/binary"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// Scanners and flooders that people use, between two namespaces, each from and to addresses of its own: the running program tells what each
// does.
func TestRealTools(t *testing.T) {
	long(t)
	needs(t, map[string]string{"nmap": "nmap", "hping3": "hping3", "ping": "iputils-ping", "curl": "curl"})
	server, visitor := nettest.New(t), nettest.New(t)
	server.IP("link", "add", "name", "lan", "type", "veth", "peer", "name", "lan", "netns", visitor.Name)
	addresses := map[*nettest.Namespace][]string{
		server:  {"10.98.0.1", "10.98.0.101", "10.98.0.102", "10.98.0.103"},
		visitor: {"10.98.0.2", "10.98.0.11", "10.98.0.12", "10.98.0.13", "10.98.0.14", "10.98.0.15", "10.98.0.16"},
	}
	for ns, all := range addresses {
		ns.IP("link", "set", "dev", "lan", "addrgenmode", "none")
		for _, ip := range all {
			ns.IP("address", "add", ip+"/24", "dev", "lan")
		}
		ns.IP("link", "set", "dev", "lan", "up")
	}
	visitor.IP("route", "add", "10.97.0.0/16", "via", "10.98.0.1")
	p := startRun(t, server, filepath.Join(t.TempDir(), "netlyra.db"), "--interface", "lan")
	l := p.listen()
	page := servePage(t, server, "10.98.0.1")
	for range 20 {
		do(t, visitor, "curl", "--silent", "--show-error", "-o", "/dev/null", page)
	}
	do(t, visitor, "ping", "-q", "-c", "60", "-i", "0.01", "10.98.0.1")
	if alerts := l.seen(); len(alerts) > 0 {
		t.Errorf("downloads and a ping are told of: %+v", alerts)
	}

	for _, tool := range []struct {
		name     string
		who      string // culprit or victim
		category models.Category
		command  []string
	}{
		{"a scan of the most popular ports", "10.98.0.11", models.CategoryPortScan, []string{"nmap", "-n", "-Pn", "-F", "-sS", "-S", "10.98.0.11", "-e", "lan", "10.98.0.1"}},
		{"a scan with whole connections", "10.98.0.2", models.CategoryPortScan, []string{"nmap", "-n", "-Pn", "-sT", "-T4", "--top-ports", "1000", "10.98.0.1"}},
		{
			"a scan over UDP", "10.98.0.12", models.CategoryPortScan,
			[]string{"nmap", "-n", "-Pn", "-sU", "-p", "1000-1400", "--max-retries", "0", "--min-rate", "200", "-S", "10.98.0.12", "-e", "lan", "10.98.0.1"},
		},
		{
			"a sweep with pings", "10.98.0.13", models.CategoryHostSweep,
			[]string{"nmap", "-n", "-sn", "-PE", "--max-retries", "0", "--min-rate", "200", "-S", "10.98.0.13", "-e", "lan", "10.97.0.0/23"},
		},
		{
			"a sweep with ARP", "10.98.0.16", models.CategoryHostSweep,
			[]string{"nmap", "-n", "-sn", "-PR", "-S", "10.98.0.16", "-e", "lan", "10.98.0.0/24"},
		},
		{
			"half-open connections from everywhere", "10.98.0.101", models.CategoryFlood,
			[]string{"hping3", "-q", "-S", "-p", "80", "--rand-source", "-i", "u250", "-c", "6000", "10.98.0.101"},
		},
		{
			"a flood of datagrams", "10.98.0.102", models.CategoryFlood,
			[]string{"hping3", "-q", "--udp", "-p", "4000", "-d", "512", "-a", "10.98.0.14", "-i", "u150", "-c", "12000", "10.98.0.102"},
		},
		{"a flood of pings", "10.98.0.103", models.CategoryFlood, []string{"ping", "-q", "-f", "-c", "12000", "-I", "10.98.0.15", "10.98.0.103"}},
	} {
		t.Run(tool.name, func(t *testing.T) {
			out, err := visitor.Command(tool.command[0], tool.command[1:]...).CombinedOutput()
			if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) { // hping3 fails where nobody answers
				t.Fatalf("%v: %v: %s", tool.command, err, out)
			}
			l.awaitKind(t, tool.category, tool.who)
		})
	}
	t.Run("two who claim one address", func(t *testing.T) {
		claim(t, visitor, "10.98.0.1")
		l.awaitKind(t, models.CategoryARPSpoofing, "10.98.0.1")
	})
	p.terminate()
}

// awaitKind waits for an alert of a category that names somebody.
func (l *listener) awaitKind(t *testing.T, category models.Category, who string) {
	t.Helper()
	l.await(t, string(category)+" alert on "+who, func(alerts map[string]models.Alert) bool {
		for _, a := range alerts {
			if a.Category == category && (a.SrcIP == who || a.DstIP == who) {
				return true
			}
		}
		return false
	})
}

// claim has two hosts say, in turn, that an address is its own (RFC 826).
func claim(t *testing.T, ns *nettest.Namespace, ip string) {
	t.Helper()
	s := ns.NewSender("lan")
	frame := make([]byte, 60)
	for i := range byte(40) {
		mac := []byte{2, 0, 0, 0, 9, i % 2}
		copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		copy(frame[6:], mac)
		binary.BigEndian.PutUint64(frame[12:], 0x0806_0001_0800_0604)
		frame[21] = 2 // reply
		copy(frame[22:], mac)
		copy(frame[28:], net.ParseIP(ip).To4())
		copy(frame[32:], []byte{2, 0, 0, 0, 9, 9})
		copy(frame[38:], []byte{10, 98, 0, 2})
		if err := s.Send(frame); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
