package config

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func (d *Detection) check(c *checker) {
	if d.Workers < 1 || d.Workers > 64 {
		c.bad("workers", d.Workers, "must be 1 to 64")
	}
	if !(d.AlertBudget > 0) || math.IsInf(d.AlertBudget, 0) { // not a number is neither
		c.bad("alert-budget", d.AlertBudget, "must be positive and finite")
	}
	if d.MaxConnections < 1024 || d.MaxConnections > 1<<24 {
		c.bad("max-connections", d.MaxConnections, "must be 1024 to %d", 1<<24)
	}
	if d.Sensor == "" || len(d.Sensor) > 64 || !utf8.ValidString(d.Sensor) || strings.ContainsAny(d.Sensor, " \"") || strings.ContainsFunc(d.Sensor, unicode.IsControl) {
		c.bad("sensor", strconv.Quote(d.Sensor), "must be 1 to 64 bytes of UTF-8 without blanks, quotes or control characters")
	}
	if d.Filter != "" && d.FilterBPF != "" {
		c.conflict("filter", "filter-bpf", func(flag string) {
			if flag == "filter" {
				d.Filter = ""
			} else {
				d.FilterBPF = ""
			}
		})
	}
}

func (a *Analyze) check(c *checker) {
	a.Detection.check(c)
	if a.Detector == DetectorExternal {
		c.bad("detector", a.Detector, "is for run: analyze reads no alerts of others")
	}
	if a.Top < 0 {
		c.bad("top", a.Top, "must be 0 or more")
	}
	if a.Summary == "-" {
		c.bad("summary", a.Summary, "name a file: standard output is for the alerts or records")
	}
}

func (r *Run) check(c *checker) {
	r.Detection.check(c)
	r.checkSource(c)
	r.Serving.check(c)
	if r.State == "" {
		c.bad("state", "", "is empty: give a directory, or off")
	}
	if d := r.StateEvery; d < Duration(time.Second) {
		c.bad("state-every", d, "must be 1s or longer")
	}
	if r.Detector == DetectorExternal && len(r.Brokers) == 0 {
		c.bad("detector", r.Detector, "is reached over a broker: add --brokers HOST:PORT")
	}
	if r.Publish != PublishNone && len(r.Brokers) == 0 {
		c.bad("publish", r.Publish, "goes to a broker: add --brokers HOST:PORT")
	}
	if r.RingMB < 1 || r.RingMB > 4096 {
		c.bad("ring-mb", r.RingMB, "must be 1 to 4096")
	}
}

func (r *Run) checkSource(c *checker) {
	if r.Read != "" && len(r.Interface) > 0 {
		c.conflict("interface", "read", func(flag string) {
			if flag == "interface" {
				r.Interface = nil
			} else {
				r.Read = ""
			}
		})
	}
	for i, name := range r.Interface {
		switch {
		case name == "":
			c.bad("interface", "", "a name is empty: leave it out")
		case slices.Contains(r.Interface[:i], name):
			c.bad("interface", name, "given twice, each of its packets would count twice")
		}
	}
	for _, f := range []struct {
		flag string
		set  bool
	}{{"loop", r.Loop}, {"keep-time", r.KeepTime}, {"speed", r.Speed != "1"}} {
		switch {
		case !f.set || r.Read != "":
		case c.given[f.flag] || !c.dropped["read"]:
			c.bad(f.flag, "", "is about a capture file: add --read FILE")
		}
	}
	switch {
	case r.Loop && r.KeepTime:
		c.bad("loop", "", "would set the clock back at every round with --keep-time: leave one out")
	case r.Loop && r.Read == "-":
		c.bad("loop", "", "cannot read standard input again: give a file to --read")
	}
	if r.Read != "" && !c.given["state"] {
		r.State = StateOff
	}
	if r.Read != "" && !c.given["database"] {
		r.Database = DatabaseTemporary
	}
}

// mostDatabaseMB is a petabyte.
const mostDatabaseMB = 1e9

func (d *Detect) check(c *checker) {
	d.Broker.check(c)
	if !(d.AlertBudget > 0) || math.IsInf(d.AlertBudget, 0) {
		c.bad("alert-budget", d.AlertBudget, "must be positive and finite")
	}
	if d.Group == "" {
		c.bad("group", "", "is empty: give the group a name")
	}
	if d.CheckpointEvery < 1 {
		c.bad("checkpoint-every", d.CheckpointEvery, "must be 1 or more")
	}
	if d.MaxSensors < 1 {
		c.bad("max-sensors", d.MaxSensors, "must be 1 or more")
	}
	if d.MetricsListen != MetricsOff {
		if _, err := checkAddress(d.MetricsListen); err != nil {
			c.bad("metrics-listen", d.MetricsListen, "%v", err)
		}
	}
	if len(d.Brokers) == 0 {
		c.bad("brokers", "", "is missing: name a broker that sensors publish to, HOST:PORT")
	}
}

