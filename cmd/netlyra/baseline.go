package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"netlyra/internal/config"
	"netlyra/internal/detect"
	"netlyra/internal/state"
)

// baseline works on what a program has left. To look at it needs no lock: a file is replaced whole.
func (p *program) baseline(which string, c *config.Baseline) error {
	name, _, _ := strings.Cut(which, " ")
	switch name {
	case "reset":
		return p.resetBaseline(&c.Reset)
	case "export":
		return p.exportBaseline(&c.Export)
	case "import":
		return p.importBaseline(&c.Import)
	}
	return p.showBaseline(&c.Show)
}

// learnedOptions are those that a running program learns with: what is read must be of the same.
func learnedOptions(c *config.Learned) detect.Options {
	return detect.Options{Sensor: c.Sensor, Seed: analysisSeed}
}

// readBaseline reads what a sensor has saved last.
func readBaseline(f *state.File, c *config.Learned) (*detect.State, error) {
	b, err := f.Read(detect.MaxStateBytes)
	if errors.Is(err, state.ErrNone) {
		return nil, fmt.Errorf("%w: is --state right, and --sensor? run --read keeps nothing unless --state is given", err)
	}
	if err != nil {
		return nil, err
	}
	s, err := detect.ReadState(b, learnedOptions(c))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path(), err)
	}
	return s, nil
}

// scoped is a state, or what it holds of one host.
func scoped(s *detect.State, host string) (*detect.State, error) {
	if host == "" {
		return s, nil
	}
	id, err := findHost(s, host)
	if err != nil {
		return nil, err
	}
	return s.Only(id), nil
}

// findHost finds a host that somebody has named.
func findHost(s *detect.State, host string) (detect.HostID, error) {
	id, err := s.Host(host)
	switch {
	case errors.Is(err, detect.ErrUnknownHost):
		return id, fmt.Errorf("%w: netlyra baseline show lists those that are known", err)
	case err != nil:
		return id, &config.UsageError{Err: fmt.Errorf("--host: %w", err)}
	}
	return id, nil
}

func (p *program) showBaseline(c *config.BaselineShow) error {
	s, err := readBaseline(state.Look(state.Path(c.State, c.Sensor)), &c.Learned)
	if err != nil {
		return err
	}
	b := s.Baseline()
	if c.Host != "" {
		id, err := findHost(s, c.Host)
		if err != nil {
			return err
		}
		b.Hosts = slices.DeleteFunc(b.Hosts, func(h detect.KnownHost) bool { return h.Host != id.String() })
	}
	if c.Format == "json" {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(b)
	}
	var text strings.Builder
	describe(&text, &b)
	if c.Host != "" {
		for i := range b.Hosts {
			describeHost(&text, &b.Hosts[i])
		}
	} else {
		listHosts(&text, b.Hosts)
	}
	_, err = io.WriteString(p.stdout, text.String())
	return err
}

func describe(w io.Writer, b *detect.Baseline) {
	_, _ = fmt.Fprintf(w, "sensor %s, saved at %s of capture time after %s of watching\n", plain(b.Sensor), b.Saved.Time().Local().Format(localTime), watched(b.Watched))
	_, _ = fmt.Fprintf(w, "learned: %.0f %%", 100*b.Learning)
	for i, name := range sortedKeys(b.Parts) {
		_, _ = fmt.Fprintf(w, "%s%s %.0f %%", map[bool]string{true: " (", false: ", "}[i == 0], partName(name), 100*b.Parts[name])
	}
	_, _ = fmt.Fprint(w, ")\n")
	for _, name := range sortedKeys(b.Parts) {
		if b.Parts[name] < 1 {
			_, _ = fmt.Fprintf(w, "  %s: to come after %s\n", partName(name), awaits(name))
		}
	}
	_, _ = fmt.Fprint(w, "known: ")
	for _, name := range sortedKeys(b.Known) {
		several := strings.ReplaceAll(name, "_", " ")
		one := strings.TrimSuffix(several, "s")
		if name == "hardware_addresses" {
			one = "hardware address"
		}
		_, _ = fmt.Fprintf(w, "%s, ", counted(b.Known[name], one, several))
	}
	_, _ = fmt.Fprintf(w, "%s of this network; open incidents: %d\n", counted(len(b.Hosts), "host", "hosts"), b.Incidents)
}

// partName is a part of what is learned as docs/detection.md calls it.
func partName(part string) string {
	kind, role, ofRole := strings.Cut(part, "_")
	if kind == "calibration" {
		kind = "ranks"
	}
	if ofRole {
		return kind + " of " + role + "s"
	}
	return kind
}

// awaits says what a part of what is learned needs until it is complete.
func awaits(part string) string {
	kind, _, _ := strings.Cut(part, "_")
	return map[string]string{
		"limits":      "the first packets",
		"baseline":    "15 minutes of watching",
		"trees":       "more seconds in which hosts of this kind are active",
		"calibration": "more time: the alert budget must have granted an alert, which takes about ten hours at 5 a day",
	}[kind]
}

