package models

// Stats is the state of a running program in numbers, as `stats` in the API and on the WebSocket serves it. Counters
// run from the program's start; rates are over the last second of capture time.
type Stats struct {
	Sensor        string            `json:"sensor"`
	Source        string            `json:"source"`         // the interfaces or the file
	LastPacketTS  Micros            `json:"last_packet_ts"` // null before the first packet
	ClockTS       Micros            `json:"clock_ts"`       // capture time that the analysis has reached; null before the first packet
	UptimeSeconds float64           `json:"uptime_seconds"`
	Packets       uint64            `json:"packets"`
	Bytes         uint64            `json:"bytes"`
	PacketRate    float64           `json:"packet_rate"` // packets/s
	ByteRate      float64           `json:"byte_rate"`   // bytes/s
	Decoded       uint64            `json:"decoded"`
	NonIP         uint64            `json:"non_ip"`
	Fragments     Fragments         `json:"fragments"`
	LatePackets   uint64            `json:"late_packets"`  // stamped before the open slot, counted into it
	ClockJumps    uint64            `json:"clock_jumps"`   // capture time was set back by more than 10 s
	TimeOutliers  uint64            `json:"time_outliers"` // packets whose time is far from that of their neighbours, judged at the neighbours' time
	ByProto       map[string]Volume `json:"by_proto"`
	Connections   ConnStats         `json:"connections"`
	Drops         []Drop            `json:"drops"`     // kernel to page; stages without drops are listed with 0
	Malformed     map[string]uint64 `json:"malformed"` // by reason
	Alerts        AlertStats        `json:"alerts"`
	Detector      DetectorStats     `json:"detector"`
	Interfaces    []Interface       `json:"interfaces"`
	LatencyMS     []StageLatency    `json:"latency_ms"`
	MemoryBytes   uint64            `json:"memory_bytes"` // resident set of the process
}

// Volume is traffic.
type Volume struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Fragments counts the parts of fragmented datagrams.
type Fragments struct {
	First uint64 `json:"first"`
	Later uint64 `json:"later"`
}

// ConnStats counts connections. Opened = Active + Expired + Evicted.
type ConnStats struct {
	Active   uint64 `json:"active"`
	Opened   uint64 `json:"opened"`
	Expired  uint64 `json:"expired"`
	Evicted  uint64 `json:"evicted"`
	Unstored uint64 `json:"unstored"` // counted, but not written to the database: one-packet connections of a flood
}

// Drop is what one stage lost for one reason.
type Drop struct {
	Stage  string     `json:"stage"`
	Reason string     `json:"reason"`
	Count  uint64     `json:"count"`
	Unit   DropUnit   `json:"unit"`
	Effect DropEffect `json:"effect"`
}

// DropUnit is what a Drop counts.
type DropUnit string

// The units.
const (
	DropPackets  DropUnit = "packet"
	DropSlots    DropUnit = "slot" // results of 40 ms
	DropRows     DropUnit = "row"  // of the database or of a list
	DropAlerts   DropUnit = "alert"
	DropMessages DropUnit = "message"
	DropClients  DropUnit = "client"
	DropLines    DropUnit = "line" // of the log
)

// DropEffect is what follows from a Drop.
type DropEffect string

// The effects, the worst first.
const (
	DropUnseen   DropEffect = "unseen"   // packets that nothing has looked at
	DropUnjudged DropEffect = "unjudged" // seen and counted, but unknown to the detector
	DropUnstored DropEffect = "unstored" // judged and shown, but not in the database
	DropUnlisted DropEffect = "unlisted" // a list, the page or the log is incomplete; nothing else is lost
)

// AlertStats counts revisions. Raised = Stored + Suppressed + Dropped + those still on their way.
type AlertStats struct {
	Raised     uint64 `json:"raised"`
	Stored     uint64 `json:"stored"`     // and shown
	Suppressed uint64 `json:"suppressed"` // stored as well, but hidden by an exception or by hand
	Dropped    uint64 `json:"dropped"`
}

