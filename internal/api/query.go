package api

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"netlyra/internal/models"
)

// maxCursor bounds what is handed to the store as a cursor, in bytes.
const maxCursor = 512

func alertStates() []models.AlertState {
	return []models.AlertState{models.AlertOpen, models.AlertClosed}
}

// setter reads one parameter's value; its error says what is accepted.
type setter func(value string) error

// parseQuery reads a query string strictly: a parameter that set does not know, that comes twice or that has a bad value is
// an error which names it. (A filter that is ignored would show more than was asked for.)
func parseQuery(raw string, set map[string]setter) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return fail(codeBadParameter, "the query string cannot be read: separate parameters with & and write special characters as %XX")
	}
	// In a fixed order, so that the same request always gets the same answer.
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := setOne(name, values[name], set); err != nil {
			return err
		}
	}
	return nil
}

func setOne(name string, values []string, set map[string]setter) error {
	f, known := set[name]
	switch {
	case !known:
		return fail(codeBadParameter, fmt.Sprintf("%s: there is no such parameter here; there are: %s", quote(name), accepted(set)))
	case len(values) > 1:
		return failField(codeBadParameter, name, name+": given more than once")
	case values[0] == "":
		return failField(codeBadParameter, name, name+": empty; leave the parameter out instead")
	}
	if err := f(values[0]); err != nil {
		return failField(codeBadParameter, name, fmt.Sprintf("%s: %s is not accepted: %s", name, quote(values[0]), err.Error()))
	}
	return nil
}

func accepted(set map[string]setter) string {
	if len(set) == 0 {
		return "none"
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// quote shows what a client sent: bounded, and free of control characters.
func quote(s string) string {
	const show = 60
	if len(s) > show {
		s = s[:show] + "…"
	}
	return strconv.Quote(s)
}

// parseAlertQuery reads the filters of the list of alerts.
func parseAlertQuery(raw string) (models.AlertQuery, error) {
	q := models.AlertQuery{Limit: models.DefaultPageLimit}
	err := parseQuery(raw, map[string]setter{
		"host": prefix(&q.Host), "port": portNumber(&q.Port), "proto": proto(&q.Proto),
		"from": instant(&q.From), "to": instant(&q.To), "min_score": score(&q.MinScore),
		"state": oneOf(&q.State, alertStates()), "category": listOf(&q.Categories, models.Categories()),
		"severity": listOf(&q.Severities, models.Severities()), "sensor": text(&q.Sensor), "text": text(&q.Text),
		"community_id": text(&q.CommunityID), "triage": oneOf(&q.Triage, append(models.Triages(), models.TriageAll)),
		"sort":  oneOf(&q.Sort, []models.Sort{models.SortNewest, models.SortScore, models.SortSeverity}),
		"limit": limit(&q.Limit), "cursor": cursor(&q.Cursor),
	})
	return q, errorOr(err, q.From, q.To)
}

// connectionQuery is the store's, and whether the live table is asked instead.
type connectionQuery struct {
	models.ConnectionQuery
	live bool
}

// parseConnectionQuery reads the filters of the list of connections.
func parseConnectionQuery(raw string) (connectionQuery, error) {
	q := connectionQuery{ConnectionQuery: models.ConnectionQuery{Limit: models.DefaultPageLimit}}
	err := parseQuery(raw, map[string]setter{
		"host": prefix(&q.Host), "port": portNumber(&q.Port), "proto": proto(&q.Proto),
		"from": instant(&q.From), "to": instant(&q.To), "min_score": score(&q.MinScore),
		"state": listOf(&q.States, models.ConnStateNames()), "sensor": text(&q.Sensor), "text": text(&q.Text),
		"community_id": text(&q.CommunityID), "alert": text(&q.Alert), "live": boolean(&q.live),
		"sort":  oneOf(&q.Sort, []models.Sort{models.SortNewest, models.SortBytes}),
		"limit": limit(&q.Limit), "cursor": cursor(&q.Cursor),
	})
	return q, errorOr(err, q.From, q.To)
}

// parseHostQuery reads the filters of the list of hosts.
func parseHostQuery(raw string) (models.HostQuery, error) {
	q := models.HostQuery{Limit: models.DefaultPageLimit}
	err := parseQuery(raw, map[string]setter{
		"host": prefix(&q.Prefix), "text": text(&q.Text), "sensor": text(&q.Sensor), "from": instant(&q.Since),
		"sort":  oneOf(&q.Sort, []models.Sort{models.SortNewest, models.SortBytes, models.SortAddress}),
		"limit": limit(&q.Limit), "cursor": cursor(&q.Cursor),
	})
	return q, err
}

// parseDecisionQuery reads the filters of the list of decisions.
func parseDecisionQuery(raw string) (models.DecisionQuery, error) {
	q := models.DecisionQuery{Limit: models.DefaultPageLimit}
	err := parseQuery(raw, map[string]setter{"object": text(&q.Object), "limit": limit(&q.Limit), "cursor": cursor(&q.Cursor)})
	return q, err
}

func errorOr(err error, from, to models.Micros) error {
	if err == nil && from != 0 && to != 0 && to <= from {
		return failField(codeBadParameter, "to", "to: must be after from")
	}
	return err
}

func prefix(into *netip.Prefix) setter {
	return func(v string) error {
		p, err := models.ParsePrefix(v)
		if err != nil {
			return errors.New("use an IPv4 or IPv6 address or a prefix, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64")
		}
		*into = p
		return nil
	}
}

// maxText bounds a text that is searched for, in characters.
const maxText = 128

// text reads free text; what cannot be in any name that is searched is refused, as it is a mistake.
func text(into *string) setter {
	return func(v string) error {
		if utf8.RuneCountInString(v) > maxText || !models.Printable(v) {
			return fmt.Errorf("use %d characters at most, without control characters", maxText)
		}
		*into = v
		return nil
	}
}

func portNumber(into *uint16) setter {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil || n == 0 {
			return errors.New("use a number from 1 to 65535")
		}
		*into = uint16(n)
		return nil
	}
}

func proto(into *string) setter {
	return func(v string) error {
		p, ok := models.ParseProto(v)
		if !ok {
			return errors.New("use TCP, UDP, ICMP, ICMPv6, ARP, SCTP or an IP protocol number from 0 to 255")
		}
		*into = p.String()
		return nil
	}
}

// instant reads RFC 3339. Before 1970 there was no packet, so that an earlier time restricts as its first microsecond does; 0 stands
// for no restriction.
func instant(into *models.Micros) setter {
	return func(v string) error {
		t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(v))
		if err != nil || t.Year() > 9999 {
			return errors.New("use a time in RFC 3339, such as 2026-01-31T13:45:00Z (write + as %2B)")
		}
		*into = max(1, models.Micros(t.UnixMicro()))
		return nil
	}
}

