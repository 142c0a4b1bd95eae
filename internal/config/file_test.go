package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file writes a file of settings.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netlyra.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOneFileHolds(t *testing.T) {
	dotenv, machine, named := file(t, "NETLYRA_LISTEN=127.0.0.1:1"), file(t, "NETLYRA_LISTEN=127.0.0.1:2\nNETLYRA_RING_MB=7"), file(t, "NETLYRA_LISTEN=127.0.0.1:3")
	none := filepath.Join(t.TempDir(), "none")
	for _, tc := range []struct {
		name            string
		dotenv, machine string
		environ         []string
		args            []string
		listen          string
		ring            int
	}{
		{"none", none, none, nil, nil, "127.0.0.1:8090", 64},
		{"the machine's", none, machine, nil, nil, "127.0.0.1:2", 7},
		{".env", dotenv, machine, nil, nil, "127.0.0.1:1", 64},
		{"--config", dotenv, machine, nil, []string{"--config", named}, "127.0.0.1:3", 64},
		{"--config=", dotenv, machine, nil, []string{"--config=" + named}, "127.0.0.1:3", 64},
		{"by a variable", dotenv, machine, []string{"NETLYRA_CONFIG=" + named}, nil, "127.0.0.1:3", 64},
		{"off", dotenv, machine, nil, []string{"--config", "off"}, "127.0.0.1:8090", 64},
		{"the environment wins", dotenv, machine, []string{"NETLYRA_LISTEN=127.0.0.1:4"}, []string{"--config", named}, "127.0.0.1:4", 64},
		{"a flag wins", dotenv, machine, []string{"NETLYRA_LISTEN=127.0.0.1:4"}, []string{"--config", named, "--listen", "127.0.0.1:5"}, "127.0.0.1:5", 64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cli, err := Parse(Input{Args: append([]string{"run"}, tc.args...), Environ: tc.environ, Dotenv: tc.dotenv, Machine: tc.machine, Stdout: &bytes.Buffer{}})
			if err != nil {
				t.Fatal(err)
			}
			if cli.Run.Listen != tc.listen || cli.Run.RingMB != tc.ring {
				t.Errorf("%s, %d MiB, want %s, %d", cli.Run.Listen, cli.Run.RingMB, tc.listen, tc.ring)
			}
		})
	}
}

// A file that somebody else may have written is refused, wherever it is; one that tells a token to everybody is warned of.
func TestFilesAreTrustedByTheirOwner(t *testing.T) {
	const token = "NETLYRA_TOKEN=correct-horse-battery\n"
	for _, tc := range []struct {
		name  string
		mode  os.FileMode
		uid   int
		text  string
		says  string
		warns bool
	}{
		{"ours", 0o600, os.Geteuid(), token, "", false},
		{"readable by a group", 0o640, os.Geteuid(), token, "", false},
		{"readable by everybody", 0o644, os.Geteuid(), token, "", true},
		{"readable, without a token", 0o644, os.Geteuid(), "NETLYRA_RING_MB=7\n", "", false},
		{"writable by others", 0o602, os.Geteuid(), token, "chmod go-w", false},
		{"writable by the group", 0o660, os.Geteuid(), token, "chmod go-w", false},
		{"somebody else's", 0o600, 65_534, token, "user id 65534", false},
		{"no settings", 0o600, os.Geteuid(), "what is this?\n", "NETLYRA_NAME=value", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.uid != os.Geteuid() && os.Geteuid() != 0 {
				if os.Getenv("CI") == "true" {
					t.Fatal("only root can give a file away: run as root")
				}
				t.Skip("only root can give a file away: run as root")
			}
			path := file(t, tc.text)
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, tc.uid, -1); err != nil {
				t.Fatal(err)
			}
			for how, in := range map[string]Input{
				"--config": {Args: []string{"run", "--config", path}}, "machine": {Args: []string{"run"}, Machine: path}, "dotenv": {Args: []string{"run"}, Dotenv: path},
			} {
				in.Stdout = &bytes.Buffer{}
				cli, err := Parse(in)
				switch {
				case tc.says != "":
					if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path) {
						t.Errorf("%s: %v, want the path and %q", how, err, tc.says)
					}
				case err != nil:
					t.Errorf("%s: %v", how, err)
				case (len(cli.Warnings) > 0) != tc.warns || tc.warns && !strings.Contains(cli.Warnings[0], "chmod o-r "+path):
					t.Errorf("%s: %v", how, cli.Warnings)
				}
			}
		})
	}
	if _, err := Parse(Input{Args: []string{"run", "--config", "/nowhere/x.conf"}, Stdout: &bytes.Buffer{}}); err == nil || !strings.Contains(err.Error(), "--config /nowhere/x.conf") {
		t.Errorf("a missing file: %v", err)
	}
}

// What is on the command line takes the place of what excludes it and is from elsewhere.
func TestAFlagTakesThePlaceOfASetting(t *testing.T) {
	cli, err := parse(t, "", []string{"NETLYRA_INTERFACE=eth0", "NETLYRA_FILTER_BPF=x", "NETLYRA_TOKEN_FILE=/x"}, "run", "--read", "x.pcap", "--filter", "tcp", "--token", "correct-horse-battery")
	if err != nil {
		t.Fatal(err)
	}
	if r := cli.Run; len(r.Interface) > 0 || r.Read == "" || r.FilterBPF != "" || r.Filter != "tcp" || r.TokenFile != "" {
		t.Errorf("%+v", r)
	}
	_, err = parse(t, "", []string{"NETLYRA_INTERFACE=eth0", "NETLYRA_READ=x.pcap"}, "run")
	if err == nil || !strings.Contains(err.Error(), "NETLYRA_INTERFACE") || !strings.Contains(err.Error(), "NETLYRA_READ") {
		t.Errorf("both from the environment: %v", err)
	}
}
