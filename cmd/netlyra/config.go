package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"netlyra/internal/config"
	"netlyra/internal/sandbox"
)

// printConfig prints the settings of run.
func (p *program) printConfig(in config.Input) error {
	settings, err := config.Settings(in)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if _, err := fmt.Fprintf(p.stdout, "%s=%s\t# %s\n", s.Variable, plain(s.Value), plain(s.Origin)); err != nil {
			return err
		}
	}
	return nil
}

// checkConfig says whether run would start, and what keeps it from that: mistakes that have been found in the settings, and what is wrong
// with the things that they name. It changes the user, as run does, and where the sandbox is required enters it: the program ends then.
func (p *program) checkConfig(ctx context.Context, c *config.Run, mistakes error) error {
	var wrong []string
	if usage, ok := errors.AsType[*config.UsageError](mistakes); ok {
		wrong = usage.Flags
	}
	s := newServed(ctx, &c.Serving, c.Sensor, slog.New(slog.DiscardHandler), nil)
	s.warn = p.warn
	w := newWatcher(c, s)
	made, err := w.checkUser(wrong, w.ownDirs())
	err = errors.Join(mistakes, err, w.check(ctx, p, wrong, made))
	if c.Sandbox == "require" {
		s := sandbox.Enter(sandbox.Options{KeepNetRaw: c.Read == ""})
		err = errors.Join(err, s.Complete())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, "the configuration is in order: run would start")
	return err
}
