package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
	"netlyra/internal/store"
)

// The faults that take minutes, against the real program and real traffic: ./task faults. They gate nothing; what of the same promises fits into
// seconds is tested beside the packages.
var faults = flag.Bool("faults", false, "run the tests of faults that take minutes")

func faulty(t *testing.T) {
	t.Helper()
	if !*faults {
		t.Skip("takes minutes: ./task faults")
	}
}

// spoofed sends rate frames a second to 10.8.0.1, each from another address, until the time is over: datagrams (RFC 768) or, for TCP, SYNs.
func spoofed(t *testing.T, s *nettest.Sender, proto byte, rate int, d time.Duration) {
	t.Helper()
	frame := make([]byte, 60)
	copy(frame, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, proto})
	copy(frame[30:], []byte{10, 8, 0, 1})
	frame[39] = 20 // the datagram's length
	if proto == unix.IPPROTO_TCP {
		frame[46], frame[47] = 5<<4, 2
	}
	const perTick = 10 * time.Millisecond
	tick := time.NewTicker(perTick)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		for range rate / int(time.Second/perTick) {
			binary.BigEndian.PutUint32(frame[26:], rand.Uint32N(0xdfff_ffff-0x0100_0000)+0x0100_0000) // 1.0.0.0 to 223.255.255.255
			binary.BigEndian.PutUint16(frame[34:], uint16(1024+rand.N(60_000)))
			binary.BigEndian.PutUint16(frame[36:], uint16(1+rand.N(1000)))
			if err := s.Send(frame); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// filesMB is the size of the database with its companions.
func filesMB(t *testing.T, database string) float64 {
	t.Helper()
	sum := int64(0)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(database + suffix)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return float64(sum) / 1e6
}

// 8,000 new connections a second for two minutes do not take the database beyond 1.2 times its cap.
func TestFaultSizeUnderNewConnections(t *testing.T) {
	faulty(t)
	const capMB, rate, length = 20, 8000, 2 * time.Minute
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p := startRun(t, ns, database, "--interface", "watched", "--database-max-mb", fmt.Sprint(capMB))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		spoofed(t, ns.NewSender("load"), unix.IPPROTO_UDP, rate, length)
	}()
	most := 0.0
	for tick := time.NewTicker(250 * time.Millisecond); ; {
		select {
		case <-sent:
			tick.Stop()
			var s models.Stats
			p.get("api/v1/stats", &s)
			t.Logf("%d connections, %d packets lost; the files had %.1f MB at most, the cap is %d", s.Connections.Opened, drops(&s), most, capMB)
			if most > 1.2*capMB {
				t.Errorf("%.1f MB are more than 1.2 times the cap", most)
			}
			if s.Connections.Opened < rate*uint64(length/time.Second)*9/10 {
				t.Errorf("only %d connections: this shows little", s.Connections.Opened)
			}
			p.terminate()
			return
		case <-tick.C:
			most = max(most, filesMB(t, database))
		}
	}
}

// Connections that were answered are still stored after five minutes of a spoofed flood.
func TestFaultFloodKeepsWhatWasAnswered(t *testing.T) {
	faulty(t)
	const capMB, real = 60, 150
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	ns.IP("address", "add", "10.8.0.1/24", "dev", "watched")
	peer := nettest.New(t)
	ns.IP("link", "add", "name", "lan", "type", "veth", "peer", "name", "lan", "netns", peer.Name)
	for n, ip := range map[*nettest.Namespace]string{ns: "10.7.0.1", peer: "10.7.0.2"} {
		n.IP("address", "add", ip+"/24", "dev", "lan")
		n.IP("link", "set", "dev", "lan", "up")
	}
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p := startRun(t, ns, database, "--interface", "watched", "--interface", "lan", "--database-max-mb", fmt.Sprint(capMB))
	var listener net.Listener
	var err error
	ns.Do(func() { listener, err = net.Listen("tcp", "10.7.0.1:8000") })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello\n")
			_ = c.Close()
		}
	}()
	for range real {
		var c net.Conn
		peer.Do(func() { c, err = net.Dial("tcp", "10.7.0.1:8000") })
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(c)
		_ = c.Close()
		time.Sleep(10 * time.Millisecond)
	}
	stored := func() int {
		var page struct {
			Items []struct {
				PacketsDown uint64 `json:"packets_down"`
			}
		}
		p.get("api/v1/connections?host=10.7.0.2&port=8000&limit=500", &page)
		n := 0
		for _, c := range page.Items {
			if c.PacketsDown > 0 {
				n++
			}
		}
		return n
	}
	until(t, "the answered connections", func() bool { return stored() == real })
	spoofed(t, ns.NewSender("load"), unix.IPPROTO_TCP, 50_000, 5*time.Minute)
	var s models.Stats
	p.get("api/v1/stats", &s)
	t.Logf("%d connections, %d of %d answered ones stored, %.1f MB", s.Connections.Opened, stored(), real, filesMB(t, database))
	if n := stored(); n != real {
		t.Errorf("%d of %d answered connections are stored", n, real)
	}
	if size := filesMB(t, database); size > 1.2*capMB {
		t.Errorf("%.1f MB, the cap is %d", size, capMB)
	}
	p.terminate()
}

