// Package config is the program's command line and environment as one struct: flags win over the environment, the environment over a
// file named .env in the working directory, that over the defaults given here. Every flag has a variable NETLYRA_ with its
// name, but for those with the tag "operand", which say what is to be done now; .env.example lists them all, held to this
// struct by a test.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/joho/godotenv"
)

// EnvPrefix begins every environment variable of ours.
const EnvPrefix = "NETLYRA_"

// CLI is everything that can be said to the program.
type CLI struct {
	LogLevel  string `help:"Least severe level that is logged: ${enum}." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"How log lines look: ${enum}." enum:"text,json" default:"text"`

	Run       Run       `cmd:"" help:"Watch network interfaces, or play a capture file, and serve what is seen."`
	Analyze   Analyze   `cmd:"" help:"Read capture files as fast as they can be read and print what is abnormal."`
	Exception Exception `cmd:"" help:"Say what is normal here, so that it is not listed as an alert."`
	Baseline  Baseline  `cmd:"" help:"Show, forget or move what has been learned."`

	Bench   Bench   `cmd:"" help:"Make traffic and measure speed."`
	Config  Config  `cmd:"" help:"Show or check the configuration."`
	Version Version `cmd:"" help:"Print the version."`
}

// Detection are the settings of the packet path that every command with a detector has.
type Detection struct {
	Sensor         string  `help:"Name of this sensor, on everything it reports." default:"${hostname}"`
	Workers        int     `help:"Goroutines that analyse packets." default:"1"`
	Filter         string  `help:"Look only at packets that this expression matches: a subset of tcpdump's syntax, see docs/filter.md." placeholder:"EXPR" xor:"filter"`
	FilterBPF      string  `help:"Look only at packets that the program in this file accepts: the output of tcpdump -ddd." placeholder:"FILE" type:"path" xor:"filter"`
	Detector       string  `help:"Who detects: ${enum}." enum:"go,off" default:"go"`
	AlertBudget    float64 `help:"Alerts a day that may be raised by what has been learned; absolute limits come on top." default:"5"`
	MaxConnections int     `help:"Connections kept at the same time; beyond, the ones nearest to their expiry are evicted." default:"262144"`
}

// Run is the command that watches.
type Run struct {
	Detection
	Interface []string `short:"i" help:"Interface to watch; may be repeated. Without one: that of the default route." placeholder:"IFACE" xor:"source"`
	Read      string   `short:"r" help:"Play this capture file instead of watching an interface; - is standard input." placeholder:"FILE" xor:"source"`
	Speed     string   `help:"How fast --read plays: ${enum}, real time or as fast as it can be read (times then run ahead of the clock)." enum:"1,max" default:"1"`
	Loop      bool     `help:"Play --read again and again."`
	KeepTime  bool     `help:"Leave the times of --read as they are; otherwise they are shifted to now."`
	RingMB    int      `help:"Kernel memory per interface and worker for packets that wait, MiB." default:"64" name:"ring-mb"`

	Listen        string   `help:"Address of the page and the API." default:"127.0.0.1:8090"`
	WSListen      string   `help:"Address of a second WebSocket listener; off for none." default:"127.0.0.1:8091" name:"ws-listen"`
	AllowedHosts  []string `help:"Further names by which browsers may call this server." placeholder:"NAME"`
	Token         string   `help:"Secret that clients must show; demanded for addresses other than loopback. Every user of this machine can read it in the list of processes: --token-file is safer." placeholder:"TOKEN"`
	TokenFile     string   `help:"File that holds the secret of --token. Without both, netlyra.token of systemd's credentials is taken." placeholder:"FILE" type:"path"`
	ReadTokenFile string   `help:"File that holds a second secret, good for reading and for metrics only." placeholder:"FILE" type:"path"`
	TLSCert       string   `help:"Certificate for TLS, PEM; without one, one is made where TLS is needed." placeholder:"FILE" type:"path" name:"tls-cert"`
	TLSKey        string   `help:"Key of --tls-cert, PEM." placeholder:"FILE" type:"path" name:"tls-key"`

	Database      string        `help:"SQLite file with alerts, connections and traffic; temporary for one that is removed at the end. With --read it is temporary unless given as a flag, so that a capture does not come among what was seen." default:"data/netlyra.db" type:"path"`
	AlertAge      time.Duration `help:"How long alerts are kept." default:"2160h"`
	ConnectionAge time.Duration `help:"How long connections are kept." default:"336h"`
	DatabaseMaxMB int64         `help:"Size of the database beyond which the oldest connections go, MB." default:"2000" name:"database-max-mb"`

	State      string        `help:"Directory in which what has been learned is kept over restarts, a file for each sensor; off for none. With --read it must be given as a flag, so that a capture does not become part of what is normal here." default:"memory" placeholder:"DIR"`
	StateEvery time.Duration `help:"How often what has been learned is saved." default:"5m"`

	User    string `help:"Run as this user; needs root. The directories of the database and of the state must be that user's; missing ones are made." placeholder:"NAME"`
	Sandbox string `help:"Give up what is not needed once everything is open (capabilities, files outside the own directories, starting programs): ${enum}. require ends the program where the kernel cannot do all of it." enum:"on,off,require" default:"on"`
}

