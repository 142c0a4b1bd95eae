package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

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
	Output      string   `short:"o" help:"File to write." required:"" type:"path"`
	Hours       float64  `help:"Hours of the office's time." default:"1"`
	Seed        uint64   `help:"Of the random numbers." default:"42"`
	OfficeHosts int      `help:"Machines in the office." default:"25"`
	Families    []string `help:"Attacks and look-alikes: names, or attacks, lookalikes, heldout, tuning, all." placeholder:"LIST"`
	Learn       Duration `help:"Time of the office without incident before the first." default:"20m"`
	Changing    bool     `help:"Hosts join, move and leave, services appear."`
	PeerToPeer  bool     `help:"One host runs a file-sharing client."`
}

// BenchDetect shows families to the detector.
type BenchDetect struct {
	Families    []string `help:"Attacks and look-alikes: names, or attacks, lookalikes, heldout, tuning, all." placeholder:"LIST"`
	Seed        uint64   `help:"Of the random numbers." default:"42"`
	Seeds       int      `help:"Offices for each family or budget." default:"3"`
	OfficeHosts int      `help:"Machines in the office." default:"25"`
	Learn       Duration `help:"Time of the office without incident before the first." default:"20m"`
	AlertBudget float64  `help:"Alerts a day that may be raised by what has been learned; absolute limits come on top." default:"5"`
	Without     []string `help:"Parts of the detector to leave out: trees, tails, limits, guard, hardware." placeholder:"PART"`
	Jobs        int      `help:"Offices at the same time." default:"2"`
	Format      string   `help:"How results are printed: ${enum}." enum:"text,jsonl" default:"text"`
}

// BenchBudget shows peaceful offices to the detector.
type BenchBudget struct {
	Hours       float64   `help:"Hours of the office's time." default:"1"`
	Seed        uint64    `help:"Of the random numbers." default:"42"`
	Seeds       int       `help:"Offices for each family or budget." default:"3"`
	OfficeHosts int       `help:"Machines in the office." default:"25"`
	Without     []string  `help:"Parts of the detector to leave out: trees, tails, limits, guard, hardware." placeholder:"PART"`
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

func (b *BenchTrees) check(c *checker) {
	if b.TreesSeeds < 1 || b.TreesSeeds > 1000 {
		c.bad("trees-seeds", b.TreesSeeds, "must be 1 to 1000")
	}
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
