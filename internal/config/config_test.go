package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write .env.example anew")

// example is .env.example as the struct wants it: every setting, commented out, with its default.
func example(t *testing.T) string {
	t.Helper()
	run, others, err := Flags()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Every setting of netlyra run with its default. Copy this file to .env or " + MachineFile + " and take away the # of what you change.\n" +
		"# Flags win over the environment, the environment over the file. `netlyra config print` shows what holds.\n")
	list(&b, run)
	b.WriteString("\n# What follows are settings of other commands: analyze, alert, exception.\n")
	list(&b, others)
	return b.String()
}

func list(b *strings.Builder, flags []*kong.Flag) {
	for _, f := range flags {
		if f.Name == "config" {
			continue // it names this file
		}
		value := f.Default
		if f.IsBool() && value == "" {
			value = "false"
		}
		if f.Name == "sensor" {
			value = "" // the name of the machine
		}
		fmt.Fprintf(b, "\n# %s\n#%s=%s\n", strings.ReplaceAll(f.Help, "\n", " "), Variable(f.Name), value)
	}
}

func TestEnvExampleListsEverySetting(t *testing.T) {
	want := example(t)
	if *update {
		if err := os.WriteFile("../../.env.example", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("go test ./internal/config -update writes it anew (-want +got)\n%s", d)
	}
}

func parse(t *testing.T, dotenv string, environ []string, args ...string) (*CLI, error) {
	t.Helper()
	path := ""
	if dotenv != "" {
		path = filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(path, []byte(dotenv), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Parse(Input{Args: args, Environ: environ, Dotenv: path, Stdout: &bytes.Buffer{}})
}

func TestPrecedence(t *testing.T) {
	for _, tc := range []struct {
		name    string
		dotenv  string
		environ []string
		args    []string
		want    string
	}{
		{"default", "", nil, nil, "127.0.0.1:8090"},
		{"file", "NETLYRA_LISTEN=127.0.0.1:1", nil, nil, "127.0.0.1:1"},
		{"environment over file", "NETLYRA_LISTEN=127.0.0.1:1", []string{"NETLYRA_LISTEN=127.0.0.1:2"}, nil, "127.0.0.1:2"},
		{"flag over all", "NETLYRA_LISTEN=127.0.0.1:1", []string{"NETLYRA_LISTEN=127.0.0.1:2"}, []string{"--listen", "127.0.0.1:3"}, "127.0.0.1:3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cli, err := parse(t, tc.dotenv, tc.environ, append([]string{"run"}, tc.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if cli.Run.Listen != tc.want {
				t.Errorf("%s, want %s", cli.Run.Listen, tc.want)
			}
		})
	}
}

// What a capture shows is not what is normal here, unless that is what somebody wants.
func TestACaptureKeepsNothingUnlessTold(t *testing.T) {
	for _, tc := range []struct {
		name    string
		environ []string
		args    []string
		want    string
	}{
		{"an interface", nil, nil, "memory"},
		{"an interface, elsewhere", []string{"NETLYRA_STATE=/var/lib/netlyra"}, nil, "/var/lib/netlyra"},
		{"a capture", nil, []string{"--read", "x.pcap"}, StateOff},
		{"a capture, with a setting for interfaces", []string{"NETLYRA_STATE=/var/lib/netlyra"}, []string{"--read", "x.pcap"}, StateOff},
		{"a capture, and told to", []string{"NETLYRA_STATE=/var/lib/netlyra"}, []string{"--read", "x.pcap", "--state", "there"}, "there"},
		{"told to, a capture", nil, []string{"--state=there", "--read", "x.pcap"}, "there"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cli, err := parse(t, "", tc.environ, append([]string{"run"}, tc.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if cli.Run.State != tc.want {
				t.Errorf("%q, want %q", cli.Run.State, tc.want)
			}
		})
	}
	if cli, err := parse(t, "", []string{"NETLYRA_STATE=there"}, "analyze", "x.pcap"); err != nil || cli.Analyze.State != "" {
		t.Errorf("analyze: %v, %v", cli, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		dotenv string
		args   []string
		says   []string
	}{
		{"a negative number of talkers", "", []string{"analyze", "--top=-1", "x.pcap"}, []string{"--top", "0 or more"}},
		{"a size that no number holds", "", []string{"run", "--database-max-mb=9223372036854775807"}, []string{"--database-max-mb", "must be 1 to"}},
		{"an endless budget", "", []string{"run", "--alert-budget=inf"}, []string{"--alert-budget", "finite"}},
		{"all at once", "", []string{"run", "--workers=0", "--ring-mb=0", "--tls-cert=x", "--loop"}, []string{"--workers", "--ring-mb", "--tls-key", "--read"}},
		{"unknown key in the file", "NETLYRA_LISTN=x\nNETLYRA_WORKER=3", []string{"run"}, []string{"NETLYRA_LISTN", "NETLYRA_WORKER"}},
		{"bad value in the file", "NETLYRA_WORKERS=many", []string{"run"}, []string{"--workers", "many"}},
		{"file that is none", "what is this?", []string{"run"}, []string{".env"}},
		{"two sources", "", []string{"run", "-i", "eth0", "-r", "x.pcap"}, []string{"--interface", "--read"}},
		{"addresses", "", []string{"run", "--listen", "8090", "--ws-listen", "0.0.0.0:8091", "--token="}, []string{"host:port", "0.0.0.0:8091", "--token"}},
		{"a token that can be guessed", "", []string{"run", "--token", "secret"}, []string{"--token", "16"}},
		{"loop of a pipe", "", []string{"run", "-r", "-", "--loop"}, []string{"standard input"}},
		{"trees without a seed", "", []string{"bench", "trees", ".", "--trees-seeds", "0"}, []string{"--trees-seeds"}},
		{"analyze, all at once", "", []string{"analyze", "x.pcap", "--workers", "0", "--top", "-1", "--summary", "-"}, []string{"--workers 0", "--top -1", "--summary -"}},
		{"a summary among the alerts", "", []string{"analyze", "x.pcap", "--summary", "-"}, []string{"--summary -: name a file"}},
		{"unknown command", "", []string{"bogus"}, []string{"bogus", "netlyra --help"}},
		{"unknown subcommand", "", []string{"exception", "bogus"}, []string{"bogus", "netlyra help exception explains"}},
		{"unknown flag", "", []string{"alert", "list", "--nosuch"}, []string{"--nosuch", "netlyra help alert list explains"}},
		{"missing argument", "", []string{"exception", "remove"}, []string{"<id>", "netlyra help exception remove explains"}},
		{"missing flag", "", []string{"exception", "add", "--port", "1"}, []string{"--reason", "netlyra help exception add explains"}},
		{"no memory", "", []string{"run", "--state=", "--state-every=1ms"}, []string{"--state is empty", "--state-every"}},
		{"the baseline of nothing", "NETLYRA_STATE=off", []string{"baseline", "show"}, []string{"--state"}},
		{"no command", "", []string{}, []string{"run"}},
		{
			"kinds and ranges together", "NETLYRA_RING_MB=lots\nNETLYRA_NOSUCH=1",
			[]string{"run", "--workers", "many", "--max-connections", "9", "--alert-age", "soon", "--log-level", "loud", "--loop=maybe"},
			[]string{"--workers many", "--max-connections 9", "--alert-age soon", "30d", "--ring-mb lots", "NETLYRA_RING_MB", "NETLYRA_NOSUCH", "--log-level loud", "debug, info", "--loop"},
		},
		{"unknown flags", "", []string{"run", "--nosuch", "1", "--workers", "0", "--other=2"}, []string{"--nosuch", "--other", "--workers 0"}},
		{"a sensor's name that is no key", "", []string{"run", "--sensor", "a\x07"}, []string{"--sensor", "control characters"}},
		{"a sensor's name of other bytes", "", []string{"run", "--sensor", "a\xff"}, []string{"--sensor", "UTF-8"}},
		{"negative", "", []string{"run", "--alert-age", "-1h", "--ring-mb", "-5"}, []string{"--alert-age -1h: must be positive", "--ring-mb -5"}},
		{"no value", "", []string{"run", "--workers", "--loop"}, []string{"--workers needs a value"}},
		{"no address", "", []string{"run", "--listen", "999.1.1.1:80", "--ws-listen", "a_b c:1"}, []string{"--listen 999.1.1.1:80", "neither an address nor a name", "--ws-listen"}},
		{"no hosts", "", []string{"run", "--allowed-hosts", "http://x/,ok.example", "--allowed-hosts", "a..b"}, []string{"--allowed-hosts http://x/"}},
		{"settings of bench", "NETLYRA_SEED=1", []string{"run"}, []string{"NETLYRA_SEED"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse(t, tc.dotenv, nil, tc.args...)
			if _, ok := errors.AsType[*UsageError](err); !ok {
				t.Fatalf("%v: not a usage error", err)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not name %s", err, s)
				}
			}
		})
	}
}

func TestSettingsSayWhereTheyAreFromAndKeepSecrets(t *testing.T) {
	settings, err := Settings(Input{Environ: []string{"NETLYRA_TOKEN=0123456789abcdef0123", "NETLYRA_SENSOR=a"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Setting{}
	for _, s := range settings {
		got[s.Variable] = s
	}
	if s := got["NETLYRA_TOKEN"]; s.Value != "(set)" || s.Origin != "environment" {
		t.Errorf("%+v", s)
	}
	if s := got["NETLYRA_SENSOR"]; s.Value != "a" || s.Origin != "environment" {
		t.Errorf("%+v", s)
	}
	if s := got["NETLYRA_LISTEN"]; s.Value != "127.0.0.1:8090" || s.Origin != "default" {
		t.Errorf("%+v", s)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1GB": 1e9, "64MiB": 64 << 20, "1500": 1500, "2 kB": 2000, "": 0, "-1": 0, "1XB": 0, "99999999999GiB": 0} {
		got, err := ParseSize(s)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
}

// A file of settings that somebody else may have put into the directory is refused: it names files that are written.
func TestSomebodyElsesSettingsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		mode os.FileMode
		uid  int
		says string
	}{
		{"ours", 0o600, os.Geteuid(), ""},
		{"ours, readable", 0o644, os.Geteuid(), ""},
		{"writable by others", 0o666, os.Geteuid(), "chmod go-w"},
		{"writable by the group", 0o664, os.Geteuid(), "chmod go-w"},
		{"somebody else's", 0o600, 65_534, "user id 65534"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.uid != os.Geteuid() && os.Geteuid() != 0 {
				if os.Getenv("CI") == "true" {
					t.Fatal("only root can give a file away: run as root")
				}
				t.Skip("only root can give a file away: run as root")
			}
			path := filepath.Join(t.TempDir(), ".env")
			for _, err := range []error{
				os.WriteFile(path, []byte("NETLYRA_SUMMARY=/etc/victim\n"), 0o600), os.Chmod(path, tc.mode), os.Chown(path, tc.uid, -1),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			_, err := Parse(Input{Args: []string{"analyze", "x.pcap"}, Dotenv: path, Stdout: io.Discard})
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("%v, want an error with %q", err, tc.says)
			}
		})
	}
}

func TestACaptureHasADatabaseOfItsOwn(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "--read", "x.pcap"}, DatabaseTemporary},
		{[]string{"run", "--read", "x.pcap", "--database", "/d/x.db"}, "/d/x.db"},
		{[]string{"run", "--database", "temporary"}, DatabaseTemporary},
	} {
		cli, err := parse(t, "", []string{"NETLYRA_DATABASE=/d/live.db"}, tc.args...)
		if err != nil || cli.Run.Database != tc.want {
			t.Errorf("%v: %q, %v, want %q", tc.args, cli.Run.Database, err, tc.want)
		}
	}
}