// DatabaseTemporary is the value of --database that keeps nothing beyond the end of the program.
const DatabaseTemporary = "temporary"

// StateOff is the value of --state that keeps nothing.
const StateOff = "off"

// Analyze is the command that reads captures.
type Analyze struct {
	Detection
	Files   []string `arg:"" help:"Capture files: pcap or pcapng, plain, gzip or zstd; - is standard input."`
	Format  string   `help:"How alerts are printed: ${enum}." enum:"text,jsonl" default:"text"`
	Summary string   `help:"Write a summary as JSON to this file." placeholder:"FILE" type:"path"`
	Top     int      `help:"Addresses with most bytes that the summary lists; 0 for none, which is faster." default:"5"`
	Quiet   bool     `short:"q" help:"No progress bar and no summary on standard error."`
	State   string   `help:"Begin with what has been learned, and save there what is known at the end: a file, or a directory with a file for each sensor." placeholder:"PATH" operand:""`
}

// Bench is the command that measures.
type Bench struct {
	Synth  BenchSynth  `cmd:"" help:"Write a synthetic capture, the same for the same settings."`
	Replay BenchReplay `cmd:"" help:"Time the stages on a capture file; prints one line of JSON."`

	Office BenchOffice `cmd:"" help:"Write a labelled capture of an office at work, with attacks and benign look-alikes in it."`
	Detect BenchDetect `cmd:"" help:"Show every family of attacks and look-alikes to the detector, each in offices of its own; prints what it found."`
	Budget BenchBudget `cmd:"" help:"Show offices without attacks to the detector; prints a line of JSON for each: its alerts against its budget."`

	Trees BenchTrees `cmd:"" help:"Try the Half-Space Trees on labelled tables, in the order of their rows; prints the area under the curve, River's beside it."`

	Live    BenchLive    `cmd:"" help:"Watch a pair of interfaces under the smallest frames a link of 1 Gbit/s can carry; prints a line of JSON a run. Needs root."`
	Latency BenchLatency `cmd:"" help:"Time packets from their sender to a WebSocket client; prints a line of JSON a rate. Needs root."`
	Send    BenchSend    `cmd:"" hidden:"" help:"Put live's packets on an interface."`
}

// BenchSynth writes a capture.
type BenchSynth struct {
	Size    string `help:"Size of the file: bytes, or with kB, MB, GB, KiB, MiB, GiB." default:"1GB"`
	Output  string `short:"o" help:"File to write." required:"" type:"path"`
	Seed    uint64 `help:"Of the random numbers." default:"42"`
	Profile string `help:"Frame sizes: ${enum}." enum:"imix,64,1514" default:"imix"`
}

// BenchReplay times stages.
type BenchReplay struct {
	File    string `arg:"" help:"Capture file." type:"path"`
	Stages  string `help:"How far packets go: ${enum}." enum:"read,decode,entropy,flow,pipeline,full,naive" default:"full"`
	Workers int    `help:"Goroutines that analyse packets, in pipeline and full." default:"1" name:"bench-workers"`

	CPUProfile string `help:"Write there where the time went, for go tool pprof." name:"cpu-profile" placeholder:"FILE" type:"path"`
}

