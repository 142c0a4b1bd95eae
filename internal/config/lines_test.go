package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/joho/godotenv"
)

// No error about a file of settings quotes what is in it: a token may stand there.
func TestErrorsKeepWhatAFileHolds(t *testing.T) {
	const secret = "correct-horse-battery"
	for _, tc := range []struct {
		name, text string
		says       []string
	}{
		{"a blank in the name", "NETLYRA_RING_MB=7\nNETLYRA TOKEN=" + secret, []string{"line 2: "}},
		{"no equals sign", "NETLYRA_TOKEN " + secret, []string{"line 1: "}},
		{"the token alone", secret, []string{"line 1: "}},
		{"a token that ends like a name", strings.ReplaceAll(secret, "-", "") + "==", []string{"line 1: ", "NETLYRA_"}},
		{"two lines", "# a comment\n\nwhat is this?\nNETLYRA_TOKEN=" + secret + "\nand this?", []string{"line 3: ", "line 5: "}},
		{"a quote that stays open", "NETLYRA_SENSOR=a\nNETLYRA_TOKEN=\"" + secret + "\nNETLYRA_RING_MB=7\n", []string{"line 2: the quote"}},
		{"text behind a quote", "NETLYRA_TOKEN='" + secret + "' " + secret + "\n", []string{"line 1: the quote"}},
		{"other mistakes beside", "NETLYRA_TOKEN=" + secret + "\n?\nNETLYRA_LISTN=x\nNETLYRA_WORKERS=0", []string{"line 2: ", "NETLYRA_LISTN", "--workers 0", "--ring-mb 0"}},
		{"not ours", "TOKEN=" + secret + "\nNETLRYA_LISTEN=x\n", []string{"line 1: ", "line 2: ", "NETLYRA_"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := file(t, tc.text)
			cli, err := Parse(Input{Args: []string{"run", "--config", path, "--ring-mb", "0"}, Stdout: &bytes.Buffer{}})
			if _, ok := errors.AsType[*UsageError](err); !ok {
				t.Fatalf("%v: not a usage error", err)
			}
			if cli == nil {
				t.Error("what else was said is lost")
			}
			for _, want := range append(tc.says, path, "--ring-mb 0") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			for _, part := range []string{secret, "correct", "horse"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q is in the error: %v", part, err)
				}
			}
			if _, err := Settings(Input{Args: []string{"config", "print", "--config", path}}); err == nil || strings.Contains(err.Error(), "horse") {
				t.Errorf("config print: %v", err)
			}
		})
	}
}

// .env may be for other programs, too: what is not ours there is let be, but a name that was meant for us is warned of.
func TestNamesOfOthers(t *testing.T) {
	for _, tc := range []struct {
		text  string
		warns bool
	}{
		{"NETLRYA_LISTEN=x", true},
		{"netlyra_listen=x", true},
		{"NETLYRALISTEN=x", true},
		{"NTLYRA_LISTEN=x", true},
		{"export NET_LYRA_LISTEN=x", true},
		{"NETLIFY_TOKEN=x", false},
		{"GOMEMLIMIT=1GiB", false},
		{"DATABASE_URL='postgres://x'  # theirs", false},
		{"KEY=\"-----BEGIN\nNETLRYA_X=\n-----END\"", false},
		{"A=x", false},
	} {
		t.Run(tc.text, func(t *testing.T) {
			path := file(t, "NETLYRA_RING_MB=7\n"+tc.text+"\n")
			cli, err := Parse(Input{Args: []string{"run"}, Dotenv: path, Stdout: &bytes.Buffer{}})
			if err != nil || cli.Run.RingMB != 7 {
				t.Fatal(err)
			}
			if warned := len(cli.Warnings) > 0; warned != tc.warns || warned && !strings.Contains(cli.Warnings[0], path+": line 2: ") {
				t.Errorf("%v", cli.Warnings)
			}
			for how, in := range map[string]Input{"--config": {Args: []string{"run", "--config", path}}, "machine": {Args: []string{"run"}, Machine: path}} {
				in.Stdout = &bytes.Buffer{}
				if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), path+": line 2: ") {
					t.Errorf("%s: %v", how, err)
				}
			}
		})
	}
}

// What is found to be in order is so for godotenv, name by name; so its errors, which quote the file, do not occur.
func FuzzStatements(f *testing.F) {
	for _, s := range []string{"A=b", "export A = \"b\\\" c\" # d\nB='x\ny'\n", "A=\"\\\\\"\"", "A='b' c", "A:\r\n=\nexport\n", "A=\u00a0'x\"", "A=''''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := statements(text)
		want := map[string]bool{}
		var whole []string
		for _, s := range all {
			want[s.name] = true
			whole = append(whole, s.text)
		}
		vars, err := godotenv.Unmarshal(strings.Join(whole, "\n"))
		if err != nil {
			t.Fatalf("%q: %v", whole, err)
		}
		for name := range want {
			if _, ok := vars[name]; !ok {
				t.Errorf("%q: no %s in %v", whole, name, vars)
			}
		}
		if len(vars) != len(want) {
			t.Errorf("%q: %v, want %v", whole, vars, want)
		}
	})
}
