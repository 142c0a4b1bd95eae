package config

// Alert is the command about alerts. It asks the running program, as the page does.
type Alert struct {
	List AlertList `cmd:"" help:"List alerts, the newest first."`
	Show AlertShow `cmd:"" help:"Show one alert with its reasons, and what would have had to be different."`
	Ack  AlertAck  `cmd:"" help:"Acknowledge alerts: they stay in the list, marked as seen."`
}

// AlertList lists.
type AlertList struct {
	Remote
	Host     string `help:"Only incidents of this address or prefix." placeholder:"ADDRESS" operand:""`
	Severity string `help:"Only this severity: low, medium, high, critical; several with commas between them." placeholder:"NAME" operand:""`
	Since    string `help:"Only what began since then: a length of time such as 12h or 7d, or a point in time in RFC 3339." placeholder:"WHEN" operand:""`
	Triage   string `help:"Only what has been decided so: ${enum}; listed leaves out what is hidden." enum:"listed,new,acknowledged,hidden,all" default:"listed" operand:""`
	Limit    int    `help:"Most alerts that are listed, 1 to 10000." default:"50" operand:""`
	Format   string `help:"How it is printed: ${enum}." enum:"text,json" default:"text" operand:""`
}

// AlertShow shows one.
type AlertShow struct {
	Remote
	ID     string `arg:"" help:"The alert, as list shows it."`
	Format string `help:"How it is printed: ${enum}." enum:"text,json" default:"text" operand:""`
}

// AlertAck acknowledges.
type AlertAck struct {
	Remote
	ID []string `arg:"" help:"The alerts, as list shows them."`
}

func (l *AlertList) check(c *checker) {
	l.Remote.check(c)
	if l.Limit < 1 || l.Limit > 10_000 {
		c.bad("limit", l.Limit, "must be 1 to 10000")
	}
}