// DetectorStats says how far the detector has learned and how it keeps to its budget.
type DetectorStats struct {
	Name          string             `json:"name"`
	Learning      float64            `json:"learning"` // 0 to 1
	Parts         map[string]float64 `json:"parts"`
	BudgetPerDay  float64            `json:"budget_per_day"`
	ActualPerDay  float64            `json:"actual_per_day"` // alerts that are not due to an absolute limit
	LearnedAlerts uint64             `json:"learned_alerts"` // so far; these are what the budget is for
	LimitAlerts   uint64             `json:"limit_alerts"`   // so far, raised by absolute limits
	Releases      uint64             `json:"releases"`       // times that what was kept from being learned has become the new normal
	OpenIncidents uint64             `json:"open_incidents"`
	Entities      map[string]uint64  `json:"entities"`
	CapsHit       map[string]uint64  `json:"caps_hit"`
}

// Interface is a source's link state.
type Interface struct {
	Name string `json:"name"`
	Link string `json:"link"` // "up", "down", "gone", "file", "ended"
	// Received are the packets that the kernel has heard on it for us, or that were read of a file; Dropped of them those that found the
	// ring full.
	Received uint64 `json:"received"`
	Dropped  uint64 `json:"dropped"`
}

// StageLatency is the distribution of the time from a packet's stamp to a stage, over the last minute.
type StageLatency struct {
	Stage string  `json:"stage"`
	P50   float64 `json:"p50"` // ms
	P99   float64 `json:"p99"`

	Total Latencies `json:"-"` // since the start; for the metrics only
}

// LatencyBounds is the number of Latencies' bounds.
const LatencyBounds = 16

// Latencies counts times by their length, each once: the first bound that is not below it. Beyond the last only Count has it.
type Latencies struct {
	Count  uint64
	Sum    float64 // s
	Within [LatencyBounds]uint64
}

// LatencyBound is the i-th bound, in seconds, from 10 µs to half a minute.
func LatencyBound(i int) float64 {
	return [LatencyBounds]float64{
		.00001, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30,
	}[i]
}

// Add counts one time, in seconds. One below 0 (the clock was set back) is 0.
func (l *Latencies) Add(seconds float64) {
	seconds = max(seconds, 0)
	l.Count++
	l.Sum += seconds
	for i := range l.Within {
		if seconds <= LatencyBound(i) {
			l.Within[i]++
			return
		}
	}
}

// Join adds what another has counted.
func (l *Latencies) Join(o *Latencies) {
	l.Count += o.Count
	l.Sum += o.Sum
	for i, n := range o.Within {
		l.Within[i] += n
	}
}

// SeriesPoint is traffic in one step of time, as the store keeps it: 1 s for an hour, 1 min for 30 days. A step without a point is a gap: nobody watched.
type SeriesPoint struct {
	Sensor      string `json:"-"           gorm:"primaryKey"`                     // that has seen it; empty in a sum
	Step        int64  `json:"-"           gorm:"primaryKey;autoIncrement:false"` // seconds: 1 or 60
	TS          int64  `json:"ts"          gorm:"primaryKey;autoIncrement:false"` // start of the step, seconds since the Unix epoch
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
	TCPBytes    uint64 `json:"tcp_bytes"`
	UDPBytes    uint64 `json:"udp_bytes"`
	OtherBytes  uint64 `json:"other_bytes"`
	Connections uint64 `json:"connections"` // opened
	Drops       uint64 `json:"drops"`
}

// Host is an address that has been seen, as the store keeps it.
type Host struct {
	Sensor      string `json:"sensor"      gorm:"primaryKey"` // that has seen it
	IP          string `json:"ip"          gorm:"primaryKey"`
	MAC         string `json:"mac"`
	FirstTS     Micros `json:"first_ts"`
	LastTS      Micros `json:"last_ts"`
	PacketsSent uint64 `json:"packets_sent"`
	PacketsRecv uint64 `json:"packets_received"`
	BytesSent   uint64 `json:"bytes_sent"`
	BytesRecv   uint64 `json:"bytes_received"`
	InsertedAt  int64  `json:"-"           gorm:"<-:create"`
}
