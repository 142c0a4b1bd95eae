package main

import (
	"fmt"
	"strings"

	"netlyra/internal/config"
)

// config prints the settings, or says that they are in order: mistakes have been reported by then.
func (p *program) config(which string, _ *config.CLI) error {
	if strings.HasPrefix(which, "check") {
		if _, _, err := config.Parse([]string{"run"}, p.environ, ".env", p.stderr); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.stdout, "the configuration is in order")
		return err
	}
	settings, err := config.Settings(p.environ, ".env")
	if err != nil {
		return err
	}
	for _, s := range settings {
		if _, err := fmt.Fprintf(p.stdout, "%s=%s\t# %s\n", s.Variable, s.Value, s.Origin); err != nil {
			return err
		}
	}
	return nil
}
