package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Input is what a configuration is read from.
type Input struct {
	Args    []string  // behind the program's name
	Environ []string  // "NAME=value"
	Dotenv  string    // the file of settings in the working directory; "": none
	Machine string    // that of the machine, read where there is no other; "": none
	Stdout  io.Writer // for help and version
	Version string    // of the program
}

// ErrHelp says that help or the version has been printed, and there is nothing more to do.
var ErrHelp = errors.New("help was asked for")

// errNoCommand is the answer to a command line without a word.
var errNoCommand = errors.New(`say what to do, for instance:
  sudo netlyra run               watch this machine's network, page at http://127.0.0.1:8090/
  netlyra analyze capture.pcap   read a capture and print what is abnormal
  netlyra alert list             list the alerts of the running program
netlyra --help lists all commands`)

// Parse reads flags, environment and file of settings. Mistakes come back as *UsageError, all that were found. If it names flags, the
// *CLI holds the rest of what was said.
func Parse(in Input) (*CLI, error) {
	if len(in.Args) == 0 {
		return nil, &UsageError{Err: errNoCommand}
	}
	set, err := readSettings(in)
	if err != nil {
		return nil, &UsageError{Err: err}
	}
	p := &parsing{in: in, set: set, args: joinNegative(in.Args)}
	cli, ctx, err := p.parse()
	if err != nil {
		return nil, err
	}
	command := ctx.Command()
	if set.locked != nil && (command == "run" || strings.HasPrefix(command, "config")) {
		return nil, &UsageError{Err: set.locked}
	}
	if strings.HasPrefix(command, "help") {
		return nil, p.help(cli.Help.Topic)
	}
	cli.Command = command
	cli.Warnings = append(cli.Warnings, set.warnings...)
	p.validate(ctx)
	return cli, p.checker.err()
}

// parsing is one Parse.
type parsing struct {
	in      Input
	set     *settings
	args    []string
	checker *checker
}

// parse reads everything with kong. Flags that do not exist are taken out and reported, so that the rest can be read.
func (p *parsing) parse() (*CLI, *kong.Context, error) {
	var early []fault // with lines of the file, and with unknown flags
	for _, err := range p.set.problems {
		early = append(early, fault{"", err})
	}
	hint := ""
	for {
		p.checker = &checker{origins: map[string]origin{}, dropped: map[string]bool{}, given: map[string]bool{}, faults: slices.Clone(early), hint: hint}
		cli := &CLI{}
		exited := false
		parser, err := p.newParser(cli, kong.Writers(p.in.Stdout, p.in.Stdout), kong.Exit(func(int) { exited = true }))
		if err != nil {
			return nil, nil, err
		}
		ctx, err := parser.Parse(p.args)
		if exited {
			return nil, nil, ErrHelp
		}
		p.unknownVariables(parser)
		if err == nil {
			p.note(ctx)
			return cli, ctx, nil
		}
		var wrong *kong.ParseError
		if !errors.As(err, &wrong) || wrong.Context == nil {
			return nil, nil, &UsageError{Err: err}
		}
		hint = explained(wrong.Context.Selected())
		p.checker.hint = hint
		if p.drop(wrong) {
			early = append(early, fault{"", err})
			continue
		}
		p.checker.note("", err)
		if wrong.Context.Error != nil || wrong.Context.Selected() == nil || !wrong.Context.Selected().Leaf() {
			return nil, nil, p.checker.err() // it is not known what is to be done
		}
		p.note(wrong.Context)
		return cli, wrong.Context, nil
	}
}

// explained says where the usage of a command is explained; nil is none.
func explained(command *kong.Node) string {
	var words []string
	for ; command != nil && command.Parent != nil; command = command.Parent {
		words = append([]string{command.Name}, words...)
	}
	if len(words) == 0 {
		return "netlyra --help lists the commands"
	}
	return fmt.Sprintf("netlyra help %s explains the command", strings.Join(words, " "))
}

// note notes the flags on the command line.
func (p *parsing) note(ctx *kong.Context) {
	for _, step := range ctx.Path {
		if step.Flag != nil && !step.Resolved {
			p.checker.given[step.Flag.Name] = true
		}
	}
}