func (s *Serve) check(c *checker) {
	s.Serving.check(c)
	if s.Console == "" || len(s.Console) > 64 || strings.ContainsAny(s.Console, " \t\r\n\"") {
		c.bad("console", strconv.Quote(s.Console), "must be 1 to 64 characters without blanks or quotes")
	}
	if len(s.Brokers) == 0 {
		c.bad("brokers", "", "is missing: name a broker that sensors publish to, HOST:PORT")
	}
}

func (r *Serving) check(c *checker) {
	r.checkListeners(c)
	r.checkTokens(c)
	r.checkKept(c)
	r.Broker.check(c)
}

func (r *Serving) checkKept(c *checker) {
	if (r.TLSCert == "") != (r.TLSKey == "") {
		c.bad("tls-cert", "", "and --tls-key belong together: give both or none")
	}
	for _, d := range []struct {
		flag  string
		value Duration
	}{{"alert-age", r.AlertAge}, {"connection-age", r.ConnectionAge}} {
		switch {
		case d.value <= 0:
			c.bad(d.flag, d.value, "must be positive")
		case time.Duration(d.value) < time.Second:
			c.bad(d.flag, d.value, "must be 1s or longer")
		}
	}
	if r.DatabaseMaxMB < 1 || r.DatabaseMaxMB > mostDatabaseMB {
		c.bad("database-max-mb", r.DatabaseMaxMB, "must be 1 to %d", mostDatabaseMB)
	}
	if r.Database == "" {
		c.bad("database", "", "is empty: give a file name")
	}
}

const minToken = 16 // characters

// Credentials is the environment variable in which systemd names the directory of a unit's credentials (systemd.exec(5)).
const Credentials = "CREDENTIALS_DIRECTORY"

func (r *Serving) checkTokens(c *checker) {
	if r.Token != "" && len(r.Token) < minToken {
		c.bad("token", "", "has %d characters: use at least %d", len(r.Token), minToken)
	}
	checkTokenFile(c, &r.Token, &r.TokenFile)
}

// checkTokenFile lets one of --token and --token-file hold.
func checkTokenFile(c *checker, token, file *string) {
	if *token == "" || *file == "" {
		return
	}
	c.conflict("token", "token-file", func(flag string) {
		if flag == "token" {
			*token = ""
		} else {
			*file = ""
		}
	})
}

// checkListeners refuses addresses that cannot be listened on; beyond loopback a token is demanded.
func (r *Serving) checkListeners(c *checker) {
	for _, l := range []struct{ flag, address string }{{"listen", r.Listen}, {"ws-listen", r.WSListen}} {
		if l.flag == "ws-listen" && l.address == "off" {
			continue
		}
		loopback, err := checkAddress(l.address)
		switch {
		case err != nil:
			c.bad(l.flag, l.address, "%v", err)
		case !loopback && r.Token == "" && r.TokenFile == "" && os.Getenv(Credentials) == "":
			c.bad(l.flag, l.address, "can be reached from other machines: set --token-file as well, or listen on 127.0.0.1")
		}
	}
	for _, name := range r.AllowedHosts {
		if !isHost(name) {
			c.bad("allowed-hosts", name, "must be a name or an address as browsers show it, without http:// and path: netlyra.example.org")
		}
	}
}

// checkAddress says whether an address of a listener is one of loopback, or what is wrong with it.
func checkAddress(address string) (loopback bool, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, errors.New("write it as host:port, for instance 127.0.0.1:8090")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, errors.New("the port must be 0 to 65535")
	}
	if host == "" || host == "localhost" {
		return host != "", nil
	}
	ip, err := netip.ParseAddr(host)
	if err == nil {
		return ip.IsLoopback(), nil
	}
	if !isHost(host) {
		return false, errors.New("this is neither an address nor a name: for instance 127.0.0.1:8090")
	}
	return false, nil
}

// isHost says whether a text is an address or the name of a host, with a port or without (RFC 1123, section 2.1): a name's last label is
// not numeric, which tells it from a mistyped address.
func isHost(text string) bool {
	if host, port, err := net.SplitHostPort(text); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		text = host
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return true
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.ContainsFunc(l, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return false
		}
	}
	return len(text) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func (l *Learned) check(c *checker) {
	if l.State == "" || l.State == StateOff {
		c.bad("state", l.State, "give the directory with what has been learned")
	}
}

// check refuses addresses that cannot be asked, and to send the token where others can read it.
func (r *Remote) check(c *checker) {
	checkTokenFile(c, &r.Token, &r.TokenFile)
	u, err := url.Parse(r.API)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		c.bad("api", r.API, "write it as http://host:port or https://host:port")
		return
	}
	if u.Scheme == "http" && (r.Token != "" || r.TokenFile != "") && !isLoopback(u.Hostname()) {
		c.bad("api", r.API, "the token would go over the network unencrypted: use https")
	}
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
