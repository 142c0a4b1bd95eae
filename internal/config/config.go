// Package config is the program's command line, environment and file of settings as one struct: flags win over the environment, the
// environment over the file, that over the defaults given here. The file is the one that --config names; without it .env in the working
// directory, or else that of the machine. Every flag of run, analyze, alert, exception and baseline has a variable NETLYRA_ with its
// name, but for those with the tag "operand", which say what is to be done now; .env.example lists them, held to this struct by a
// test.
package config

import "github.com/alecthomas/kong"

// EnvPrefix begins every environment variable of ours.
const EnvPrefix = "NETLYRA_"

// CLI is everything that can be said to the program.
type CLI struct {
	ConfigFile string           `help:"File of settings, lines of NETLYRA_NAME=value; off for none. It must belong to root or to you, and nobody else may write it. Without it: .env in the working directory, or else ${machine}." placeholder:"FILE" name:"config" type:"path"`
	LogLevel   string           `help:"Least severe level that is logged: ${enum}." enum:"debug,info,warn,error" default:"info"`
	LogFormat  string           `help:"How log lines look: ${enum}." enum:"text,json" default:"text"`
	Version    kong.VersionFlag `help:"Print the version." operand:""`

	Run          Run           `cmd:"" help:"Watch network interfaces, or play a capture file, and serve what is seen."`
	Detect       Detect        `cmd:"" help:"Detect for sensors elsewhere: read the slots that they publish to a broker, and publish alerts."`
	Serve        Serve         `cmd:"" help:"Keep and serve what many sensors publish to a broker: one database and one page for a fleet."`
	Analyze      Analyze       `cmd:"" help:"Read capture files as fast as they can be read and print what is abnormal."`
	Alert        Alert         `cmd:"" help:"List, show or acknowledge the alerts of the running program."`
	Exception    Exception     `cmd:"" help:"Say what is normal here, so that it is not listed as an alert."`
	Baseline     Baseline      `cmd:"" help:"Show, forget or move what has been learned."`
	Interfaces   Interfaces    `cmd:"" help:"List the network interfaces, and which of them run would watch."`
	Config       Config        `cmd:"" help:"Show or check the configuration."`
	Completion   Completion    `cmd:"" help:"Print a script that completes commands and flags in a shell."`
	Help         HelpCommand   `cmd:"" help:"Explain a command, or the syntax of filters."`
	PrintVersion struct{}      `cmd:"" name:"version" help:"Print the version."`
	Complete     CompleteWords `cmd:"" hidden:"" help:"List what may follow on a command line; for the scripts of completion."`

	Bench Bench `cmd:"" help:"Make traffic and measure speed." group:"Measurements:"`

	// Command is what is to be done, with the names of its arguments: "exception remove <id>".
	Command string `kong:"-"`
	// Warnings are what somebody should know but nothing that stops the program.
	Warnings []string `kong:"-"`
}

// Detection are the settings of the packet path that every command with a detector has.
type Detection struct {
	Sensor         string  `help:"Name of this sensor, on everything it reports." default:"${hostname}"`
	Workers        int     `help:"Goroutines that analyse packets." default:"1"`
	Filter         string  `help:"Look only at packets that this expression matches: a subset of tcpdump's syntax, which 'netlyra help filter' explains." placeholder:"EXPR"`
	FilterBPF      string  `help:"Look only at packets that the program in this file accepts: the output of tcpdump -ddd." placeholder:"FILE" type:"path"`
	Detector       string  `help:"Who detects: ${enum}. external leaves it to netlyra-engine or netlyra detect over --brokers; run has it." enum:"go,external,off" default:"go"`
	Profile        string  `help:"How much the detector does: ${enum}. core is what is learned and no more, as the Python engine has it: no limits, no rules." enum:"full,core" default:"full"`
	AlertBudget    float64 `help:"Alerts a day that may be raised by what has been learned; absolute limits come on top." default:"5"`
	MaxConnections int     `help:"Connections kept at the same time; beyond, the ones nearest to their expiry are evicted." default:"262144"`
}

// ProfileCore is the value of --profile that leaves out all but what is learned.
const ProfileCore = "core"

// Run is the command that watches.
type Run struct {
	Detection
	Interface []string `short:"i" help:"Interface to watch; may be repeated, or several with commas between them (in a name, write it as \\,). Without one: that of the default route." placeholder:"IFACE"`
	Read      string   `short:"r" help:"Play this capture file instead of watching an interface; - is standard input." placeholder:"FILE"`
	Speed     string   `help:"How fast --read plays: ${enum}, real time or as fast as it can be read (times then run ahead of the clock)." enum:"1,max" default:"1"`
	Loop      bool     `help:"Play --read again and again."`
	KeepTime  bool     `help:"Leave the times of --read as they are; otherwise they are shifted to now."`
	RingMB    int      `help:"Kernel memory per interface and worker for packets that wait, MiB." default:"64" name:"ring-mb"`

	Serving

	State      string   `help:"Directory in which what has been learned is kept over restarts, a file for each sensor; off for none. With --read it must be given as a flag, so that a capture does not become part of what is normal here." default:"memory" placeholder:"DIR"`
	StateEvery Duration `help:"How often what has been learned is saved." default:"5m"`

	Publish string `help:"What is published to --brokers beside alerts, connections, hosts and the state of this sensor: ${enum}. Packets and slots hold names that were asked for (DNS, TLS)." enum:"none,packets,slots,both" default:"none"`

	Counters string `help:"How often counters are published to --brokers: ${enum}. With each slot (40 ms) that has packets, a console's page is as fast as this sensor's own; for a fleet of more than a hundred sensors, once a second is less to read." enum:"slot,second" default:"slot"`
}

