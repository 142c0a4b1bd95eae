package main

import (
	"bufio"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// scanners writes a capture in which n hosts, one after the other, try 100 ports of one host each within a second.
func scanners(t *testing.T, n int) string {
	t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for i := range n * 100 {
		frame := []byte{
			2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 66, 8, 0,
			0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 99, 0, 0, 10, 98, 0, 1,
			0xc3, 0x50, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x10, 0, 0, 0, 0, 0,
		}
		binary.BigEndian.PutUint16(frame[28:], uint16(i/100+256))
		binary.BigEndian.PutUint16(frame[32:], uint16(i/100+256))
		binary.BigEndian.PutUint16(frame[36:], uint16(1000+i%100))
		b = binary.LittleEndian.AppendUint32(b, uint32(1_700_000_000+i/100))
		b = binary.LittleEndian.AppendUint32(b, uint32(i%100*10_000))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	path := filepath.Join(t.TempDir(), "scanners.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startUnread starts the program with a pipe as its standard error, which is read up to the line that names the page and no further.
func startUnread(t *testing.T, database string, args ...string) (p *process, reader *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"run", "--log-format", "json", "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", database}, args...)
	p = &process{t: t, cmd: exec.CommandContext(t.Context(), netlyraBinary(t), args...), ended: make(chan struct{})}
	p.cmd.Stderr = w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	lines := bufio.NewReaderSize(r, 16)
	for p.page == "" {
		text, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		p.log.WriteString(text)
		var line struct{ Msg, Page string }
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "watching" {
			p.page = line.Page
		}
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		_ = r.Close()
	})
	return p, r
}

// Nobody reads the log: alerts are stored and served all the same, health says it, and SIGTERM ends the program.
func TestALogThatNobodyReadsHoldsUpNothing(t *testing.T) {
	const n = 400
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p, reader := startUnread(t, database, "--read", scanners(t, n), "--speed", "max")
	var s models.Stats
	until(t, "stored alerts", func() bool {
		p.get("api/v1/stats", &s)
		return s.Alerts.Raised >= 2*n && s.Alerts.Stored == s.Alerts.Raised // each opens and closes
	})
	if got := len(p.listed("")); got != n {
		t.Errorf("%d alerts are listed, want %d", got, n)
	}
	until(t, "word in health", func() bool { return reasonsOf(p)["log_unread"] != "" })
	if took := p.terminate(); took > 10*time.Second {
		t.Errorf("took %v to end", took)
	}
	rest, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(rest), "\n") == 0 {
		t.Error("the log is empty")
	}
}

// What was lost while nobody read is said when somebody reads again, and counted.
func TestLostLogLinesAreSaid(t *testing.T) {
	long(t)
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p, reader := startUnread(t, database, "--read", scanners(t, 3000), "--speed", "max")
	lost := uint64(0)
	until(t, "lost lines", func() bool {
		var s models.Stats
		p.get("api/v1/stats", &s)
		for _, d := range s.Drops {
			if d.Stage == "log" && d.Reason == "unread" {
				lost = d.Count
			}
		}
		return lost > 0 && s.Alerts.Raised == s.Alerts.Stored+s.Alerts.Dropped
	})
	said := make(chan string)
	go func() {
		rest, _ := io.ReadAll(reader)
		said <- string(rest)
	}()
	until(t, "log that arrives", func() bool { return reasonsOf(p)["log_unread"] == "" })
	p.terminate()
	if all := <-said; !strings.Contains(all, `"msg":"log lines lost","lines":`) || !strings.Contains(all, `"msg":"stopped"`) {
		t.Errorf("of %d lost lines the log says nothing:\n%.2000s", lost, all[max(0, len(all)-2000):])
	}
}

// The reader of the log ends, as in `netlyra run 2>&1 | head -1`: the program ends in order, with what it has learned saved.
func TestTheEndOfTheLogsReaderIsAnOrderlyEnd(t *testing.T) {
	dir := t.TempDir()
	p, reader := startUnread(t, filepath.Join(dir, "netlyra.db"), "--read", steadyScan(t, 600), "--state", filepath.Join(dir, "memory"), "--sensor", "test")
	_ = reader.Close()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("it still runs")
	}
	if p.err != nil {
		t.Error(p.err)
	}
	if !stateSaved(t, filepath.Join(dir, "memory")) {
		t.Error("what was learned is not saved")
	}
}

func stateSaved(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.state"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files) == 1
}

// Signals that ask for an end get an orderly one; timeout(1) sends SIGTERM twice at once, to the process and to its group.
func TestSignalsEndInOrder(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) { // under nohup; a signal that is handled here has its default in a program that is started
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	for name, send := range map[string][]syscall.Signal{
		"interrupt": {syscall.SIGINT}, "terminal closed": {syscall.SIGHUP}, "twice at once": {syscall.SIGTERM, syscall.SIGTERM},
		"closed and terminated": {syscall.SIGHUP, syscall.SIGTERM}, "broken pipe first": {syscall.SIGPIPE, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := startRun(t, nil, filepath.Join(dir, "netlyra.db"), "--read", steadyScan(t, 600), "--state", filepath.Join(dir, "memory"), "--sensor", "test")
			for _, s := range send[:len(send)-1] {
				if err := p.cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			_ = p.cmd.Process.Signal(send[len(send)-1]) // it may have ended
			select {
			case <-p.ended:
			case <-time.After(patience):
				t.Fatal("it still runs")
			}
			if p.err != nil || !strings.Contains(p.said(), `"msg":"stopped"`) || !stateSaved(t, filepath.Join(dir, "memory")) {
				t.Errorf("%v\n%s", p.err, p.said())
			}
		})
	}
}

// A second signal that comes later ends the program at once, even where it waits: here for a locked database.
func TestALaterSecondSignalEndsAtOnce(t *testing.T) {
	long(t)
	dir := t.TempDir()
	database := filepath.Join(dir, "netlyra.db")
	p := startRun(t, nil, database, "--read", scanners(t, 100), "--speed", "max", "--loop")
	unlock := lockDatabase(t, database)
	defer unlock()
	for range 2 {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(sameSignal + 200*time.Millisecond)
	}
	<-p.ended
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v\n%s", p.err, p.said())
	}
}

// lockDatabase holds a database locked until the returned function is called.
func lockDatabase(t *testing.T, database string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", database+patient)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(lock.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Every change of an interface is a line of the log.
func TestInterfaceChangesAreLogged(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("watched", "other")
	p := startRun(t, ns, filepath.Join(t.TempDir(), "netlyra.db"), "--interface", "watched")
	says := func(link, before string) {
		t.Helper()
		until(t, "line: "+before+" to "+link, func() bool {
			return strings.Contains(p.said(), `"msg":"interface changed","interface":"watched","link":"`+link+`","before":"`+before+`"`)
		})
	}
	ns.IP("link", "set", "dev", "watched", "down")
	says("down", "up")
	ns.IP("link", "del", "dev", "watched")
	says("gone", "down")
	ns.Veth("watched", "other")
	until(t, "return", func() bool { return strings.Contains(p.said(), `"link":"up","before":`) })
	p.terminate()
}