// BenchOffice writes labelled traffic.
type BenchOffice struct {
	Output      string        `short:"o" help:"File to write." required:"" type:"path"`
	Hours       float64       `help:"Hours of the office's time." default:"1"`
	Seed        uint64        `help:"Of the random numbers." default:"42"`
	OfficeHosts int           `help:"Machines in the office." default:"25"`
	Families    []string      `help:"Attacks and look-alikes: names, or attacks, lookalikes, heldout, tuning, all." placeholder:"LIST"`
	Learn       time.Duration `help:"Time of the office without incident before the first." default:"20m"`
	Changing    bool          `help:"Hosts join, move and leave, services appear."`
	PeerToPeer  bool          `help:"One host runs a file-sharing client."`
}

// BenchDetect shows families to the detector.
type BenchDetect struct {
	Families    []string      `help:"Attacks and look-alikes: names, or attacks, lookalikes, heldout, tuning, all." placeholder:"LIST"`
	Seed        uint64        `help:"Of the random numbers." default:"42"`
	Seeds       int           `help:"Offices for each family or budget." default:"3"`
	OfficeHosts int           `help:"Machines in the office." default:"25"`
	Learn       time.Duration `help:"Time of the office without incident before the first." default:"20m"`
	AlertBudget float64       `help:"Alerts a day that may be raised by what has been learned; absolute limits come on top." default:"5"`
	Without     []string      `help:"Parts of the detector to leave out: trees, tails, limits, guard." placeholder:"PART"`
	Jobs        int           `help:"Offices at the same time." default:"2"`
	Format      string        `help:"How results are printed: ${enum}." enum:"text,jsonl" default:"text"`
}

// BenchBudget shows peaceful offices to the detector.
type BenchBudget struct {
	Hours       float64   `help:"Hours of the office's time." default:"1"`
	Seed        uint64    `help:"Of the random numbers." default:"42"`
	Seeds       int       `help:"Offices for each family or budget." default:"3"`
	OfficeHosts int       `help:"Machines in the office." default:"25"`
	Without     []string  `help:"Parts of the detector to leave out: trees, tails, limits, guard." placeholder:"PART"`
	Budgets     []float64 `help:"Alert budgets to try." default:"5,240,2400"`
	Changing    bool      `help:"Hosts join, move and leave, services appear."`
}

// BenchTrees tries the trees on tables.
type BenchTrees struct {
	Dir        string `arg:"" help:"Directory with the tables: *.csv.gz with a header, the last column anomaly, 0 or 1." type:"existingdir"`
	TreesSeeds int    `help:"How many forests, each with a seed of its own." default:"5" name:"trees-seeds"`
}

// BenchLive measures the live packet path.
type BenchLive struct {
	Rate       string `help:"Packets per second, or max: as many as can be sent." default:"1488095" placeholder:"N"`
	Seconds    int    `help:"How long packets are sent." default:"10"`
	Runs       int    `help:"How often." default:"5"`
	CPUProfile string `help:"Write a profile of the last run's pipeline to this file." placeholder:"FILE" type:"path" name:"cpu-profile"`
}

// BenchLatency measures the time to a client.
type BenchLatency struct {
	Rates   []int `help:"Packets per second, one run each." default:"1000,100000"`
	Seconds int   `help:"How long packets are sent." default:"10"`
}

// BenchSend is the sender of live, in a process and on a core of its own.
type BenchSend struct {
	Interface string `arg:"" help:"Interface to send on."`
	Rate      int    `help:"Packets per second; 0: as many as can be sent." default:"1488095"`
	Seconds   int    `help:"How long packets are sent." default:"10"`
}

// Config is the command about the configuration.
type Config struct {
	Print struct{} `cmd:"" help:"Print every setting of run and where it comes from."`
	Check struct{} `cmd:"" help:"Check the configuration of run and report every error."`
}

// Version is the command that prints the version.
type Version struct{}

// UsageError is a mistake in flags, environment or .env: exit status 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// ErrHelp says that help has been printed, and there is nothing more to do.
var ErrHelp = errors.New("help was asked for")

