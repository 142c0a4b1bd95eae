package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"netlyra/internal/config"
	"netlyra/internal/models"
)

// exception asks the running program about its exceptions: it alone writes to the database.
func (p *program) exception(ctx context.Context, which string, c *config.Exception) error {
	switch which {
	case "add":
		return p.addException(ctx, &c.Add)
	case "preview":
		return p.previewException(ctx, &c.Preview)
	case "remove <id>":
		return p.removeException(ctx, &c.Remove)
	}
	return p.listExceptions(ctx, &c.List)
}

func (p *program) listExceptions(ctx context.Context, c *config.ExceptionList) error {
	var page models.Page[models.Exception]
	if err := p.ask(ctx, &c.Remote, http.MethodGet, "exceptions", nil, &page); err != nil {
		return err
	}
	if c.Format == "json" {
		return writeJSON(p.stdout, page.Items)
	}
	if len(page.Items) == 0 {
		_, err := fmt.Fprintln(p.stdout, "no exceptions")
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tWHAT\tHIDDEN\tEXPIRES\tREASON") // Flush reports it
	for _, e := range page.Items {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", e.ID, plain(scope(&e)), e.Hits, expires(&e, time.Now()), plain(e.Reason))
	}
	return w.Flush()
}

func (p *program) addException(ctx context.Context, c *config.ExceptionAdd) error {
	until, err := config.ParseExpiry(c.Expires, time.Now())
	if err != nil {
		return &config.UsageError{Err: err}
	}
	body := exceptionBody(&c.Incidents)
	body.Reason, body.Expires = c.Reason, until
	var e models.Exception
	if err := p.ask(ctx, &c.Remote, http.MethodPost, "exceptions", body, &e); err != nil {
		if refused, ok := errors.AsType[*refusal](err); ok && refused.existing != "" {
			return fmt.Errorf("exception %s says that already: remove it first: netlyra exception remove %[1]s", plain(refused.existing))
		}
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %s is normal now; past incidents hidden: %d; expires: %s\n", e.ID, plain(scope(&e)), e.Hits, expires(&e, time.Now()))
	return err
}

func (p *program) previewException(ctx context.Context, c *config.ExceptionPreview) error {
	var preview models.ExceptionPreview
	if err := p.ask(ctx, &c.Remote, http.MethodPost, "exceptions/preview", exceptionBody(&c.Incidents), &preview); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "incidents of the list that it would hide: %d\n", preview.Count)
	for i := range preview.Items {
		a := &preview.Items[i]
		fmt.Fprintf(&b, "%s  %s  %s  %s\n", a.TS.Time().Local().Format(localTime), a.ID, a.Category, plain(a.Summary))
	}
	if more := preview.Count - len(preview.Items); more > 0 {
		fmt.Fprintf(&b, "and %d older ones\n", more)
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

func (p *program) removeException(ctx context.Context, c *config.ExceptionRemove) error {
	if err := p.ask(ctx, &c.Remote, http.MethodDelete, "exceptions/"+url.PathEscape(c.ID), nil, nil); err != nil {
		if refused, ok := errors.AsType[*refusal](err); ok && refused.code == "not_found" {
			return fmt.Errorf("there is no exception %q: netlyra exception list lists them", c.ID)
		}
		return fmt.Errorf("exception %q: %w", c.ID, err)
	}
	_, err := fmt.Fprintln(p.stdout, "removed: what it had hidden is in the list again, unless something else hides it")
	return err
}

// newException is the body of a request.
type newException struct {
	Host     string        `json:"host,omitempty"`
	Peer     string        `json:"peer,omitempty"`
	Port     uint16        `json:"port,omitempty"`
	Proto    string        `json:"proto,omitempty"`
	Category string        `json:"category,omitempty"`
	Sensor   string        `json:"sensor,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Expires  models.Micros `json:"expires"`
}

func exceptionBody(i *config.Incidents) newException {
	return newException{Host: i.Host, Peer: i.Peer, Port: i.Port, Proto: i.Proto, Category: i.Category, Sensor: i.Sensor}
}

// scope says in words what an exception is about.
func scope(e *models.Exception) string {
	var parts []string
	add := func(name, value string) {
		if value != "" && value != "0" {
			parts = append(parts, name+value)
		}
	}
	add("", string(e.Category))
	add("host ", e.Host)
	add("peer ", e.Peer)
	add("port ", strconv.Itoa(int(e.Port)))
	add("", e.Proto)
	add("sensor ", e.Sensor)
	return strings.Join(parts, ", ")
}

func expires(e *models.Exception, now time.Time) string {
	switch {
	case e.Expires == 0:
		return "never"
	case !e.Expires.Time().After(now):
		return "expired"
	}
	return e.Expires.Time().Local().Format(localTime)
}
