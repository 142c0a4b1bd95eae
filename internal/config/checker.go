package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"netlyra/internal/models"
)

// UsageError is a mistake in flags, environment or file of settings: exit status 2.
type UsageError struct {
	Err   error
	Flags []string // whose values are wrong, as far as the mistake is about flags
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// checker collects what is wrong with values, at most one fault a flag: what is no number is not too large as well.
type checker struct {
	origins map[string]origin // of flags whose value is not from the command line
	given   map[string]bool   // flags on the command line
	dropped map[string]bool   // flags from elsewhere that one on the command line has taken the place of
	faults  []fault
	hint    string // where the right usage is explained; "" unless it is wrong
}

// fault is what is wrong with a flag; flag "" is none in particular.
type fault struct {
	flag string
	err  error
}

// bad notes that a flag's value is wrong. The message names the flag, the value unless it is "", and the variable if the
// value is from there.
func (c *checker) bad(flag string, value any, problem string, args ...any) {
	text := fmt.Sprint(value)
	if text != "" {
		text = " " + text
		problem = ": " + problem
	} else {
		problem = " " + problem
	}
	c.note(flag, fmt.Errorf("--%s%s%s%s", flag, text, c.origins[flag].of(flag), fmt.Sprintf(problem, args...)))
}

func (c *checker) note(flag string, err error) {
	if flag == "" || !slices.ContainsFunc(c.faults, func(f fault) bool { return f.flag == flag }) {
		c.faults = append(c.faults, fault{flag, err})
	}
}

// noteField notes a *models.FieldError, whose fields are named as the flags are.
func (c *checker) noteField(err error) {
	if field, ok := errors.AsType[*models.FieldError](err); ok {
		c.note(field.Field, fmt.Errorf("--%s: %s", field.Field, field.Problem))
	}
}

// conflict says whether two flags exclude each other here. One on the command line takes the place of one from elsewhere, which is then
// to be taken back by drop.
func (c *checker) conflict(a, b string, drop func(flag string)) {
	switch {
	case c.given[a] && !c.given[b]:
		c.dropped[b] = true
		drop(b)
	case c.given[b] && !c.given[a]:
		c.dropped[a] = true
		drop(a)
	default:
		c.note(a, fmt.Errorf("--%s%s and --%s%s: give one of them", a, c.origins[a].of(a), b, c.origins[b].of(b)))
	}
}

// err is everything that is wrong, nil for nothing.
func (c *checker) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	var errs []error
	var flags []string
	for _, f := range c.faults {
		errs = append(errs, f.err)
		if f.flag != "" {
			flags = append(flags, f.flag)
		}
	}
	if c.hint != "" {
		errs = append(errs, errors.New(c.hint))
	}
	return &UsageError{Err: errors.Join(errs...), Flags: flags}
}

// origin is where a value comes from, if not from a flag: "environment", or the path of a file.
type origin string

const fromEnvironment origin = "environment"

// of names the variable of a flag, if the value is from there.
func (o origin) of(flag string) string {
	switch o {
	case "":
		return ""
	case fromEnvironment:
		return " (" + Variable(flag) + ")"
	}
	return fmt.Sprintf(" (%s in %s)", Variable(flag), string(o))
}

// Variable is the environment variable of a flag: --ws-listen is NETLYRA_WS_LISTEN.
func Variable(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