// The power goes off twelve times under load: no alert that was shown is lost, and the database is whole each time. The file system is an ext4 on
// a loop device that is shut down without writing what it holds (EXT4_IOC_SHUTDOWN).
func TestFaultPowerCuts(t *testing.T) {
	faulty(t)
	needs(t, map[string]string{"mkfs.ext4": "e2fsprogs", "losetup": "mount"})
	dir := t.TempDir()
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	do(t, nil, "mkfs.ext4", "-q", image)
	mount := func() { do(t, nil, "mount", "-o", "loop", image, at) }
	t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	database := filepath.Join(at, "netlyra.db")
	seen := map[string]models.Alert{}
	for round := range 12 {
		mount()
		p := startRun(t, ns, database, "--interface", "watched")
		l := p.listen()
		end := scanning(ns)
		l.await(t, "alerts", func(alerts map[string]models.Alert) bool { return len(alerts) >= 3 })
		time.Sleep(rand.N(time.Second))
		known := l.seen() // what a person has seen before the light goes out
		cut(t, at)
		end()
		p.kill()
		if err := syscall.Unmount(at, 0); err != nil {
			t.Fatal(err)
		}
		mount()
		for id, a := range known {
			if a.Rev > seen[id].Rev {
				seen[id] = a
			}
		}
		holds(t, database, seen)
		if aside, _ := filepath.Glob(database + ".corrupt*"); len(aside) > 0 {
			t.Fatalf("round %d: %v", round, aside)
		}
		if err := syscall.Unmount(at, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d alerts were shown before the cuts", len(seen))
}

// cut stops a file system at once; what it has not written is lost. EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32) with EXT4_GOING_FLAGS_NOLOGFLUSH
// (fs/ext4/ext4.h).
func cut(t *testing.T, mountpoint string) {
	t.Helper()
	const shutdown, noLogFlush = 0x8004587d, 2
	d, err := os.Open(mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := unix.IoctlSetPointerInt(int(d.Fd()), shutdown, noLogFlush); err != nil {
		t.Fatalf("%s: %v", mountpoint, err)
	}
}

// A disk that becomes full while alerts come: they wait, and are stored once there is room again.
func TestFaultDiskFills(t *testing.T) {
	faulty(t)
	dir := t.TempDir()
	do(t, nil, "mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", dir)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	database := filepath.Join(dir, "netlyra.db")
	p := startRun(t, ns, database, "--interface", "watched", "--state", "off")
	l := p.listen()
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<16); err == nil; {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
	_ = f.Close()
	end := scanning(ns)
	code := func(want string) func() bool {
		return func() bool {
			var h struct{ Reasons []struct{ Code string } }
			p.get("api/v1/health", &h)
			for _, r := range h.Reasons {
				if r.Code == want {
					return true
				}
			}
			return false
		}
	}
	l.await(t, "alerts on a full disk", func(alerts map[string]models.Alert) bool { return len(alerts) >= 3 })
	until(t, "a full disk in health", code("store_full"))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the full disk in health", func() bool { return !code("store_full")() })
	end()
	p.terminate()
	<-l.gone
	holds(t, database, l.seen())
}

// A process that is stopped for seconds loses packets in the kernel's ring, and every packet sent is either decoded or counted there.
func TestFaultStoppedProcessCountsWhatItLost(t *testing.T) {
	faulty(t)
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	p := startRun(t, ns, filepath.Join(t.TempDir(), "netlyra.db"), "--interface", "watched", "--ring-mb", "4")
	before := heard(t, ns, "watched")
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	spoofed(t, ns.NewSender("load"), unix.IPPROTO_UDP, 40_000, 5*time.Second)
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	countsMatch(t, p, ns, "watched", before)
	var s models.Stats
	p.get("api/v1/stats", &s)
	if s.Interfaces[0].Dropped == 0 || s.Interfaces[0].Received != s.Packets+s.Interfaces[0].Dropped {
		t.Errorf("%+v of %d packets", s.Interfaces[0], s.Packets)
	}
	p.terminate()
}

// What a kill leaves is whole fifteen times under load, and a read-only look at it finds every alert that was shown.
func TestFaultKills(t *testing.T) {
	faulty(t)
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	database := filepath.Join(t.TempDir(), "netlyra.db")
	seen := map[string]models.Alert{}
	for range 15 {
		p := startRun(t, ns, database, "--interface", "watched")
		l := p.listen()
		end := scanning(ns)
		l.await(t, "alerts", func(alerts map[string]models.Alert) bool { return len(alerts) >= 3 })
		time.Sleep(rand.N(2 * time.Second))
		p.kill()
		end()
		<-l.gone
		for id, a := range l.seen() {
			if a.Rev > seen[id].Rev {
				seen[id] = a
			}
		}
		holds(t, database, seen)
	}
	s, err := store.New(t.Context(), store.Options{Path: database})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d alerts were shown before the kills", len(seen))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
