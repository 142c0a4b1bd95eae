package store

import (
	"fmt"
	"net/netip"
	"time"

	"netlyra/internal/models"
)

// rule is an exception made ready to be compared with many alerts.
type rule struct {
	models.Exception
	host, peer netip.Prefix // not valid: every address
}

func newRule(e models.Exception) (rule, error) {
	r := rule{Exception: e}
	for _, p := range []struct {
		text string
		into *netip.Prefix
	}{{e.Host, &r.host}, {e.Peer, &r.peer}} {
		if p.text == "" {
			continue
		}
		var err error
		if *p.into, err = models.ParsePrefix(p.text); err != nil {
			return rule{}, fmt.Errorf("store: exception %s: %w", e.ID, err)
		}
	}
	return r, nil
}

// matches says whether the incident is one that the exception is about: every field that is set must match. Host is
// either end of the incident and peer the other one, so that an exception between two addresses holds in both directions.
func (r *rule) matches(a *models.Alert, ends incidentEnds) bool {
	switch {
	case r.Port != 0 && r.Port != a.SrcPort && r.Port != a.DstPort,
		r.Proto != "" && r.Proto != a.Proto,
		r.Category != "" && r.Category != a.Category,
		r.Sensor != "" && r.Sensor != a.Sensor:
		return false
	}
	return covers(r.host, ends.src) && covers(r.peer, ends.dst) || covers(r.host, ends.dst) && covers(r.peer, ends.src)
}

// covers says whether all addresses are in the prefix. One that could not be read is in none.
func covers(p netip.Prefix, addrs []netip.Addr) bool {
	if !p.IsValid() {
		return true
	}
	for _, a := range addrs {
		if !p.Contains(a) {
			return false
		}
	}
	return true
}

// incidentEnds are the addresses known to be on either side. An incident with several peers has them all on one of them:
// an exception about one of these must not hide what is done to the others.
type incidentEnds struct{ src, dst []netip.Addr }

func endsOf(a *models.Alert) incidentEnds {
	e := incidentEnds{src: []netip.Addr{parseAddr(a.SrcIP)}, dst: []netip.Addr{parseAddr(a.DstIP)}}
	side := &e.dst
	if peersAreSources(a) {
		side = &e.src
	}
	for _, p := range a.Peers.Top {
		*side = append(*side, parseAddr(p.Name))
	}
	return e
}

// peersAreSources says whether the peers of the incident are those who do it, as in a flood from many addresses: its
// victim is then the one address on the other side. Of the two addresses of an alert, one is a peer; it is in the list of
// the most frequent unless that is cut off, and then the category has to tell.
func peersAreSources(a *models.Alert) bool {
	if a.Role != "" { // else it was stored before there was a role
		return a.Role == models.PeersAreSources
	}
	src := false
	for _, p := range a.Peers.Top {
		if p.Name == a.DstIP {
			return false
		}
		src = src || p.Name == a.SrcIP
	}
	return src || a.Category == models.CategoryFlood || a.Category == models.CategoryAmplification
}

// parseAddr gives the zero address, which is in no prefix, for a text that is no address.
func parseAddr(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// rules are all exceptions, the oldest first.
type rules struct {
	all  []rule
	next models.Micros // when the next of them expires; 0: none will
}

func newRules(es []models.Exception, now time.Time) (*rules, error) {
	rs := &rules{all: make([]rule, 0, len(es))}
	for _, e := range es {
		r, err := newRule(e)
		if err != nil {
			return nil, err
		}
		rs.all = append(rs.all, r)
		if at(now) < e.Expires && (rs.next == 0 || e.Expires < rs.next) {
			rs.next = e.Expires
		}
	}
	return rs, nil
}

func at(now time.Time) models.Micros { return models.Micros(now.UnixMicro()) }

// decision is what holds for an alert.
type decision struct {
	triage   models.Triage
	hiddenBy string
}

// decide weighs what a person has decided about an alert against the exceptions: the later one counts, except that what
// a person has hidden stays hidden. Of several exceptions that match, the oldest counts.
func (rs *rules) decide(a *models.Alert, now time.Time) decision {
	if a.Decided == models.TriageHidden {
		return decision{triage: models.TriageHidden}
	}
	var ends *incidentEnds
	for i := range rs.all {
		r := &rs.all[i]
		if r.Expires != 0 && r.Expires <= at(now) || r.Created <= a.DecidedAt {
			continue
		}
		if ends == nil {
			e := endsOf(a)
			ends = &e
		}
		if r.matches(a, *ends) {
			return decision{models.TriageHidden, r.ID}
		}
	}
	if a.Decided == "" {
		return decision{triage: models.TriageNew}
	}
	return decision{triage: a.Decided}
}
