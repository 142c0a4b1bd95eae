package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

func needs(t *testing.T, programs map[string]string) {
	t.Helper()
	for program, remedy := range programs {
		if _, err := exec.LookPath(program); err != nil {
			nettest.Unavailable(t, program+" is missing: apt-get install "+remedy)
		}
	}
}

func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
}

// kernelCounters are those of an interface.
type kernelCounters struct {
	Stats struct {
		RX struct{ Packets uint64 }
		TX struct{ Packets, Dropped uint64 }
	} `json:"stats64"`
}

// heard is how many packets a packet socket on the interface was shown: it is shown outgoing ones before the other end may find no room
// for them.
func heard(t *testing.T, ns *nettest.Namespace, ifname string) uint64 {
	t.Helper()
	out, err := ns.Command("ip", "-json", "-statistics", "link", "show", "dev", ifname).Output()
	var all []kernelCounters
	if err == nil {
		err = json.Unmarshal(out, &all)
	}
	if err != nil || len(all) != 1 {
		t.Fatalf("ip link show: %v: %s", err, out)
	}
	s := all[0].Stats
	return s.RX.Packets + s.TX.Packets + s.TX.Dropped
}

// A port scan, a bulk transfer and web downloads by the real tools: every packet is counted, and the scan is told.
func TestLiveTraffic(t *testing.T) {
	long(t)
	needs(t, map[string]string{"nmap": "nmap", "iperf3": "iperf3", "curl": "curl", "ethtool": "ethtool"})
	server, visitor := nettest.New(t), nettest.New(t)
	const serverIP, visitorIP = "10.99.0.1", "10.99.0.2"
	server.IP("link", "add", "name", "lan", "type", "veth", "peer", "name", "lan", "netns", visitor.Name)
	for ns, ip := range map[*nettest.Namespace]string{server: serverIP, visitor: visitorIP} {
		ns.IP("link", "set", "dev", "lan", "addrgenmode", "none")
		ns.IP("address", "add", ip+"/24", "dev", "lan")
		ns.IP("link", "set", "dev", "lan", "up")
		// Packets as a wire has them: the kernel's counters count merged ones once or often, depending on where it merges.
		do(t, ns, "ethtool", "-K", "lan", "gro", "off", "gso", "off", "tso", "off", "tx", "off")
	}
	before := heard(t, server, "lan")
	p := startRun(t, server, filepath.Join(t.TempDir(), "netlyra.db"), "--interface", "lan")
	l := p.listen()

	page := servePage(t, server, serverIP)
	background(t, server, "iperf3", "--server", "--bind", serverIP)
	for range 10 {
		do(t, visitor, "curl", "--silent", "--show-error", "-o", "/dev/null", page)
	}
	do(t, visitor, "iperf3", "--client", serverIP, "--time", "2", "--connect-timeout", "10000")
	do(t, visitor, "nmap", "-n", "-Pn", "-sS", "-T4", "-p", "1-2000", serverIP)

	var scan models.Alert
	l.await(t, "port_scan alert", func(alerts map[string]models.Alert) bool {
		for _, a := range alerts {
			if a.Category == "port_scan" && a.SrcIP == visitorIP {
				scan = a
				return true
			}
		}
		return false
	})
	if !strings.Contains(scan.Summary, visitorIP) || !strings.HasSuffix(scan.Summary, ".") {
		t.Errorf("the sentence is %q", scan.Summary)
	}
	var kept models.Alert
	p.get("api/v1/alerts/"+scan.ID, &kept)
	if kept.ID != scan.ID || kept.Rev < scan.Rev || kept.Category != scan.Category {
		t.Errorf("shown %s rev %d %s, kept %s rev %d %s", scan.ID, scan.Rev, scan.Category, kept.ID, kept.Rev, kept.Category)
	}
	countsMatch(t, p, server, "lan", before)
	p.terminate()
}

// servePage serves 160 kB in a namespace until the test ends, and returns the address.
func servePage(t *testing.T, ns *nettest.Namespace, ip string) string {
	t.Helper()
	var l net.Listener
	var err error
	ns.Do(func() { l, err = net.Listen("tcp", net.JoinHostPort(ip, "0")) })
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("netlyra "), 20_000)
	srv := &http.Server{
		ReadHeaderTimeout: patience,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // returns when closed
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return "http://" + l.Addr().String() + "/"
}

// countsMatch waits until the program has counted all that the kernel has heard on an interface since before.
func countsMatch(t *testing.T, p *process, ns *nettest.Namespace, ifname string, before uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		want := heard(t, ns, ifname) - before
		var s models.Stats
		p.get("api/v1/stats", &s)
		got := s.Packets + drops(&s)
		if got == want && want > 0 {
			t.Logf("%d packets", got)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counted and dropped %d packets, the kernel %d: %+v", got, want, s)
		}
	}
}

