package models

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of exceptions.
const (
	MaxExceptions      = 500 // stored at a time
	MaxExceptionReason = 500 // characters
	maxSensorName      = 64  // bytes
)

// ErrTooManyExceptions says that there are MaxExceptions already.
var ErrTooManyExceptions = errors.New("too many exceptions")

// DuplicateException says that there is an exception with the same scope already, which has not expired.
type DuplicateException struct{ ID string }

func (e *DuplicateException) Error() string {
	return "exception " + e.ID + " says that already: change its reason or its end, or remove it first"
}

// Exception says that something is normal here: incidents that match every field which is not empty are hidden from the
// list of alerts, but counted. docs/exceptions.md says what matches.
//
// Host is one end of the incident, Peer the other, whichever of the two is the culprit. Each is an address or a prefix in
// canonical text, and an end matches when every address is in it that the incident is known to have there.
type Exception struct {
	ID       string   `json:"id"                 gorm:"primaryKey"`
	Created  Micros   `json:"created"` // wall clock
	Host     string   `json:"host,omitempty"`
	Peer     string   `json:"peer,omitempty"`
	Port     uint16   `json:"port,omitempty"`  // source or destination port
	Proto    string   `json:"proto,omitempty"` // as Proto.String writes it
	Category Category `json:"category,omitempty"`
	Sensor   string   `json:"sensor,omitempty"`
	Reason   string   `json:"reason"`  // why it is normal, for people
	Expires  Micros   `json:"expires"` // wall clock; null: never
	Hits     uint64   `json:"hits"`    // incidents that it has hidden so far
}

// ExceptionChange says what is to be different about an exception; nil leaves a field as it is.
type ExceptionChange struct {
	Reason  *string
	Expires *Micros // 0: never
}

// ExceptionPreview tells what an exception would do to the alerts that there are.
type ExceptionPreview struct {
	Count int     `json:"count"` // incidents that are in the list and that it would hide
	Items []Alert `json:"items"` // the newest of them
}

// FieldError is a field whose value is not accepted. Problem says what is, for people.
type FieldError struct{ Field, Problem string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Normalize puts what a person has said is normal into its canonical form; the reason has NormalizeReason. The error is a
// *FieldError, the first of those of NormalizeAll.
func (e *Exception) Normalize() error {
	if problems := e.NormalizeAll(); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// NormalizeAll is Normalize, and returns every field that is not accepted, in the order of the fields; those stay as they are.
func (e *Exception) NormalizeAll() (problems []*FieldError) {
	bad := func(field, problem string, args ...any) {
		problems = append(problems, &FieldError{field, fmt.Sprintf(problem, args...)})
	}
	for _, f := range []struct {
		name string
		text *string
	}{{"host", &e.Host}, {"peer", &e.Peer}} {
		if problem := normalizePrefix(f.name, f.text); problem != "" {
			bad(f.name, "%s", problem)
		}
	}
	if e.Proto != "" {
		if p, ok := ParseProto(e.Proto); ok {
			e.Proto = p.String()
		} else {
			bad("proto", "%q is not accepted: use TCP, UDP, ICMP, ICMPv6, ARP, SCTP or an IP protocol number", e.Proto)
		}
	}
	if e.Category != "" && !slices.Contains(Categories(), e.Category) {
		bad("category", "%q is not accepted: use one of %s", string(e.Category), categoryList())
	}
	switch {
	case !Printable(e.Sensor):
		bad("sensor", "a sensor's name is UTF-8 without control characters and without those that turn the direction of writing")
	case len(e.Sensor) > maxSensorName:
		bad("sensor", "a sensor's name has %d characters at most", maxSensorName)
	}
	if e.Expires < 0 {
		bad("expires", "use a time after 1970")
	}
	if e.Host == "" && e.Peer == "" && e.Port == 0 && e.Category == "" {
		bad("host", "say what is normal: a host, a peer, a port or a category")
	}
	return problems
}

// NormalizeReason trims a reason. The error is a *FieldError.
func NormalizeReason(reason *string) error {
	*reason = strings.TrimSpace(*reason)
	switch {
	case *reason == "":
		return &FieldError{"reason", "say why this is normal, for whoever asks later"}
	case utf8.RuneCountInString(*reason) > MaxExceptionReason:
		return &FieldError{"reason", fmt.Sprintf("use %d characters at most", MaxExceptionReason)}
	case !utf8.ValidString(*reason):
		return &FieldError{"reason", "this is not UTF-8: write it in UTF-8"}
	case !Printable(*reason):
		return &FieldError{"reason", "use one line of text"}
	}
	return nil
}

// Printable says whether a text is UTF-8 without control characters (which a terminal obeys) and without those that turn the direction
// of writing (with which a text reads as another).
func Printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	})
}

// normalizePrefix makes an address of a prefix that holds only one, and cuts off the bits that a prefix does not use. It returns what is
// wrong, "" for nothing.
func normalizePrefix(field string, text *string) (problem string) {
	if *text == "" {
		return ""
	}
	p, err := ParsePrefix(*text)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not accepted: use an address or a prefix, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64", *text)
	case p.Bits() == 0:
		return fmt.Sprintf("%q is every address: leave %s out instead", *text, field)
	case p.IsSingleIP():
		*text = p.Addr().String()
	default:
		*text = p.String()
	}
	return ""
}

// ParsePrefix reads an address, as the prefix that holds only it, or a prefix; IPv4 comes out unmapped, the unused bits 0.
func ParsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("models: address %q has a zone", text)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("models: prefix %q: %w", text, err)
	}
	const mapped = 96 // bits before an IPv4 address in ::ffff:0:0/96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), nil
}

func categoryList() string {
	names := make([]string, 0, len(Categories()))
	for _, c := range Categories() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}
