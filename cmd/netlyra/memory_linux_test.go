package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/detect"
	"netlyra/internal/models"
	"netlyra/internal/state"
)

// steadyScan writes a capture in which one host tries 40 ports a second of another for some seconds, and returns its path.
func steadyScan(t *testing.T, seconds int) string {
	t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4) // https://www.ietf.org/archive/id/draft-gharris-opsawg-pcap-01.html
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for i := range seconds * 40 {
		frame := []byte{
			2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 66, 8, 0,
			0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 99, 0, 66, 10, 99, 0, 1,
			0xc3, 0x50, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x10, 0, 0, 0, 0, 0,
		}
		binary.BigEndian.PutUint16(frame[36:], uint16(1000+i))
		b = binary.LittleEndian.AppendUint32(b, uint32(1_700_000_000+i/40))
		b = binary.LittleEndian.AppendUint32(b, uint32(i%40*25_000))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	path := filepath.Join(t.TempDir(), "scan.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func scanIn(alerts map[string]models.Alert) (a models.Alert, ok bool) {
	for _, a := range alerts {
		if a.Category == models.CategoryPortScan {
			return a, true
		}
	}
	return a, false
}

// remembers says whether what has been saved has an open incident.
func remembers(t *testing.T, dir string) bool {
	t.Helper()
	b, err := state.Look(state.Path(dir, "test")).Read(detect.MaxStateBytes)
	if err != nil {
		return false
	}
	s, err := detect.ReadState(b, detect.Options{Seed: analysisSeed})
	if err != nil {
		t.Fatal(err)
	}
	return s.Baseline().Incidents > 0
}

// The program is killed in the middle of a scan, later ended in an orderly way: each time it goes on with the alert that it had raised, and
// in the end there is one.
func TestARestartDoesNotAlertAnew(t *testing.T) {
	database := filepath.Join(t.TempDir(), "netlyra.db")
	dir := memoryBeside(database)
	args := []string{"--read", steadyScan(t, 60), "--loop", "--sensor", "test", "--state", dir, "--state-every", "1s"}
	var last models.Alert
	for round, end := range []func(*process){(*process).kill, func(p *process) { p.terminate() }, (*process).kill} {
		p := startRun(t, nil, database, args...)
		l := p.listen()
		before := last
		l.await(t, "scan", func(alerts map[string]models.Alert) bool {
			var ok bool
			last, ok = scanIn(alerts)
			return ok && last.State == models.AlertOpen && last.Rev > before.Rev+1
		})
		until(t, "saved incident", func() bool { return remembers(t, dir) })
		if before.ID != "" && (last.ID != before.ID || last.TS != before.TS) {
			t.Errorf("round %d: alert %s of %v goes on as %s of %v", round, before.ID, before.TS, last.ID, last.TS)
		}
		if all := p.listed("&triage=all"); scanned(all) != 1 {
			t.Errorf("round %d: %d scans are listed: %v", round, scanned(all), summaries(all))
		}
		end(p)
	}
}

// A program that keeps nothing is killed: the next one does not leave its alert open for ever.
func TestAlertsThatNobodyGoesOnWithAreClosed(t *testing.T) {
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p := startRun(t, nil, database, "--read", steadyScan(t, 60), "--sensor", "test")
	l := p.listen()
	var scan models.Alert
	l.await(t, "scan", func(alerts map[string]models.Alert) bool {
		var ok bool
		scan, ok = scanIn(alerts)
		return ok
	})
	p.kill()
	p = startRun(t, nil, database, "--read", sample, "--sensor", "test")
	var kept models.Alert
	until(t, "closed alert", func() bool {
		p.get("api/v1/alerts/"+scan.ID, &kept)
		return kept.State == models.AlertClosed
	})
	if kept.Rev <= scan.Rev || !strings.Contains(kept.Summary, "the program ended") {
		t.Errorf("%+v", kept)
	}
	p.terminate()
}

func reasonsOf(p *process) map[string]string {
	var health struct {
		Reasons []struct{ Code, Message string }
	}
	p.get("api/v1/health", &health)
	all := map[string]string{}
	for _, r := range health.Reasons {
		all[r.Code] = r.Message
	}
	return all
}

// A state that cannot be used is set aside as it is, the program says so and learns anew; where it cannot save, it says so and tries again.
func TestStateThatCannotBeUsedOrSaved(t *testing.T) {
	database := filepath.Join(t.TempDir(), "netlyra.db")
	dir := memoryBeside(database)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, damaged := state.Path(dir, "test"), []byte("NetLyra state\nbut not really")
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--read", sample, "--loop", "--sensor", "test", "--state", dir, "--state-every", "1s"}
	p := startRun(t, nil, database, args...)
	if _, ok := reasonsOf(p)["state_set_aside"]; !ok {
		t.Errorf("health does not say it: %v", reasonsOf(p))
	}
	aside, err := filepath.Glob(path + ".*-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("%v, %v", aside, err)
	}
	if b, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(b, damaged) {
		t.Errorf("%q, %v", b, err)
	}
	until(t, "saved state", func() bool { _, err := os.Stat(path); return err == nil })
	obstacle := path + ".new"
	until(t, "failure", func() bool {
		_ = os.Mkdir(obstacle, 0o700) // a save may be under way
		_, ok := reasonsOf(p)["state_failing"]
		return ok
	})
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	until(t, "recovery", func() bool { _, ok := reasonsOf(p)["state_failing"]; return !ok })

	status, said := fails(t, nil, "run", "--read", absolute(t, sample), "--sensor", "test", "--state", dir, "--listen", "127.0.0.1:0", "--ws-listen", "off",
		"--database", filepath.Join(t.TempDir(), "other.db"))
	if status != exitFailed || !strings.Contains(said, path) || !strings.Contains(said, "--state") {
		t.Errorf("a second program: exit status %d: %s", status, said)
	}
	if _, said, status := netlyra(t, "baseline", "reset", "--sensor", "test", "--state", dir); status != exitFailed || !strings.Contains(said, "in use") {
		t.Errorf("reset under a running program: exit status %d: %s", status, said)
	}
	if _, said, status := netlyra(t, "baseline", "show", "--sensor", "test", "--state", dir); status != exitOK {
		t.Errorf("show beside a running program: exit status %d: %s", status, said)
	}
	p.terminate()
}

// The baseline of the sample is shown, moved, forgotten in part and in whole, and brought back.
func TestBaselineCommand(t *testing.T) {
	dir := t.TempDir() + "/"
	of := []string{"--sensor", "test", "--state", dir}
	command := func(args ...string) string {
		t.Helper()
		out, said, status := netlyra(t, append(append([]string{"baseline"}, args...), of...)...)
		if status != exitOK {
			t.Fatalf("%v: exit status %d: %s", args, status, said)
		}
		return out
	}
	shown := func() (b detect.Baseline) {
		t.Helper()
		if err := json.Unmarshal([]byte(command("show", "--format", "json")), &b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, said, status := netlyra(t, append([]string{"baseline", "show"}, of...)...); status != exitFailed || !strings.Contains(said, "nothing has been saved") {
		t.Errorf("exit status %d: %s", status, said)
	}
	alerts, said, status := netlyra(t, append([]string{"analyze", "--quiet", "--format", "jsonl", sample}, of...)...)
	if status != exitOK {
		t.Fatal(said)
	}
	if without, _, _ := netlyra(t, "analyze", "--quiet", "--format", "jsonl", "--sensor", "test", sample); alerts != without {
		t.Errorf("a new state changes what is found (-without +with)\n%s", cmp.Diff(without, alerts))
	}
	path := state.Path(dir, "test")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	whole := shown()
	const server, mac = "10.77.0.10", "02:00:00:00:00:10"
	known := func(b *detect.Baseline) (all []string) {
		for _, h := range b.Hosts {
			all = append(all, h.Host)
		}
		return all
	}
	if whole.Watched < 60 || whole.Incidents != 0 || !strings.Contains(strings.Join(known(&whole), " "), mac) {
		t.Errorf("%+v", whole)
	}
	text := command("show", "--host", server)
	for _, part := range []string{"host " + mac, server, "services: ", "offers 4 services: 22/TCP, "} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	if text := command("show"); !strings.Contains(text, mac) || !strings.Contains(text, "SINCE") {
		t.Errorf("%s", text)
	}

	backup, one := filepath.Join(t.TempDir(), "all.state"), filepath.Join(t.TempDir(), "one.state")
	command("export", backup)
	command("export", "--host", mac, one)
	command("reset", "--host", server)
	if b := shown(); strings.Contains(strings.Join(known(&b), " "), mac) {
		t.Errorf("%s is not forgotten: %v", mac, known(&b))
	}
	command("import", one)
	if d := cmp.Diff(whole, shown()); d != "" {
		t.Errorf("forgotten and brought back (-before +after)\n%s", d)
	}
	command("reset")
	if _, _, status := netlyra(t, append([]string{"baseline", "show"}, of...)...); status != exitFailed {
		t.Error("all was forgotten, and yet is shown")
	}
	command("import", backup)
	if d := cmp.Diff(whole, shown()); d != "" {
		t.Errorf("all brought back (-before +after)\n%s", d)
	}
	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"show", "--host", "router"}, exitUsage, "hardware address"},
		{[]string{"show", "--host", "10.1.2.3"}, exitFailed, "baseline show"},
		{[]string{"import", sample}, exitFailed, "not a saved state"},
		{[]string{"import", "there-is-no-such-file"}, exitFailed, "no such file"},
		{[]string{"export", filepath.Join(backup, "x")}, exitFailed, backup},
	} {
		if _, said, status := netlyra(t, append(append([]string{"baseline"}, tc.args...), of...)...); status != tc.status || !strings.Contains(said, tc.says) {
			t.Errorf("%v: exit status %d, want %d: %s", tc.args, status, tc.status, said)
		}
	}
}

// After a restart nothing is learned anew.
func TestARestartDoesNotRelearn(t *testing.T) {
	database := filepath.Join(t.TempDir(), "netlyra.db")
	args := []string{"--read", sample, "--speed", "max", "--sensor", "test", "--state", memoryBeside(database)}
	var before float64
	for round := range 2 {
		p := startRun(t, nil, database, args...)
		var s models.Stats
		if p.get("api/v1/stats", &s); round > 0 && s.Detector.Parts["baseline"] < before {
			t.Errorf("learning is %v at the start, was %v at the end", s.Detector.Parts["baseline"], before)
		}
		until(t, "end of the file", func() bool {
			p.get("api/v1/stats", &s)
			return len(s.Interfaces) == 1 && s.Interfaces[0].Link == "ended"
		})
		before = s.Detector.Parts["baseline"]
		if before == 0 {
			t.Fatalf("nothing is learned: %+v", s.Detector)
		}
		p.terminate()
	}
}
