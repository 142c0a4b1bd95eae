package config

// Baseline is the command about what has been learned. It works on the files that a program leaves; one that runs holds them.
type Baseline struct {
	Show   BaselineShow   `cmd:"" help:"Show what has been learned: how far, and of each host since when, what is usual, whom it talks to."`
	Reset  BaselineReset  `cmd:"" help:"Forget what has been learned, of one host or of all. What a forgotten host does from then on is new."`
	Export BaselineExport `cmd:"" help:"Write what has been learned, of one host or of all, to a file that import takes."`
	Import BaselineImport `cmd:"" help:"Take over what export has written: a whole baseline replaces this one, that of one host what is known of it."`
}

// Learned says whose baseline it is.
type Learned struct {
	Sensor string `help:"Name of this sensor, on everything it reports." default:"${hostname}"`
	State  string `help:"Directory with what has been learned." default:"memory" placeholder:"DIR"`
}

// BaselineShow shows.
type BaselineShow struct {
	Learned
	Host   string `help:"Only this host, in full: an IP or a hardware address." placeholder:"ADDRESS" operand:""`
	Format string `help:"How it is printed: ${enum}." enum:"text,json" default:"text" operand:""`
}

// BaselineReset forgets.
type BaselineReset struct {
	Learned
	Host string `help:"Only this host: an IP or a hardware address." placeholder:"ADDRESS" operand:""`
}

// BaselineExport writes a file.
type BaselineExport struct {
	Learned
	Host string `help:"Only this host: an IP or a hardware address." placeholder:"ADDRESS" operand:""`
	File string `arg:"" help:"File to write; - is standard output."`
}

// BaselineImport reads a file.
type BaselineImport struct {
	Learned
	File string `arg:"" help:"File that export has written; - is standard input."`
}
