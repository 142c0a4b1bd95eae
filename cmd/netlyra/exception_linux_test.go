package main

import (
	"encoding/json"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"netlyra/internal/config"
	"netlyra/internal/models"
)

// listed are the alerts of the list, by id.
func (p *process) listed(query string) map[string]models.Alert {
	p.t.Helper()
	var page struct{ Items []models.Alert }
	p.get("api/v1/alerts?limit=500"+query, &page)
	all := map[string]models.Alert{}
	for _, a := range page.Items {
		all[a.ID] = a
	}
	return all
}

// until asks again until the answer is right.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

func scanned(alerts map[string]models.Alert) int {
	n := 0
	for _, a := range alerts {
		if a.Category == models.CategoryPortScan {
			n++
		}
	}
	return n
}

// An exception made on the command line hides the scan from the list and from who listens, and counts it; removed, it shows it
// again. The program's restart changes nothing about that.
func TestException(t *testing.T) {
	database := filepath.Join(t.TempDir(), "netlyra.db")
	p := startRun(t, nil, database, "--read", sample, "--speed", "max")
	exception := func(args ...string) string {
		t.Helper()
		args = append(append([]string{"exception"}, args...), "--api", p.page)
		out, stderr, status := netlyra(t, args...)
		if status != exitOK {
			t.Fatalf("%v: exit status %d: %s", args, status, stderr)
		}
		return out
	}
	until(t, "scan and flood", func() bool { return len(p.listed("")) == 2 })
	var scan models.Alert
	for _, a := range p.listed("&category=port_scan") {
		scan = a
	}
	about := []string{"--category", "port_scan", "--host", scan.DstIP, "--peer", scan.SrcIP}
	if out := exception("list"); out != "no exceptions\n" {
		t.Errorf("at first: %s", out)
	}
	if out := exception(append([]string{"preview"}, about...)...); !strings.Contains(out, "would hide: 1\n"+scan.TS.Time().Local().Format(localTime)) || !strings.Contains(out, scan.ID) {
		t.Errorf("preview: %s", out)
	}
	if n := len(p.listed("")); n != 2 {
		t.Errorf("after the preview %d alerts are listed, want 2", n)
	}
	out := exception(append([]string{"add", "--reason", "our own scanner", "--expires", "30d"}, about...)...)
	id, _, _ := strings.Cut(out, ":")
	if !strings.Contains(out, "past incidents hidden: 1;") || !strings.Contains(out, "expires: "+time.Now().Add(30*24*time.Hour).Format("2006-01-02 ")) || !strings.HasSuffix(out, time.Now().Add(30*24*time.Hour).Format(" MST\n")) {
		t.Errorf("add: %s", out)
	}
	again := append([]string{"exception", "add", "--reason", "again", "--api", p.page}, about...)
	if _, stderr, status := netlyra(t, again...); status != exitFailed || !strings.Contains(stderr, "exception "+id+" says that already: remove it first: netlyra exception remove "+id+"\n") {
		t.Errorf("again: exit status %d: %s", status, stderr)
	}
	var all []models.Exception
	if err := json.Unmarshal([]byte(exception("list", "--format", "json")), &all); err != nil || len(all) != 1 || all[0].ID != id || all[0].Reason != "our own scanner" {
		t.Errorf("list as JSON: %+v, %v", all, err)
	}
	if n := scanned(p.listed("")); n != 0 {
		t.Errorf("%d scans are listed", n)
	}
	if a := p.listed("&triage=hidden")[scan.ID]; a.HiddenBy != id {
		t.Errorf("%q hides the scan, not %s", a.HiddenBy, id)
	}
	p.terminate()

	p = startRun(t, nil, database, "--read", sample, "--speed", "max", "--loop")
	l := p.listen()
	floods := func(n int) func(map[string]models.Alert) bool {
		return func(alerts map[string]models.Alert) bool { return len(alerts)-scanned(alerts) >= n }
	}
	l.await(t, "second flood", floods(2)) // with a scan before it
	if n := scanned(l.seen()); n != 0 {
		t.Errorf("%d scans were sent to who listens", n)
	}
	until(t, "further scan among the hidden ones", func() bool { return scanned(p.listed("&triage=hidden")) > 1 })
	if out := exception("list"); !strings.Contains(out, id) || !strings.Contains(out, "our own scanner") || !strings.Contains(out, "port_scan, host "+scan.DstIP) {
		t.Errorf("list: %s", out)
	}
	if strings.Contains(p.said(), `"category":"port_scan"`) {
		t.Errorf("the terminal was told of the scan:\n%s", p.said())
	}
	p.terminate()

	p = startRun(t, nil, database, "--read", sample, "--speed", "max")
	var s models.Stats
	until(t, "account of all revisions", func() bool {
		p.get("api/v1/stats", &s)
		a := s.Alerts
		return a.Suppressed > 0 && a.Stored > 0 && a.Raised == a.Stored+a.Suppressed+a.Dropped
	})
	hidden := scanned(p.listed("&triage=hidden"))
	exception("remove", id)
	if n := scanned(p.listed("")); n != hidden || hidden < 3 {
		t.Errorf("with the exception removed, %d scans are listed; %d were hidden", n, hidden)
	}
	p.terminate()
}