// Parse reads args and environ ("NAME=value") and, below them, the file dotenv if it exists. It returns the name of the command. Mistakes
// come back as *UsageError.
func Parse(args, environ []string, dotenv string, stdout io.Writer) (*CLI, string, error) {
	env, err := environment(environ, dotenv)
	if err != nil {
		return nil, "", &UsageError{err}
	}
	cli := &CLI{}
	exited := false
	parser, err := newParser(cli, env, kong.Writers(stdout, stdout), kong.Exit(func(int) { exited = true }))
	if err != nil {
		return nil, "", err
	}
	if err := unknownVariables(env); err != nil {
		return nil, "", &UsageError{err}
	}
	ctx, err := parser.Parse(args)
	if exited {
		return nil, "", ErrHelp
	}
	if err != nil {
		return nil, "", &UsageError{err}
	}
	if cli.Run.Read != "" && !given(ctx, "state") {
		cli.Run.State = StateOff
	}
	if cli.Run.Read != "" && !given(ctx, "database") || cli.Run.Database != "" && filepath.Base(cli.Run.Database) == DatabaseTemporary {
		cli.Run.Database = DatabaseTemporary
	}
	if err := cli.validate(ctx.Command()); err != nil {
		return nil, "", &UsageError{err}
	}
	return cli, ctx.Command(), nil
}

// given says whether a flag is on the command line itself.
func given(ctx *kong.Context, flag string) bool {
	return slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == flag && !p.Resolved })
}

// newParser maps the struct to flags, and gives each flag its variable's value as its default.
func newParser(cli *CLI, env map[string]string, options ...kong.Option) (*kong.Kong, error) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "netlyra"
	}
	resolver := kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if v, ok := env[Variable(flag.Name)]; ok && !flag.Tag.Has("operand") {
			return v, nil
		}
		return nil, nil //nolint:nilnil // kong's way to say: not set here
	})
	return kong.New(cli, append([]kong.Option{
		kong.Name("netlyra"), kong.UsageOnError(),
		kong.Vars{"hostname": host},
		kong.Resolvers(resolver),
		kong.Description("NetLyra watches a network and says what is abnormal there, and why."),
	}, options...)...)
}

// Variable is the environment variable of a flag: --ws-listen is NETLYRA_WS_LISTEN.
func Variable(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Flags lists the flags of all commands that are settings, each name once, with its help and default.
func Flags() ([]*kong.Flag, error) {
	parser, err := newParser(&CLI{}, nil)
	if err != nil {
		return nil, err
	}
	var all []*kong.Flag
	seen := map[string]bool{"help": true}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			if !seen[f.Name] && !f.Tag.Has("operand") {
				seen[f.Name] = true
				all = append(all, f)
			}
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(parser.Model.Node)
	return all, nil
}

// readDotenv reads the file of settings in the working directory. It names files that are written, so one that somebody else may have put
// there is refused: it must belong to the user who runs the program (through sudo, too) or to root, and others may not write it.
func readDotenv(path string) (env map[string]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner, known := ownerOf(info)
	trusted := []int{0, os.Geteuid()}
	if uid, err := strconv.Atoi(os.Getenv("SUDO_UID")); err == nil && os.Geteuid() == 0 {
		trusted = append(trusted, uid)
	}
	switch {
	case known && !slices.Contains(trusted, owner):
		return nil, fmt.Errorf("it belongs to user id %d, who could have it write any file: remove it, or start in a directory of your own", owner)
	case known && info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("others may write it (mode %v): chmod go-w %s", info.Mode().Perm(), path)
	}
	return godotenv.Parse(f)
}

// environment is .env overlaid by the process's own variables.
func environment(environ []string, dotenv string) (map[string]string, error) {
	env := map[string]string{}
	if dotenv != "" {
		file, err := readDotenv(dotenv)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("configuration file %s: %w", dotenv, err)
		default:
			env = file
		}
	}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			env[name] = value
		}
	}
	return env, nil
}

