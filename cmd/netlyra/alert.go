package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"netlyra/internal/config"
	"netlyra/internal/models"
)

// alert asks the running program about its alerts.
func (p *program) alert(ctx context.Context, which string, c *config.Alert) error {
	name, _, _ := strings.Cut(which, " ")
	switch name {
	case "show":
		return p.showAlert(ctx, &c.Show)
	case "ack":
		return p.acknowledge(ctx, &c.Ack)
	}
	return p.listAlerts(ctx, &c.List)
}

// alertQuery is what the API is asked, page by page.
func alertQuery(c *config.AlertList, now time.Time) (url.Values, error) {
	q := url.Values{}
	for name, value := range map[string]string{"host": c.Host, "severity": c.Severity} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if c.Triage != "listed" {
		q.Set("triage", c.Triage)
	}
	if c.Since != "" {
		since, err := parseSince(c.Since, now)
		if err != nil {
			return nil, &config.UsageError{Err: err}
		}
		q.Set("from", since.UTC().Format(time.RFC3339Nano))
	}
	return q, nil
}

// parseSince reads a length of time before now, or a point in time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	length, err := config.ParseDuration(text)
	if err != nil || length <= 0 {
		return time.Time{}, fmt.Errorf("--since %s: write it as 12h, 7d or 2026-01-31T13:45:00Z", text)
	}
	return now.Add(-time.Duration(length)), nil
}

func (p *program) listAlerts(ctx context.Context, c *config.AlertList) error {
	q, err := alertQuery(c, time.Now())
	if err != nil {
		return err
	}
	all := []models.Alert{}
	more := false
	for {
		q.Set("limit", strconv.Itoa(min(c.Limit-len(all), models.MaxPageLimit)))
		var page models.Page[models.Alert]
		if err := p.ask(ctx, &c.Remote, http.MethodGet, "alerts?"+q.Encode(), nil, &page); err != nil {
			return err
		}
		all = append(all, page.Items...)
		more = page.Next != ""
		if !more || len(all) >= c.Limit {
			break
		}
		q.Set("cursor", string(page.Next))
	}
	if c.Format == "json" {
		return writeJSON(p.stdout, all)
	}
	return printAlertList(p.stdout, all, more)
}

func printAlertList(out io.Writer, all []models.Alert, more bool) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "no alerts")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "TIME\tSEVERITY\tKIND\tID\tWHAT") // Flush reports it
	for i := range all {
		a := &all[i]
		mark := ""
		if a.Triage != models.TriageNew {
			mark = "(" + string(a.Triage) + ") "
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s%s\n", a.TS.Time().Local().Format(localTime), a.Severity, a.Category, a.ID, mark, plain(a.Summary))
	}
	if err := w.Flush(); err != nil || !more {
		return err
	}
	_, err := fmt.Fprintln(out, "there are more: --limit, --since, --severity and --host say which to list")
	return err
}

func (p *program) showAlert(ctx context.Context, c *config.AlertShow) error {
	var a models.Alert
	if err := p.ask(ctx, &c.Remote, http.MethodGet, "alerts/"+url.PathEscape(c.ID), nil, &a); err != nil {
		return fmt.Errorf("alert %q: %w", c.ID, err)
	}
	if c.Format == "json" {
		return writeJSON(p.stdout, a)
	}
	var text strings.Builder
	describeAlert(&text, &a)
	_, err := io.WriteString(p.stdout, text.String())
	return err
}

// describeAlert says in words what an alert is about, and what is known of it beside.
func describeAlert(w io.Writer, a *models.Alert) {
	_ = writeAlert(w, a)                                                                          // it writes to memory
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, "  "+format+"\n", args...) } // likewise
	line("alert %s of sensor %s, %s, last seen %s, %s", a.ID, plain(a.Sensor), a.State, a.LastTS.Time().Local().Format(localTime),
		counted(a.Count, "piece of evidence", "pieces of evidence"))
	line("%s to %s, %s", endpoint(a.SrcIP, a.SrcPort), endpoint(a.DstIP, a.DstPort), a.Proto)
	if a.CommunityID != "" {
		line("Community ID %s", a.CommunityID)
	}
	line("decided: %s", decided(a))
	for _, t := range []struct {
		name string
		top  models.Top
	}{{string(a.Role), a.Peers}, {"ports", a.Ports}} {
		if t.top.Total > 0 {
			line("%s, by evidence since it was raised: %s", t.name, listTop(t.top))
		}
	}
}

func decided(a *models.Alert) string {
	text := string(a.Triage)
	if a.HiddenBy != "" {
		text += " by exception " + a.HiddenBy
	}
	if a.DecidedBy != "" {
		text += fmt.Sprintf("; %s decided at %s", plain(a.DecidedBy), a.DecidedAt.Time().Local().Format(localTime))
	}
	return text
}

func endpoint(ip string, port uint16) string {
	if port == 0 {
		return ip
	}
	return fmt.Sprintf("%s port %d", ip, port)
}

func listTop(t models.Top) string {
	names := make([]string, 0, len(t.Top))
	for _, c := range t.Top {
		names = append(names, fmt.Sprintf("%s (%d)", plain(c.Name), c.Count))
	}
	text := strings.Join(names, ", ")
	if rest := t.Total - min(t.Total, uint64(len(names))); rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}

// acknowledge marks alerts as seen; those that cannot be do not keep it from the others.
func (p *program) acknowledge(ctx context.Context, c *config.AlertAck) error {
	var errs []error
	slices.Sort(c.ID)
	for _, id := range slices.Compact(c.ID) {
		var a models.Alert
		body := map[string]models.Triage{"triage": models.TriageAcknowledged}
		if err := p.ask(ctx, &c.Remote, http.MethodPatch, "alerts/"+url.PathEscape(id), body, &a); err != nil {
			errs = append(errs, fmt.Errorf("alert %q: %w", id, err))
			continue
		}
		if _, err := fmt.Fprintf(p.stdout, "%s: acknowledged: %s\n", a.ID, plain(a.Summary)); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}
	return errors.Join(errs...)
}
