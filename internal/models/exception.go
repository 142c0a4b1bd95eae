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
// *FieldError.
func (e *Exception) Normalize() error {
	for _, err := range []error{normalizePrefix("host", &e.Host), normalizePrefix("peer", &e.Peer), e.normalizeRest()} {
		if err != nil {
			return err
		}
	}
	if e.Host == "" && e.Peer == "" && e.Port == 0 && e.Category == "" {
		return &FieldError{"host", "say what is normal: a host, a peer, a port or a category"}
	}
	return nil
}

func (e *Exception) normalizeRest() error {
	if e.Proto != "" {
		p, ok := ParseProto(e.Proto)
		if !ok {
			return &FieldError{"proto", fmt.Sprintf("%q is not accepted: use TCP, UDP, ICMP, ICMPv6, ARP, SCTP or an IP protocol number", e.Proto)}
		}
		e.Proto = p.String()
	}
	if e.Category != "" && !slices.Contains(Categories(), e.Category) {
		return &FieldError{"category", fmt.Sprintf("%q is not accepted: use one of %s", string(e.Category), categoryList())}
	}
	if !Printable(e.Sensor) {
		return &FieldError{"sensor", "a sensor's name has no control characters and none that turn the direction of writing"}
	}
	if len(e.Sensor) > maxSensorName {
		return &FieldError{"sensor", fmt.Sprintf("a sensor's name has %d characters at most", maxSensorName)}
	}
	if e.Expires < 0 {
		return &FieldError{"expires", "use a time after 1970"}
	}
	return nil
}

// NormalizeReason trims a reason. The error is a *FieldError.
func NormalizeReason(reason *string) error {
	*reason = strings.TrimSpace(*reason)
	switch {
	case *reason == "":
		return &FieldError{"reason", "say why this is normal, for whoever asks later"}
	case utf8.RuneCountInString(*reason) > MaxExceptionReason:
		return &FieldError{"reason", fmt.Sprintf("use %d characters at most", MaxExceptionReason)}
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

// normalizePrefix makes an address of a prefix that holds only one, and cuts off the bits that a prefix does not use.
func normalizePrefix(field string, text *string) error {
	if *text == "" {
		return nil
	}
	p, err := ParsePrefix(*text)
	switch {
	case err != nil:
		return &FieldError{field, fmt.Sprintf("%q is not accepted: use an address or a prefix, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64", *text)}
	case p.Bits() == 0:
		return &FieldError{field, fmt.Sprintf("%q is every address: leave %s out instead", *text, field)}
	case p.IsSingleIP():
		*text = p.Addr().String()
	default:
		*text = p.String()
	}
	return nil
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
