package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"netlyra/internal/nettest"
)

// The scripts complete commands, flags, values and interfaces in the shells themselves.
func TestCompletion(t *testing.T) {
	path := filepath.Dir(netlyraBinary(t)) + ":" + os.Getenv("PATH")
	for _, shell := range []struct {
		name   string
		args   []string
		script string // prints what a command line is completed to; @LINE stands for it
	}{
		{"bash", []string{"--norc", "-c"}, `
source <(netlyra completion bash)
COMP_LINE='@LINE' COMP_POINT=${#COMP_LINE} COMP_WORDS=(@WORDS)
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _netlyra; printf '%s\n' "${COMPREPLY[@]}"`},
		{"fish", []string{"--no-config", "-c"}, "netlyra completion fish | source\ncomplete -C '@LINE'"},
		{"zsh", []string{"-f", "-c"}, `
zmodload zsh/zpty
zpty -b z env TERM=dumb zsh -f -i
zpty -w z 'PS1=; autoload -U compinit; compinit -u -D; source <(netlyra completion zsh); echo RE""ADY'
zpty -r z out '*READY*'
zpty -w -n z '@LINE'$'\t\t'
for want in @WANTS; do zpty -r z out "*$want*"; print -r -- "$out"; done
zpty -d z`},
	} {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := exec.LookPath(shell.name); err != nil {
				nettest.Unavailable(t, shell.name+" is missing: apt-get install "+shell.name)
			}
			for _, tc := range []struct {
				line  string
				words string // as bash splits it
				want  []string
			}{
				{"netlyra al", "netlyra al", []string{"alert"}},
				{"netlyra alert ", "netlyra alert ''", []string{"ack", "list", "show"}},
				{"netlyra run --listen 127.0.0.1:0 --li", "netlyra run --listen 127.0.0.1 : 0 --li", []string{"--listen"}},
				{"netlyra run --speed m", "netlyra run --speed m", []string{"max"}},
				{"netlyra run --speed=m", "netlyra run --speed = m", []string{"max"}},
				{"netlyra run -i l", "netlyra run -i l", []string{"lo"}},
				{"netlyra exception add --category port_", "netlyra exception add --category port_", []string{"port_scan"}},
				{"netlyra alert list --severity cr", "netlyra alert list --severity cr", []string{"critical"}},
				{"netlyra alert list --severity high,cr", "netlyra alert list --severity high,cr", []string{"high,critical"}},
				{"netlyra help fi", "netlyra help fi", []string{"filter"}},
			} {
				ctx, stop := context.WithTimeout(t.Context(), patience)
				script := strings.NewReplacer("@LINE", tc.line, "@WORDS", tc.words, "@WANTS", strings.Join(tc.want, " ")).Replace(shell.script)
				c := exec.CommandContext(ctx, shell.name, append(shell.args, script)...)
				c.Dir = t.TempDir()
				c.Env = append(os.Environ(), "PATH="+path, "HOME="+c.Dir, "NETLYRA_CONFIG=off")
				out, err := c.CombinedOutput()
				stop()
				if err != nil {
					t.Errorf("%s: %v: %s", tc.line, err, out)
				}
				for _, want := range tc.want {
					if !strings.Contains(string(out), want) {
						t.Errorf("%q is completed to %q, want %s", tc.line, out, want)
					}
				}
			}
		})
	}
}

// Where the program knows nothing that may follow, the shell offers files.
func TestCompletionLeavesFilesToTheShell(t *testing.T) {
	for _, words := range [][]string{{"analyze", ""}, {"run", "--read", ""}, {"run", "--database=/var/l"}} {
		if out, stderr, status := netlyra(t, append([]string{"complete", "--"}, words...)...); out != "" || status != exitOK {
			t.Errorf("%v: %d, %q, %s", words, status, out, stderr)
		}
	}
}