func TestAnInterfaceIsWatchedOnce(t *testing.T) {
	if _, err := parse(t, "", nil, "run", "-i", "a", "-i", "b", "-i", "a"); err == nil || !strings.Contains(err.Error(), "--interface a: given twice") {
		t.Errorf("%v, want an error that names the interface", err)
	}
	cli, err := parse(t, "", nil, "run", "-i", "a,b", "-i", `c\,d`)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a", "b", "c,d"}, cli.Run.Interface); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A name that is no text of UTF-8 comes as it is.
func TestBytesOfNamesAreKept(t *testing.T) {
	const name = "caf\xe9\x1b.pcap"
	cli, err := parse(t, "", []string{"NETLYRA_STATE=" + name}, "analyze", name, "--summary", "/"+name)
	if err != nil || cli.Analyze.Files[0] != name || cli.Analyze.Summary != "/"+name {
		t.Errorf("%q, %q, %v", cli.Analyze.Files, cli.Analyze.Summary, err)
	}
	cli, err = parse(t, "", []string{"NETLYRA_STATE=" + name}, "run", "--database", "/"+name)
	if err != nil || cli.Run.State != name || cli.Run.Database != "/"+name {
		t.Errorf("%q, %q, %v", cli.Run.State, cli.Run.Database, err)
	}
}

func TestHosts(t *testing.T) {
	for _, ok := range []string{"netlyra.example.org", "netlyra.example.org:8090", "localhost", "192.0.2.7", "192.0.2.7:80", "[2001:db8::1]:80", "[2001:db8::1]", "2001:db8::1", "a_b", "host.", "9gag.example"} {
		if !isHost(ok) {
			t.Errorf("%s is refused", ok)
		}
	}
	for _, bad := range []string{"", "http://x/", "x/y", "a b", "999.1.1.1", "1.2.3", "a..b", "x:port", strings.Repeat("a", 64), "\x1b"} {
		if isHost(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}