// drops is what the kernel had no room for.
func drops(s *models.Stats) (n uint64) {
	for _, d := range s.Drops {
		if d.Stage == "kernel" {
			n += d.Count
		}
	}
	return n
}

// do runs a program to its end, in a namespace or, for nil, in the tests' own.
func do(t *testing.T, ns *nettest.Namespace, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	if ns != nil {
		c = ns.Command(name, args...)
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// background runs a program in a namespace until the test ends.
func background(t *testing.T, ns *nettest.Namespace, name string, args ...string) {
	t.Helper()
	c := ns.Command(name, args...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
	})
}

// SIGTERM while 100,000 packets a second of one scan after another come in: the program ends well, soon, and with every alert stored that
// it has shown.
func TestTerminateUnderLoad(t *testing.T) {
	long(t)
	ns := nettest.New(t)
	ns.Veth("watched", "load")
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p := startRun(t, ns, database, "--interface", "watched")
	l := p.listen()
	defer scanning(ns)()
	l.await(t, "three alerts", func(alerts map[string]models.Alert) bool { return len(alerts) >= 3 })
	var s models.Stats
	for s.Packets+drops(&s) < 200_000 {
		time.Sleep(50 * time.Millisecond)
		p.get("api/v1/stats", &s)
	}
	const limit = 10 * time.Second // promised to whoever stops the program
	if took := p.terminate(); took > limit {
		t.Errorf("took %v to end, more than %v", took, limit)
	}
	<-l.gone
	seen := l.seen()
	t.Logf("%d alerts shown; %d packets counted, %d dropped", len(seen), s.Packets, drops(&s))
	holds(t, database, seen)
}

// scanning has scans go on in the namespace until the function that it returns is called; it may be called once.
func scanning(ns *nettest.Namespace) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	sender := ns.NewSender("load")
	go func() {
		defer close(stopped)
		scans(sender, stop)
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// scans sends SYNs, 100 a millisecond at most, until stop is closed or half a minute is over: each host of 10.9.0.0/16 tries 2,000 ports of
// one of 10.8.0.0/16.
func scans(s *nettest.Sender, stop <-chan struct{}) {
	frame := make([]byte, 60)
	copy(frame, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6})
	copy(frame[26:], []byte{10, 9, 0, 0, 10, 8, 0, 1})
	frame[46], frame[47] = 5<<4, 2
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range 3_000_000 {
		if i%100 == 0 {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
		binary.BigEndian.PutUint16(frame[28:], uint16(1+i/2000))
		binary.BigEndian.PutUint16(frame[32:], uint16(1+i/2000))
		binary.BigEndian.PutUint16(frame[34:], uint16(40_000+i%2000))
		binary.BigEndian.PutUint16(frame[36:], uint16(1+i%2000))
		if s.Send(frame) != nil {
			return
		}
	}
}

// Killed at any moment, the program has stored what it has shown.
func TestKilledProgramHasStoredWhatItHasShown(t *testing.T) {
	long(t)
	database := filepath.Join(t.TempDir(), "netlyra.db")
	seen := map[string]models.Alert{}
	for round := range 3 {
		p := startRun(t, nil, database, "--read", sample, "--loop", "--speed", "max")
		l := p.listen()
		l.await(t, "alert", func(alerts map[string]models.Alert) bool { return len(alerts) > 0 })
		time.Sleep(rand.N(500 * time.Millisecond))
		p.kill()
		<-l.gone
		now := l.seen()
		t.Logf("round %d: %d alerts shown", round, len(now))
		for id, a := range now {
			if a.Rev > seen[id].Rev {
				seen[id] = a
			}
		}
		holds(t, database, seen)
	}
	// Nor is a connection open for good.
	p := startRun(t, nil, database, "--read", sample, "--speed", "max")
	p.terminate()
	db, err := sql.Open("sqlite", "file:"+database+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var open, cutOff int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE "end" = ''), count(*) FILTER (WHERE "end" = 'cut_off') FROM connections`).Scan(&open, &cutOff); err != nil {
		t.Fatal(err)
	}
	if open > 0 || cutOff == 0 {
		t.Errorf("%d connections are open, %d were cut off by the kills", open, cutOff)
	}
}

// Who may not capture is told what to do about it.
func TestWithoutPrivilege(t *testing.T) {
	var nobody *syscall.Credential
	if os.Geteuid() == 0 {
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	dir := publicDir(t) // in which everything else can be done
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	status, said := fails(t, nobody, "run", "--interface", "lo", "--database", filepath.Join(dir, "netlyra.db"), "--state", "off", "--listen", "127.0.0.1:0", "--ws-listen", "off")
	if status != exitUsage {
		t.Errorf("exit status %d, want %d", status, exitUsage)
	}
	for _, want := range []string{"sudo setcap cap_net_raw+ep " + netlyraBinary(t), "./task demo"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in: %s", want, said)
		}
	}
	if lines := strings.Count(strings.TrimSpace(said), "\n"); lines != 0 {
		t.Errorf("more than one message: %s", said)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	for name, args := range map[string][]string{
		"--listen":    {"--listen", address, "--ws-listen", "off"},
		"--ws-listen": {"--listen", "127.0.0.1:0", "--ws-listen", address},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"run", "--read", absolute(t, sample), "--database", filepath.Join(t.TempDir(), "netlyra.db")}, args...)
			status, said := fails(t, nil, args...)
			if status != exitFailed || !strings.Contains(said, name+" "+address) {
				t.Errorf("exit status %d: %s", status, said)
			}
			if strings.Contains(said, "watching") {
				t.Errorf("capture had started: %s", said)
			}
		})
	}
}

func TestUnwritableDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	database := filepath.Join(file, "netlyra.db") // a file is no directory, for root neither
	status, said := fails(t, nil, "run", "--read", absolute(t, sample), "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", database)
	if status != exitFailed || !strings.Contains(said, file) || strings.Contains(said, "watching") {
		t.Errorf("exit status %d: %s", status, said)
	}
}

// A file that is no database of netlyra is refused, and stays as it is.
func TestForeignDatabase(t *testing.T) {
	dir := t.TempDir()
	database, content := filepath.Join(dir, "netlyra.db"), bytes.Repeat([]byte("not a database. "), 1024)
	if err := os.WriteFile(database, content, 0o600); err != nil {
		t.Fatal(err)
	}
	status, said := fails(t, nil, "run", "--read", absolute(t, sample), "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", database)
	if status != exitFailed || !strings.Contains(said, database) {
		t.Errorf("exit status %d: %s", status, said)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	now, err2 := os.ReadFile(database)
	if err != nil || err2 != nil || len(files) != 1 || !bytes.Equal(now, content) {
		t.Errorf("the file has changed, or another is beside it: %v %v %v", files, err, err2)
	}
}

// A database whose pages are damaged is set aside as it is, the page says so, and the program runs.
func TestCorruptDatabase(t *testing.T) {
	dir := t.TempDir()
	database := filepath.Join(dir, "netlyra.db")
	startRun(t, nil, database, "--read", sample, "--speed", "max").terminate()
	damaged, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for i := page; i < len(damaged); i++ { // its header, with the application id, stays
		damaged[i] = 0x5a
	}
	if err := os.WriteFile(database, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startRun(t, nil, database, "--read", sample, "--speed", "max")
	var health struct {
		Reasons []struct{ Code, Message string }
	}
	p.get("api/v1/health", &health)
	aside := ""
	for _, r := range health.Reasons {
		if r.Code == "database_set_aside" {
			aside = r.Message
		}
	}
	if aside == "" {
		t.Errorf("health does not say it: %+v", health)
	}
	p.terminate()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	kept := false
	for _, f := range files {
		if content, err := os.ReadFile(f); err == nil && bytes.Equal(content, damaged) {
			kept = kept || strings.Contains(aside, filepath.Base(f))
		}
	}
	if !kept {
		t.Errorf("%q, and there are %v", aside, files)
	}
	holds(t, database, nil) // the new one can be opened
}

// patient makes a second connection wait for the writer's lock, which the program under test holds now and then.
const patient = "?_pragma=busy_timeout(5000)"

// Another program holds the database locked, and alerts and connections wait for it: SIGTERM ends the program within ten seconds all the
// same.
func TestTerminateWithALockedDatabase(t *testing.T) {
	long(t)
	capture := filepath.Join(t.TempDir(), "many.pcap")
	if _, stderr, status := netlyra(t, "bench", "synth", "--size", "60MB", "--output", capture); status != exitOK {
		t.Fatal(stderr)
	}
	for name, file := range map[string]string{"alerts": sample, "connections": capture} {
		t.Run(name, func(t *testing.T) {
			database := filepath.Join(t.TempDir(), "netlyra.db")
			startRun(t, nil, database, "--read", sample).terminate() // makes the database
			db, err := sql.Open("sqlite", database+patient)
			if err != nil {
				t.Fatal(err)
			}
			lock, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p := startRun(t, nil, database, "--read", file, "--speed", "max", "--loop", "--workers", "6")
			if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second) // let it pile up
			if d := p.terminate(); d > 10*time.Second {
				t.Errorf("it took %v", d)
			}
			if err := errors.Join(lock.Close(), db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