func score(into *float64) setter {
	return func(v string) error {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || !(f >= 0 && f <= 1) { // not a number is neither
			return errors.New("use a number from 0 to 1, such as 0.8")
		}
		*into = f
		return nil
	}
}

func limit(into *int) setter {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > models.MaxPageLimit {
			return fmt.Errorf("use a number from 1 to %d", models.MaxPageLimit)
		}
		*into = n
		return nil
	}
}

func cursor(into *models.Cursor) setter {
	return func(v string) error {
		if len(v) > maxCursor {
			return errors.New("use the next of the page before")
		}
		*into = models.Cursor(v)
		return nil
	}
}

func boolean(into *bool) setter {
	return func(v string) error {
		if v != "true" && v != "false" { // strconv.ParseBool would also take "T" and "1"
			return errors.New("use true or false")
		}
		*into = v == "true"
		return nil
	}
}

func oneOf[T ~string](into *T, all []T) setter {
	return func(v string) error {
		if !slices.Contains(all, T(v)) {
			names := make([]string, len(all))
			for i, t := range all {
				names[i] = string(t)
			}
			return fmt.Errorf("use %s", strings.Join(names, ", "))
		}
		*into = T(v)
		return nil
	}
}

// listOf reads texts of a closed list, with commas between them.
func listOf[T ~string](into *[]T, all []T) setter {
	return func(v string) error {
		var list []T
		for text := range strings.SplitSeq(v, ",") {
			var one T
			if err := oneOf(&one, all)(text); err != nil {
				return err
			}
			list = append(list, one)
		}
		*into = list
		return nil
	}
}
