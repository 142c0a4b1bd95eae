package config

import (
	"fmt"
	"io"
	"slices"

	"github.com/alecthomas/kong"

	"netlyra"
)

// Flags lists the flags that are settings, each name once, with help and default: those of run, and those that only other commands
// have.
func Flags() (run, others []*kong.Flag, err error) {
	p := &parsing{set: &settings{}, checker: &checker{}}
	parser, err := p.newParser(&CLI{})
	if err != nil {
		return nil, nil, err
	}
	all := flagsBelow(parser.Model.Node)
	seen := map[string]bool{}
	for _, n := range append([]*kong.Node{parser.Model.Node}, parser.Model.Children...) {
		if n.Type == kong.ApplicationNode || n.Name == "run" {
			for _, f := range n.Flags {
				seen[f.Name] = true
			}
		}
	}
	for _, f := range all {
		if seen[f.Name] {
			run = append(run, f)
		} else {
			others = append(others, f)
		}
	}
	return run, others, nil
}

// topicFilter is the subject of help that is no command.
const topicFilter = "filter"

// help explains a command, as its --help does, or a topic. It returns ErrHelp when it has.
func (p *parsing) help(topic []string) error {
	if slices.Equal(topic, []string{topicFilter}) {
		if _, err := io.WriteString(p.in.Stdout, netlyra.FilterSyntax); err != nil {
			return err
		}
		return ErrHelp
	}
	in := p.in
	in.Args = append(slices.Clone(topic), "--help")
	_, err := Parse(in)
	if usage, ok := err.(*UsageError); ok { //nolint:errorlint // it is Parse's own, not wrapped
		return &UsageError{Err: fmt.Errorf("help: %w; topics are the commands and %s", usage.Err, topicFilter)}
	}
	return err
}

// What follows is shown by --help below the first line; kong asks for it by this name.

// Help gives examples.
func (*Run) Help() string {
	return `Examples:

    netlyra run                                 the interface of the default route; needs root or CAP_NET_RAW
    netlyra run -i eth0 -i eth1                 two interfaces
    netlyra run -i eth0 --filter 'not port 22'  without some packets; netlyra help filter
    netlyra run --read capture.pcap --loop      a capture, as if it came in now
    netlyra run --listen 0.0.0.0:8090 --token-file /etc/netlyra/token
                                                for other machines: with a token, over TLS

"netlyra config check" with the same flags says whether it would start.`
}

// Help gives examples.
func (*Detect) Help() string {
	return `Examples:

    netlyra detect --brokers kafka-1:9092
    netlyra detect --brokers kafka-1:9092 --alert-budget 2 --metrics-listen 127.0.0.1:9100

Any number of them share the sensors; a sensor publishes with
"netlyra run --brokers kafka-1:9092 --publish slots --detector external".`
}

// Help gives examples.
func (*Serve) Help() string {
	return `Examples:

    netlyra serve --brokers kafka-1:9092
    netlyra serve --brokers kafka-1:9092 --listen 0.0.0.0:8090 --token-file /etc/netlyra/token

Sensors publish with "netlyra run --brokers kafka-1:9092".`
}

// Help gives examples.
func (*Analyze) Help() string {
	return `Examples:

    netlyra analyze capture.pcap
    netlyra analyze --format jsonl --summary summary.json *.pcap.zst > alerts.jsonl
    netlyra analyze --emit slots capture.pcap > slots.zst
    tcpdump -w - -c 10000 | netlyra analyze -

The exit status is 0 when all was read, 3 when a file was damaged, 2 for wrong usage, 1 for everything else.`
}

// Help gives examples.
func (*Alert) Help() string {
	return `Examples:

    netlyra alert list --severity high,critical --since 1d
    netlyra alert show 1f0c2d3e4a5b6978
    netlyra alert ack 1f0c2d3e4a5b6978`
}

// Help gives examples.
func (*AlertList) Help() string {
	return `Examples:

    netlyra alert list
    netlyra alert list --host 192.0.2.0/24 --severity high,critical --since 7d
    netlyra alert list --triage hidden --format json

Times are local; JSON has UTC.`
}

// Help gives examples.
func (*AlertShow) Help() string {
	return `Example:

    netlyra alert show 1f0c2d3e4a5b6978`
}

// Help gives examples.
func (*AlertAck) Help() string {
	return `Example:

    netlyra alert ack 1f0c2d3e4a5b6978 9a0b1c2d3e4f5a6b`
}

// Help gives examples.
func (*Exception) Help() string {
	return `Examples:

    netlyra exception preview --category exfiltration --host 192.0.2.7 --peer 192.0.2.80
    netlyra exception add --category exfiltration --host 192.0.2.7 --peer 192.0.2.80 --reason "nightly backup" --expires 30d
    netlyra exception list
    netlyra exception remove 9a0b1c2d3e4f5a6b`
}

// Help gives examples.
func (*ExceptionList) Help() string {
	return `Examples:

    netlyra exception list
    netlyra exception list --format json --token-file /etc/netlyra/token`
}

// Help gives examples.
func (*ExceptionAdd) Help() string {
	return `Example:

    netlyra exception add --category port_scan --host 192.0.2.7 --reason "our own scanner" --expires 30d`
}

// Help gives examples.
func (*ExceptionPreview) Help() string {
	return `Example:

    netlyra exception preview --category port_scan --host 192.0.2.7`
}

// Help gives examples.
func (*ExceptionRemove) Help() string {
	return `Example:

    netlyra exception remove 9a0b1c2d3e4f5a6b`
}

// Help gives examples.
func (*Baseline) Help() string {
	return `Examples:

    netlyra baseline show
    netlyra baseline show --host 192.0.2.7 --format json
    netlyra baseline reset --host 192.0.2.7
    netlyra baseline export baseline.state
    netlyra baseline import baseline.state`
}

// Help gives examples.
func (*BaselineShow) Help() string {
	return `Examples:

    netlyra baseline show
    netlyra baseline show --host 192.0.2.7 --state /var/lib/netlyra/memory`
}

// Help gives examples.
func (*BaselineReset) Help() string {
	return `Examples:

    netlyra baseline reset --host 192.0.2.7
    netlyra baseline reset`
}

// Help gives examples.
func (*BaselineExport) Help() string {
	return `Examples:

    netlyra baseline export baseline.state
    netlyra baseline export --host 192.0.2.7 - > host.state`
}

// Help gives examples.
func (*BaselineImport) Help() string {
	return `Example:

    netlyra baseline import --sensor new baseline.state`
}

// Help gives examples.
func (*Interfaces) Help() string {
	return `Examples:

    netlyra interfaces
    netlyra interfaces --format json`
}

// Help gives examples.
func (*Print) Help() string {
	return `Examples:

    netlyra config print
    netlyra config print --config /etc/netlyra/netlyra.conf`
}

// Help gives examples.
func (*Check) Help() string {
	return `Examples:

    netlyra config check
    netlyra config check -i eth0 --filter 'not port 22'

In a unit of systemd:

    ExecStartPre=/usr/bin/netlyra config check --interface eth0
    ExecStart=/usr/bin/netlyra run --interface eth0

The exit status is 0 only when run would start.`
}

// Help gives examples.
func (*Completion) Help() string {
	return `Examples:

    source <(netlyra completion bash)
    netlyra completion bash > /etc/bash_completion.d/netlyra
    netlyra completion zsh > "${fpath[1]}/_netlyra"
    netlyra completion fish > ~/.config/fish/completions/netlyra.fish`
}

// Help gives examples.
func (*HelpCommand) Help() string {
	return `Examples:

    netlyra help run
    netlyra help baseline show
    netlyra help filter`
}