func listHosts(w io.Writer, hosts []detect.KnownHost) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "HOST\tADDRESSES\tSINCE\tPEERS\tPORTS USED\tSERVICES\tUSUAL BYTES/S")
	for _, h := range hosts {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", h.Host, some(h.Addresses, 2), h.First.Time().Local().Format(localTime), len(h.Peers), len(h.Ports), len(h.Services), usualBytes(&h))
	}
	_ = t.Flush() // it writes to memory
}

func describeHost(w io.Writer, h *detect.KnownHost) {
	_, _ = fmt.Fprintf(w, "\nhost %s, known since %s\n", h.Host, h.First.Time().Local().Format(localTime))
	_, _ = fmt.Fprintf(w, "addresses: %s\n", some(h.Addresses, mostListed))
	for _, role := range sortedKeys(h.Usual) {
		_, _ = fmt.Fprintf(w, "usual as a %s:\n", role)
		if len(h.Usual[role]) == 0 {
			_, _ = fmt.Fprintln(w, "  not known yet")
		}
		for _, u := range h.Usual[role] {
			_, _ = fmt.Fprintf(w, "  %s: %g to %g %s\n", strings.ReplaceAll(u.Feature, "_", " "), u.Low, u.High, u.Unit)
		}
	}
	_, _ = fmt.Fprintf(w, "uploads at most %d bytes in ten minutes\n", h.Upload)
	for _, l := range []struct {
		verb, one, several string
		all                []string
	}{{"talks to", "peer", "peers", h.Peers}, {"uses", "port", "ports", h.Ports}, {"offers", "service", "services", h.Services}} {
		if len(l.all) > 0 {
			_, _ = fmt.Fprintf(w, "%s %s: %s\n", l.verb, counted(len(l.all), l.one, l.several), some(l.all, mostListed))
		}
	}
}

const mostListed = 100

// some lists at most n of many.
func some(all []string, n int) string {
	if len(all) <= n {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:n], ", "), len(all)-n)
}

func usualBytes(h *detect.KnownHost) string {
	for _, u := range h.Usual[detect.Source.String()] {
		if u.Feature == "byte_rate" {
			return fmt.Sprintf("%g to %g", u.Low, u.High)
		}
	}
	return "not known yet"
}

func watched(seconds float64) string {
	return (time.Duration(seconds) * time.Second).String()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// hold takes a sensor's state for this command; a program that runs has it.
func hold(c *config.Learned) (*state.File, error) {
	return state.Open(state.Path(c.State, c.Sensor))
}

func (p *program) resetBaseline(c *config.BaselineReset) (err error) {
	f, err := hold(&c.Learned)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if c.Host == "" {
		kept, err := f.Reset()
		if err != nil {
			return err
		}
		if kept == "" {
			return fmt.Errorf("%w: there is no %s: is --state right, and --sensor?", state.ErrNone, f.Path())
		}
		_, err = fmt.Fprintf(p.stdout, "forgotten; netlyra baseline import %s brings it back\n", kept)
		return err
	}
	s, err := readBaseline(f, &c.Learned)
	if err != nil {
		return err
	}
	id, err := findHost(s, c.Host)
	if err != nil {
		return err
	}
	s.Forget(id)
	if err := f.Save(s.Append(nil)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: forgotten; what it does from now on is new\n", id)
	return err
}

func (p *program) exportBaseline(c *config.BaselineExport) error {
	s, err := readBaseline(state.Look(state.Path(c.State, c.Sensor)), &c.Learned)
	if err != nil {
		return err
	}
	if s, err = scoped(s, c.Host); err != nil {
		return err
	}
	b := s.Append(nil)
	if c.File == "-" {
		_, err := p.stdout.Write(b)
		return err
	}
	if err := os.WriteFile(c.File, b, 0o600); err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %d bytes\n", c.File, len(b))
	return err
}

func (p *program) importBaseline(c *config.BaselineImport) (err error) {
	in := p.stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("baseline: %w", err)
		}
		defer func() { _ = file.Close() }() // it is only read
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, detect.MaxStateBytes+1))
	if err != nil {
		return fmt.Errorf("baseline: %s: %w", c.File, err)
	}
	from, err := detect.ReadState(b, learnedOptions(&c.Learned))
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	f, err := hold(&c.Learned)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	what := "the baseline of sensor " + c.Sensor
	into := from
	if from.Scope() == "" {
		from.Transplant(c.Sensor)
	} else {
		what = "what is known of " + from.Scope()
		if into, err = readBaseline(f, &c.Learned); err != nil {
			return err
		}
		if err := into.Adopt(from); err != nil {
			return err
		}
	}
	if err := f.Save(into.Append(nil)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "imported: %s\n", plain(what))
	return err
}