// unknownVariables reports every variable with our prefix that no flag has: a misspelt setting must not be silently without effect.
func unknownVariables(env map[string]string) error {
	flags, err := Flags()
	if err != nil {
		return err
	}
	known := []string{EnvPrefix + "SHARED"} // where the tests find labelled captures
	for _, f := range flags {
		known = append(known, Variable(f.Name))
	}
	var errs []error
	for name := range env {
		if strings.HasPrefix(name, EnvPrefix) && !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("unknown setting %s: `netlyra config print` lists the known ones", name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// validate checks what kong's tags cannot say, and reports all of it.
func (c *CLI) validate(command string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	d := &c.Run.Detection
	if strings.HasPrefix(command, "analyze") {
		d = &c.Analyze.Detection
	}
	if d.Workers < 1 || d.Workers > 64 {
		bad("--workers %d: must be 1 to 64", d.Workers)
	}
	if d.AlertBudget <= 0 {
		bad("--alert-budget %v: must be positive", d.AlertBudget)
	}
	if d.MaxConnections < 1024 || d.MaxConnections > 1<<24 {
		bad("--max-connections %d: must be 1024 to %d", d.MaxConnections, 1<<24)
	}
	if d.Sensor == "" || len(d.Sensor) > 64 || strings.ContainsAny(d.Sensor, " \t\r\n\"") {
		bad("--sensor %q: must be 1 to 64 characters without blanks or quotes", d.Sensor)
	}
	if learned := c.learned(command); learned != nil && (learned.State == "" || learned.State == StateOff) {
		bad("--state %s: give the directory with what has been learned", learned.State)
	}
	if strings.HasPrefix(command, "bench trees") && (c.Bench.Trees.TreesSeeds < 1 || c.Bench.Trees.TreesSeeds > 1000) {
		bad("--trees-seeds %d: must be 1 to 1000", c.Bench.Trees.TreesSeeds)
	}
	if remote := c.remote(command); remote != nil {
		remote.validate(bad)
	}
	r := &c.Run
	if strings.HasPrefix(command, "run") {
		r.validateAddresses(bad)
		if r.RingMB < 1 || r.RingMB > 4096 {
			bad("--ring-mb %d: must be 1 to 4096", r.RingMB)
		}
		for i, name := range r.Interface {
			if slices.Contains(r.Interface[:i], name) {
				bad("--interface %s: given twice, each of its packets would count twice", name)
			}
		}
		if r.Read == "" && (r.Loop || r.KeepTime || r.Speed != "1") {
			bad("--loop, --keep-time and --speed are about a capture file: add --read FILE")
		}
		if r.Loop && r.KeepTime {
			bad("--loop with --keep-time would set the clock back at every round: leave one out")
		}
		if r.Loop && r.Read == "-" {
			bad("--loop cannot read standard input again: give a file to --read")
		}
		if (r.TLSCert == "") != (r.TLSKey == "") {
			bad("--tls-cert and --tls-key belong together: give both or none")
		}
		if r.AlertAge <= 0 || r.ConnectionAge <= 0 || r.DatabaseMaxMB <= 0 {
			bad("--alert-age, --connection-age and --database-max-mb must be positive")
		}
		if r.State == "" {
			bad("--state is empty: give a directory, or off")
		}
		if r.StateEvery < time.Second {
			bad("--state-every %v: must be 1s or longer", r.StateEvery)
		}
		if filepath.Base(r.Database) == "." {
			bad("--database is empty: give a file name")
		}
	}
	return errors.Join(errs...)
}

// ParseSize reads a number of bytes: "1GB", "64MiB", "1500".
func ParseSize(s string) (int64, error) {
	units := []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"", 1}}
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64/u.bytes {
			return 0, fmt.Errorf("%q is not a size: try 1GB or 64MiB", s)
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("%q is not a size", s)
}

const minToken = 16 // characters

// Credentials is the environment variable in which systemd names the directory of a unit's credentials (systemd.exec(5)).
const Credentials = "CREDENTIALS_DIRECTORY"

// validateAddresses checks the listeners; beyond loopback a token is demanded.
func (r *Run) validateAddresses(bad func(format string, args ...any)) {
	if r.Token != "" && len(r.Token) < minToken {
		bad("--token has %d characters: use at least %d", len(r.Token), minToken)
	}
	for _, l := range []struct{ flag, address string }{{"--listen", r.Listen}, {"--ws-listen", r.WSListen}} {
		if l.flag == "--ws-listen" && l.address == "off" {
			continue
		}
		host, port, err := net.SplitHostPort(l.address)
		if err != nil {
			bad("%s %s: write it as host:port, for instance 127.0.0.1:8090", l.flag, l.address)
			continue
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			bad("%s %s: the port must be 0 to 65535", l.flag, l.address)
		} else if ip, err := netip.ParseAddr(host); (err != nil && host != "localhost" || err == nil && !ip.IsLoopback()) && r.Token == "" && r.TokenFile == "" && os.Getenv(Credentials) == "" {
			bad("%s %s can be reached from other machines: set --token-file as well, or listen on 127.0.0.1", l.flag, l.address)
		}
	}
}