func TestExceptionMistakes(t *testing.T) {
	p := startRun(t, nil, filepath.Join(t.TempDir(), "netlyra.db"), "--read", sample, "--token", "correct-horse-battery")
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	here := []string{"--api", p.page, "--token", "correct-horse-battery"}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   []string
	}{
		{"nobody there", []string{"list", "--api", "http://" + nobody.Addr().String()}, exitFailed, []string{nobody.Addr().String(), "netlyra run", "--api"}},
		{"no address", []string{"list", "--api", "127.0.0.1:8090"}, exitUsage, []string{"--api", "http://host:port"}},
		{"token in the clear", []string{"list", "--api", "http://192.0.2.1:8090", "--token", "x"}, exitUsage, []string{"https"}},
		{"no token", []string{"list", "--api", p.page}, exitUsage, []string{"--token", "NETLYRA_TOKEN"}},
		{"no certificate", append([]string{"list", "--tls-cert", "no-such.pem"}, here...), exitFailed, []string{"no-such.pem"}},
		{"nothing said", append([]string{"add", "--reason", "r"}, here...), exitUsage, []string{"a host, a peer, a port or a category"}},
		{"no reason", append([]string{"add", "--port", "22"}, here...), exitUsage, []string{"--reason"}},
		{"bad host", append([]string{"preview", "--host", "printer"}, here...), exitUsage, []string{"host", "printer", "address or a prefix"}},
		{"bad category", append([]string{"preview", "--category", "scan"}, here...), exitUsage, []string{"scan", "port_scan"}},
		{"bad expiry", append([]string{"add", "--port", "22", "--reason", "r", "--expires", "soon"}, here...), exitUsage, []string{"--expires soon", "30d"}},
		{
			"all at once", append([]string{"add", "--category", "flod", "--host", "bad", "--peer", "0.0.0.0/0", "--port", "x", "--proto", "FOO", "--sensor", "a\nb", "--reason", "", "--expires", "soon"}, here...), exitUsage,
			[]string{`--category: "flod"`, `--host: "bad"`, `--peer: "0.0.0.0/0"`, "--port x", `--proto: "FOO"`, "--sensor", "--reason: say why", "--expires soon"},
		},
		{"a reason that is no text", append([]string{"add", "--port", "22", "--reason", "a\xff"}, here...), exitUsage, []string{"--reason: ", "UTF-8"}},
		{"past expiry", append([]string{"add", "--port", "22", "--reason", "r", "--expires", "2001-01-01T00:00:00Z"}, here...), exitUsage, []string{"expires", "past"}},
		{"no such exception", append([]string{"remove", "none"}, here...), exitFailed, []string{`there is no exception "none": netlyra exception list`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, stderr, status := netlyra(t, append([]string{"exception"}, tt.args...)...)
			said := out + stderr // usage is printed on standard output
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			if i := slices.IndexFunc(tt.want, func(w string) bool { return !strings.Contains(said, w) }); i >= 0 {
				t.Errorf("no %q in: %s", tt.want[i], said)
			}
		})
	}
}

// A program that others can reach has a certificate of its own: the command trusts it when it is named, and only then.
func TestExceptionOverTLS(t *testing.T) {
	dir := t.TempDir()
	p := startRun(t, nil, filepath.Join(dir, "netlyra.db"), "--read", sample, "--token", "correct-horse-battery", "--listen", "0.0.0.0:0")
	u, err := url.Parse(p.page)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"exception", "list", "--token", "correct-horse-battery", "--api", "https://127.0.0.1:" + u.Port()}
	if _, stderr, status := netlyra(t, list...); status != exitFailed || !strings.Contains(stderr, "--tls-cert") {
		t.Errorf("without the certificate: exit status %d: %s", status, stderr)
	}
	out, stderr, status := netlyra(t, append(list, "--tls-cert", filepath.Join(dir, "tls", "netlyra-cert.pem"))...)
	if status != exitOK || out != "no exceptions\n" {
		t.Errorf("with it: exit status %d: %s%s", status, out, stderr)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"12h": now.Add(12 * time.Hour), "1d": now.Add(24 * time.Hour), "90m": now.Add(90 * time.Minute),
		"2026-02-01T01:00:00+01:00": time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), "never": {},
		"": now, "d": now, "-1d": now, "0d": now, "-5m": now, "999999d": now, "tomorrow": now, "2026-02-01": now,
	} {
		got, err := config.ParseExpiry(text, now)
		switch {
		case want.Equal(now):
			if err == nil {
				t.Errorf("%q is read as %v", text, got)
			}
		case err != nil || want.IsZero() && got != 0 || !want.IsZero() && !got.Time().Equal(want):
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestWhatIsPrintedIsPlain(t *testing.T) {
	if got := plain("a\x1b[2Jb\nc\u202ed é"); got != "a\ufffd[2Jb\ufffdc\ufffdd é" {
		t.Errorf("%q", got)
	}
}
