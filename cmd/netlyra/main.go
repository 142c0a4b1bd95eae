// Command netlyra watches a network and says what is abnormal there, and why. Each command is one file, nothing but wiring.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"netlyra/internal/capture"
	"netlyra/internal/capture/filter"
	"netlyra/internal/config"
	"netlyra/internal/telemetry"
)

// The exit statuses, part of the contract of the command line.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitDamaged = 3 // everything up to the damage was analysed
)

// program is what the commands need of the world around them.
type program struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string
}

func main() {
	ctx, stop := untilSignal(context.Background())
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	status := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// run executes one command and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	in := p.input(args)
	cli, err := config.Parse(in)
	if errors.Is(err, config.ErrHelp) {
		return exitOK
	}
	serves := cli != nil && (cli.Command == "run" || cli.Command == "serve" || cli.Command == "detect")
	if cli != nil && !serves { // whose warnings are lines of its log
		for _, w := range cli.Warnings {
			p.warn(w)
		}
	}
	switch {
	case cli != nil && cli.Command == "config check":
		err = p.checkConfig(ctx, &cli.Config.Check.Run, err)
	case err == nil && serves:
		return p.detached(ctx, cli)
	case err == nil:
		err = p.dispatch(ctx, cli, in)
	}
	return p.status(err)
}

// input is where the configuration comes from.
func (p *program) input(args []string) config.Input {
	return config.Input{Args: args, Environ: p.environ, Dotenv: ".env", Machine: config.MachineFile, Stdout: p.stdout, Version: version()}
}

func (p *program) warn(text string) {
	_, _ = fmt.Fprintf(p.stderr, "netlyra: warning: %s\n", visible(text))
}

// detached runs what must not wait for whoever reads standard error. The end of that reader, if it is one, asks for an orderly end.
func (p *program) detached(ctx context.Context, cli *config.CLI) int {
	signal.Ignore(syscall.SIGPIPE) // the write fails instead
	ctx, end := context.WithCancel(ctx)
	defer end()
	out := telemetry.NewDetached(telemetry.DetachedOptions{
		Output: p.stderr, Gone: end,
		Lost: func(lines uint64) []byte { return telemetry.LostLine(cli.LogFormat, lines) },
	})
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = out.Run(writing) // returns nil
	}()
	p.stderr = out
	log, err := telemetry.Logger(out, cli.LogLevel, cli.LogFormat)
	if err != nil {
		err = &config.UsageError{Err: err}
	} else {
		for _, text := range cli.Warnings {
			logWarning(log, text)
		}
		switch cli.Command {
		case "detect":
			err = p.detect(ctx, &cli.Detect, log)
		case "serve":
			err = p.serve(ctx, &cli.Serve, log, out)
		default:
			err = p.watch(ctx, &cli.Run, log, out)
		}
	}
	status := p.status(err)
	stop()
	<-written
	return status
}

func logWarning(log *slog.Logger, text string) {
	log.LogAttrs(context.Background(), slog.LevelWarn, "a setting needs attention", slog.String("problem", text))
}

func (p *program) dispatch(ctx context.Context, cli *config.CLI, in config.Input) error {
	log, err := telemetry.Logger(p.stderr, cli.LogLevel, cli.LogFormat)
	if err != nil {
		return &config.UsageError{Err: err}
	}
	name, rest, _ := strings.Cut(cli.Command, " ")
	switch name {
	case "analyze":
		return p.analyze(ctx, &cli.Analyze, log)
	case "alert":
		return p.alert(ctx, rest, &cli.Alert)
	case "exception":
		return p.exception(ctx, rest, &cli.Exception)
	case "baseline":
		return p.baseline(rest, &cli.Baseline)
	case "bench":
		return p.bench(ctx, rest, &cli.Bench)
	case "config":
		return p.printConfig(in)
	case "interfaces":
		return p.interfaces(&cli.Interfaces)
	case "completion":
		return p.completion(cli.Completion.Shell)
	case "complete":
		return p.complete(cli.Complete.Words)
	default:
		_, err := fmt.Fprintln(p.stdout, "netlyra", version())
		return err
	}
}

// status prints what went wrong and says it as an exit status.
func (p *program) status(err error) int {
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(p.stderr, "netlyra: %s\n", visible(err.Error()))
	var usage *config.UsageError
	var syntax *filter.SyntaxError // known only with a link type, which may have nothing for a word of the filter
	var damage *capture.DamageError
	switch {
	case errors.As(err, &usage), errors.As(err, &syntax), errors.Is(err, capture.ErrPrivilege), errors.Is(err, capture.ErrNoInterface):
		return exitUsage
	case errors.As(err, &damage):
		return exitDamaged
	}
	return exitFailed
}
