package config

import (
	"fmt"
	"time"

	"netlyra/internal/models"
)

// Exception is the command about what is normal here. It asks the running program, which alone writes to its database.
type Exception struct {
	List    ExceptionList    `cmd:"" help:"List all exceptions."`
	Add     ExceptionAdd     `cmd:"" help:"Say that something is normal here: incidents that match are hidden from the list of alerts, past ones and those to come, but counted."`
	Preview ExceptionPreview `cmd:"" help:"Tell which incidents of the list an exception would hide."`
	Remove  ExceptionRemove  `cmd:"" help:"Remove an exception: what it has hidden appears again."`
}

// Remote says how to reach the running program.
type Remote struct {
	API       string `help:"Address of the running program." default:"http://127.0.0.1:8090" placeholder:"URL" name:"api"`
	Token     string `help:"Secret that the running program demands, if it does. Every user of this machine can read it in the list of processes: --token-file is safer." placeholder:"TOKEN"`
	TokenFile string `help:"File that holds the secret of --token." placeholder:"FILE" type:"path"`
	TLSCert   string `help:"Certificate of the running program, if no known authority has signed it, PEM." placeholder:"FILE" type:"path" name:"tls-cert"`
}

// Incidents says what an exception is about: every flag that is set must match. At least one of host, peer, port and category is needed.
type Incidents struct {
	Host     string `help:"One end of the incident, whichever: an address or a prefix." placeholder:"ADDRESS" operand:""`
	Peer     string `help:"The other end." placeholder:"ADDRESS" operand:""`
	Port     uint16 `help:"Source or destination port." placeholder:"N" operand:""`
	Proto    string `help:"Protocol: TCP, UDP, ICMP, or a number." placeholder:"NAME" operand:""`
	Category string `help:"Kind of incident: port_scan, beacon and so on." placeholder:"NAME" operand:""`
	Sensor   string `help:"Sensor that has reported it." placeholder:"NAME" operand:""`
}

// ExceptionList lists.
type ExceptionList struct {
	Remote
	Format string `help:"How it is printed: ${enum}." enum:"text,json" default:"text" operand:""`
}

// ExceptionAdd makes an exception.
type ExceptionAdd struct {
	Remote
	Incidents
	Reason  string `help:"Why it is normal, for whoever asks later." placeholder:"TEXT" required:"" operand:""`
	Expires string `help:"When it ends: a time to come such as 12h or 30d, a point in time in RFC 3339, or never." default:"never" placeholder:"WHEN" operand:""`
}

// ExceptionPreview tells what an exception would do.
type ExceptionPreview struct {
	Remote
	Incidents
}

// ExceptionRemove removes an exception.
type ExceptionRemove struct {
	Remote
	ID string `arg:"" help:"The exception, as list shows it."`
}

func (a *ExceptionAdd) check(c *checker) {
	a.Remote.check(c)
	a.Incidents.check(c)
	if err := models.NormalizeReason(&a.Reason); err != nil && c.given["reason"] { // kong says that it is missing
		c.noteField(err)
	}
	if _, err := ParseExpiry(a.Expires, time.Now()); err != nil {
		c.note("expires", err)
	}
}

func (p *ExceptionPreview) check(c *checker) {
	p.Remote.check(c)
	p.Incidents.check(c)
}

// check refuses what the running program would refuse, so that it need not be asked first, and all that is wrong is reported.
func (i *Incidents) check(c *checker) {
	e := models.Exception{Host: i.Host, Peer: i.Peer, Port: i.Port, Proto: i.Proto, Category: models.Category(i.Category), Sensor: i.Sensor}
	for _, problem := range e.NormalizeAll() {
		c.noteField(problem)
	}
}

// ParseExpiry reads "never", a length of time from now on, or a point in time in RFC 3339; never is 0.
func ParseExpiry(text string, now time.Time) (models.Micros, error) {
	if text == "never" {
		return 0, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return models.Micros(t.UnixMicro()), nil
	}
	length, err := ParseDuration(text)
	if err != nil || length <= 0 {
		return 0, fmt.Errorf("--expires %s: write it as 12h, 30d, 2026-01-31T13:45:00Z or never", text)
	}
	return models.Micros(now.Add(time.Duration(length)).UnixMicro()), nil
}
