package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

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
	if err := ask(ctx, &c.Remote, http.MethodGet, "exceptions", nil, &page); err != nil {
		return err
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
	until, err := parseExpiry(c.Expires, time.Now())
	if err != nil {
		return &config.UsageError{Err: err}
	}
	body := exceptionBody(&c.Incidents)
	body.Reason, body.Expires = c.Reason, until
	var e models.Exception
	if err := ask(ctx, &c.Remote, http.MethodPost, "exceptions", body, &e); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: %s is normal now; past incidents hidden: %d; expires: %s\n", e.ID, plain(scope(&e)), e.Hits, expires(&e, time.Now()))
	return err
}

func (p *program) previewException(ctx context.Context, c *config.ExceptionPreview) error {
	var preview models.ExceptionPreview
	if err := ask(ctx, &c.Remote, http.MethodPost, "exceptions/preview", exceptionBody(&c.Incidents), &preview); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "incidents of the list that it would hide: %d\n", preview.Count)
	for i := range preview.Items {
		a := &preview.Items[i]
		fmt.Fprintf(&b, "%s  %s  %s  %s\n", a.TS, a.ID, a.Category, plain(a.Summary))
	}
	if more := preview.Count - len(preview.Items); more > 0 {
		fmt.Fprintf(&b, "and %d older ones\n", more)
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

func (p *program) removeException(ctx context.Context, c *config.ExceptionRemove) error {
	if err := ask(ctx, &c.Remote, http.MethodDelete, "exceptions/"+url.PathEscape(c.ID), nil, nil); err != nil {
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

// parseExpiry reads "never", a length of time with h, m, s or d for days, or a point in time; never is 0.
func parseExpiry(text string, now time.Time) (models.Micros, error) {
	if text == "never" {
		return 0, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return models.Micros(t.UnixMicro()), nil
	}
	length, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		length = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || length <= 0 {
		return 0, fmt.Errorf("--expires %s: write it as 12h, 30d, 2026-01-31T13:45:00Z or never", text)
	}
	return models.Micros(now.Add(length).UnixMicro()), nil
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
	return e.Expires.Time().Format(time.RFC3339)
}

// plain is a text without what a terminal would obey.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// ask makes a request of the running program's API and reads the answer into the last argument, unless that is nil.
func ask(ctx context.Context, c *config.Remote, method, path string, body, into any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	base := strings.TrimSuffix(c.API, "/")
	request, err := http.NewRequestWithContext(ctx, method, base+"/api/v1/"+path, &content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client, err := newClient(c)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return unreachable(base, err)
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	const most = 64 << 20
	raw, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return fmt.Errorf("%s: %w", base, err)
	}
	return understand(base, response, raw, into)
}

// newClient trusts the authorities that the system trusts, and the certificate that is named.
func newClient(c *config.Remote) (*http.Client, error) {
	client := &http.Client{Timeout: time.Minute}
	if c.TLSCert == "" {
		return client, nil
	}
	pem, err := os.ReadFile(c.TLSCert)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-cert %s: there is no certificate in it", c.TLSCert)
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return client, nil
}

func unreachable(base string, err error) error {
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return fmt.Errorf("%s: its certificate is signed by nobody known here: name it with --tls-cert (netlyra makes its own in "+
			"the folder tls/ beside the database): %w", base, err)
	}
	return fmt.Errorf("no netlyra answers at %s: exceptions are made by the running program; start it with netlyra run, or give "+
		"its address with --api: %w", base, err)
}

// understand reads an answer; one that says what is wrong is a mistake of whoever asked.
func understand(base string, response *http.Response, raw []byte, into any) error {
	if response.StatusCode >= http.StatusBadRequest {
		var answer struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal(raw, &answer) != nil || answer.Error.Message == "" {
			return fmt.Errorf("%s: answers %s, which is not what netlyra says: is --api right?", base, response.Status)
		}
		err := errors.New(plain(answer.Error.Message))
		switch response.StatusCode {
		case http.StatusUnauthorized:
			return &config.UsageError{Err: fmt.Errorf("%s demands its token: give it with --token or NETLYRA_TOKEN", base)}
		case http.StatusBadRequest:
			return &config.UsageError{Err: err}
		}
		return err
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: answers what netlyra does not say: is --api right? %w", base, err)
	}
	return nil
}