// drop takes an unknown flag, and what looks like its value, out of the arguments.
func (p *parsing) drop(wrong *kong.ParseError) bool {
	rest, ok := strings.CutPrefix(wrong.Error(), "unknown flag ")
	name, _, _ := strings.Cut(rest, ",")
	at := slices.IndexFunc(p.args, func(arg string) bool { return arg == name || strings.HasPrefix(arg, name+"=") })
	if !ok || at < 0 {
		return false
	}
	end := at + 1
	command := wrong.Context.Selected()
	takesNone := command != nil && command.Leaf() && len(command.Positional) == 0
	if takesNone && p.args[at] == name && end < len(p.args) && !strings.HasPrefix(p.args[end], "-") {
		end++
	}
	p.args = slices.Delete(slices.Clone(p.args), at, end)
	return true
}

var negative = regexp.MustCompile(`^-[0-9.]`)

// joinNegative writes --flag -5 as --flag=-5: kong takes -5 for a flag, and no flag of ours is a digit.
func joinNegative(args []string) []string {
	var joined []string
	for i, arg := range args {
		if arg == "--" {
			return append(joined, args[i:]...)
		}
		last := len(joined) - 1
		if last >= 0 && negative.MatchString(arg) && strings.HasPrefix(joined[last], "--") && !strings.Contains(joined[last], "=") {
			joined[last] += "=" + arg
			continue
		}
		joined = append(joined, arg)
	}
	return joined
}

// newParser maps the struct to flags, and gives each flag the value of its variable in place of its default.
func (p *parsing) newParser(cli *CLI, options ...kong.Option) (*kong.Kong, error) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "netlyra"
	}
	resolver := kong.ResolverFunc(func(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		if s, ok := p.set.vars[Variable(flag.Name)]; ok && hasVariable(parent.Node(), flag) {
			p.checker.origins[flag.Name] = s.origin
			return s.value, nil
		}
		return nil, nil //nolint:nilnil // kong's way to say: not set here
	})
	options = append(options, newReader(p.checker).options()...)
	return kong.New(cli, append(options,
		kong.Name("netlyra"),
		kong.Vars{"hostname": host, "machine": MachineFile, "version": "netlyra " + p.in.Version},
		kong.Resolvers(resolver),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, FlagsLast: true}),
		kong.ValueFormatter(withDefault),
		kong.Description("NetLyra watches a network and says what is abnormal there, and why."),
	)...)
}

// withDefault is a flag's help, with its default where a placeholder stands in its place.
func withDefault(v *kong.Value) string {
	if v.Flag == nil || v.Flag.PlaceHolder == "" || v.Default == "" {
		return v.Help
	}
	return v.Help + " Default: " + v.Default + "."
}

// hasVariable says whether a flag of a command is a setting, which a variable can set. What bench does is said by flags alone.
func hasVariable(n *kong.Node, flag *kong.Flag) bool {
	for ; n != nil; n = n.Parent {
		if n.Name == "bench" {
			return false
		}
	}
	return !flag.Tag.Has("operand") && flag.Name != "help"
}

// unknownVariables reports every variable with our prefix that no flag has: a misspelt setting must not be silently without effect.
func (p *parsing) unknownVariables(parser *kong.Kong) {
	known := map[string]bool{EnvPrefix + "SHARED": true} // where the tests find labelled captures
	for _, f := range flagsBelow(parser.Model.Node) {
		known[Variable(f.Name)] = true
	}
	var names []string
	for name := range p.set.vars {
		if strings.HasPrefix(name, EnvPrefix) && !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		where := ""
		if o := p.set.vars[name].origin; o != fromEnvironment {
			where = " in " + string(o)
		}
		p.checker.note("", fmt.Errorf("unknown setting %s%s: `netlyra config print` lists the known ones", name, where))
	}
}

// flagsBelow lists the flags of a command and of those below it that are settings, each name once.
func flagsBelow(top *kong.Node) (all []*kong.Flag) {
	seen := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			if !seen[f.Name] && hasVariable(n, f) {
				seen[f.Name] = true
				all = append(all, f)
			}
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(top)
	return all
}

// validate has every command that is selected check what kong's tags cannot say.
func (p *parsing) validate(ctx *kong.Context) {
	for _, step := range ctx.Path {
		n := step.Node()
		if n == nil || !n.Target.CanAddr() {
			continue
		}
		if v, ok := reflect.TypeAssert[interface{ check(c *checker) }](n.Target.Addr()); ok {
			v.check(p.checker)
		}
	}
}