// CountersSlot is the value of --counters that is for a live page elsewhere.
const CountersSlot = "slot"

// Detect is the command that detects for sensors elsewhere.
type Detect struct {
	Group           string  `help:"Name of the group of detectors that share the sensors: each sensor has one of them." default:"netlyra-detect"`
	Profile         string  `help:"How much the detector does: ${enum}. core is what is learned and no more, as the Python engine has it: no limits, no rules." enum:"full,core" default:"full"`
	AlertBudget     float64 `help:"Alerts a day and sensor that may be raised by what has been learned; absolute limits come on top." default:"5"`
	CheckpointEvery int     `help:"Slots of a sensor (40 ms) between two checkpoints: what a successor has to judge again." default:"7500"`
	MaxSensors      int     `help:"Sensors of one partition that are followed at most." default:"256"`
	MetricsListen   string  `help:"Address where /metrics is served; off for nowhere." default:"off"`
	Broker
}

// MetricsOff is the value of --metrics-listen that serves nothing.
const MetricsOff = "off"

// Serve is the command that keeps and serves what sensors elsewhere publish.
type Serve struct {
	Console string `help:"Name of this console: each that has its own reads all that is published, those of one name share it." default:"${hostname}"`
	Serving
}

// Serving are the settings of what is kept, and of where and to whom it is served.
type Serving struct {
	Listen        string   `help:"Address of the page and the API." default:"127.0.0.1:8090"`
	WSListen      string   `help:"Address of a second WebSocket listener; off for none." default:"127.0.0.1:8091" name:"ws-listen"`
	AllowedHosts  []string `help:"Further names by which browsers may call this server." placeholder:"NAME"`
	Token         string   `help:"Secret that clients must show; demanded for addresses other than loopback. Every user of this machine can read it in the list of processes: --token-file is safer." placeholder:"TOKEN"`
	TokenFile     string   `help:"File that holds the secret of --token. Without both, netlyra.token of systemd's credentials is taken." placeholder:"FILE" type:"path"`
	ReadTokenFile string   `help:"File that holds a second secret, good for reading and for metrics only." placeholder:"FILE" type:"path"`
	TLSCert       string   `help:"Certificate for TLS, PEM; without one, one is made where TLS is needed." placeholder:"FILE" type:"path" name:"tls-cert"`
	TLSKey        string   `help:"Key of --tls-cert, PEM." placeholder:"FILE" type:"path" name:"tls-key"`

	Database      string   `help:"SQLite file with alerts, connections and traffic; temporary for one that is removed at the end. With --read it is temporary unless given as a flag, so that a capture does not come among what was seen." default:"data/netlyra.db" type:"path"`
	AlertAge      Duration `help:"How long alerts are kept." default:"90d"`
	ConnectionAge Duration `help:"How long connections are kept." default:"14d"`
	DatabaseMaxMB int64    `help:"Size of the database beyond which the oldest connections go, MB." default:"2000" name:"database-max-mb"`

	Broker

	User    string `help:"Run as this user; needs root. The directories of the database and of the state must be that user's; missing ones are made." placeholder:"NAME"`
	Sandbox string `help:"Give up what is not needed once everything is open (capabilities, files outside the own directories, starting programs): ${enum}. require ends the program where the kernel cannot do all of it." enum:"on,off,require" default:"on"`
}

// DatabaseTemporary is the value of --database that keeps nothing beyond the end of the program.
const DatabaseTemporary = "temporary"

// StateOff is the value of --state that keeps nothing.
const StateOff = "off"

// The values of --emit.
const (
	EmitAlerts  = "alerts"
	EmitPackets = "packets"
	EmitSlots   = "slots"
)

// Analyze is the command that reads captures.
type Analyze struct {
	Detection
	Files   []string `arg:"" help:"Capture files: pcap or pcapng, plain, gzip or zstd; - is standard input."`
	Format  string   `help:"How alerts are printed: ${enum}. With --emit none are." enum:"text,jsonl" default:"text"`
	Emit    string   `help:"What is written to standard output: ${enum}. Packets are lines of JSON, slots are Arrow IPC streams compressed with zstd (docs/wire-format.md); alerts are then not printed." enum:"alerts,packets,slots" default:"alerts" operand:""`
	Summary string   `help:"Write a summary as JSON to this file." placeholder:"FILE" type:"path"`
	Top     int      `help:"Addresses with most bytes that the summary lists; 0 for none, which is faster." default:"5"`
	Quiet   bool     `short:"q" help:"No progress bar and no summary on standard error."`
	State   string   `help:"Begin with what has been learned, and save there what is known at the end: a file, or a directory with a file for each sensor." placeholder:"PATH" operand:""`
}

// Interfaces is the command that lists interfaces.
type Interfaces struct {
	Format string `help:"How it is printed: ${enum}." enum:"text,json" default:"text" operand:""`
}

// Config is the command about the configuration.
type Config struct {
	Print Print `cmd:"" help:"Print every setting of run and where it comes from."`
	Check Check `cmd:"" help:"Check whether run would start, with the same flags, and report every error. Nothing is changed."`
}

// Print prints settings.
type Print struct{}

// Check does what run does before its first packet, with run's flags.
type Check struct{ Run }

// Completion is the command that prints a script for a shell.
type Completion struct {
	Shell string `arg:"" help:"The shell: ${enum}." enum:"bash,zsh,fish"`
}

// CompleteWords is what the scripts of completion ask.
type CompleteWords struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The words of the command line behind the program's name, the last one unfinished."`
}

// HelpCommand is the command that explains another.
type HelpCommand struct {
	Topic []string `arg:"" optional:"" help:"A command, or filter."`
}
