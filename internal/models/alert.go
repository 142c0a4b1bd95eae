package models

import "strings"

// AlertLine is the score at which an incident becomes an alert.
const AlertLine = 0.8

// Category is the kind of an incident: a closed list, documented in docs/wire-format.md.
type Category string

// The categories. CategoryAnomaly is unusual behaviour that has no narrower name.
const (
	CategoryPortScan      Category = "port_scan"
	CategoryHostSweep     Category = "host_sweep"
	CategoryFlood         Category = "flood"
	CategoryAmplification Category = "amplification"
	CategoryBruteForce    Category = "brute_force"
	CategoryBeacon        Category = "beacon"
	CategoryTunnel        Category = "tunnel"
	CategoryExfiltration  Category = "exfiltration"
	CategoryARPSpoofing   Category = "arp_spoofing"
	CategoryRemoteAccess  Category = "remote_access"
	CategoryWorm          Category = "worm"
	CategoryNewDevice     Category = "new_device"
	CategoryNewService    Category = "new_service"
	CategoryAnomaly       Category = "anomaly"
)

// Categories lists all categories.
func Categories() []Category {
	return []Category{
		CategoryPortScan, CategoryHostSweep, CategoryFlood, CategoryAmplification, CategoryBruteForce, CategoryBeacon,
		CategoryTunnel, CategoryExfiltration, CategoryARPSpoofing, CategoryRemoteAccess, CategoryWorm, CategoryNewDevice,
		CategoryNewService, CategoryAnomaly,
	}
}

// Words is the category for a sentence: "port scan".
func (c Category) Words() string { return strings.ReplaceAll(string(c), "_", " ") }

// PeersRole says on which side of an incident its peers are.
type PeersRole string

// The sides. Of an incident that has no peers beside its two ends, the role is that of the end which is not the culprit or the victim
// that the incident is about.
const (
	PeersAreTargets PeersRole = "targets" // whom the culprit turned to
	PeersAreSources PeersRole = "sources" // who turned to the victim
)

// Severity ranks an incident for a person: a closed list, documented in docs/wire-format.md.
type Severity string

// The severities.
const (
	SeverityLow      Severity = "low"
	SeverityMedium   Severity = "medium"
	SeverityHigh     Severity = "high"
	SeverityCritical Severity = "critical"
)

// Severities lists all severities, the lowest first.
func Severities() []Severity {
	return []Severity{SeverityLow, SeverityMedium, SeverityHigh, SeverityCritical}
}

// AlertState says whether an incident still goes on.
type AlertState string

// The states.
const (
	AlertOpen   AlertState = "open"
	AlertClosed AlertState = "closed"
)

// Triage is what has been decided about an alert, by a person or by an exception; the store keeps it.
type Triage string

// The decisions. TriageAll is none: in a query it stands for all of them.
const (
	TriageNew          Triage = "new"
	TriageAcknowledged Triage = "acknowledged"
	TriageHidden       Triage = "hidden"
	TriageAll          Triage = "all"
)

// Triages lists all decisions.
func Triages() []Triage { return []Triage{TriageNew, TriageAcknowledged, TriageHidden} }

// Range is what a value usually is.
type Range struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Reason is one feature's part in an alert.
type Reason struct {
	Feature      string  `json:"feature"`
	Value        float64 `json:"value"`
	Unit         string  `json:"unit"`
	Expected     Range   `json:"expected"`
	Contribution float64 `json:"contribution"`    // share of the score, 0 to 1
	Basis        Basis   `json:"basis,omitempty"` // whose range Expected is
}

// Basis says where the range of a reason is from.
type Basis string

// The bases: what this host usually does, what all hosts of this network do, or a fixed limit.
const (
	BasisHost    Basis = "host"
	BasisNetwork Basis = "network"
	BasisLimit   Basis = "limit"
)

// Fact is one named value of the sentence in Alert.Summary. Text is set for names, Value for numbers.
type Fact struct {
	Name  string  `json:"name"`
	Text  string  `json:"text,omitempty"`
	Value float64 `json:"value,omitempty"`
	Unit  string  `json:"unit,omitempty"`
}

// Count is one of a list's most frequent members.
type Count struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// Top lists the most frequent members of a set, and how many there are in all.
type Top struct {
	Total uint64  `json:"total"`
	Top   []Count `json:"top"` // ten at most
}

// DetectorInfo says what judged, and how far it had learned.
type DetectorInfo struct {
	Name     string             `json:"name"`
	Version  string             `json:"version"`
	Learning float64            `json:"learning"` // 0 nothing to 1 complete
	Parts    map[string]float64 `json:"parts,omitempty"`
}

// Alert is one incident in one of its revisions; the same ID with a higher Rev replaces it. docs/wire-format.md gives its
// JSON.
type Alert struct {
	TS       Micros             `json:"ts"`     // the end of the slot in which it crossed the line
	SrcIP    string             `json:"src_ip"` // the culprit; where there is none, one of the sources
	DstIP    string             `json:"dst_ip"`
	SrcPort  uint16             `json:"src_port"` // 0: no single one
	DstPort  uint16             `json:"dst_port"`
	Proto    string             `json:"proto"`
	Score    float64            `json:"score"`                           // calibrated, 0 to 1
	Features map[string]float64 `json:"features" gorm:"serializer:json"` // always entropy, packet_rate, byte_rate

	ID                string       `json:"id" gorm:"primaryKey"`
	Rev               int64        `json:"rev"` // rises with each update
	LastTS            Micros       `json:"last_ts"`
	Count             uint64       `json:"count"` // pieces of evidence so far
	State             AlertState   `json:"state"`
	Sensor            string       `json:"sensor"`
	Category          Category     `json:"category"`
	Severity          Severity     `json:"severity"`
	Summary           string       `json:"summary"`
	Facts             []Fact       `json:"facts" gorm:"serializer:json"`
	Reasons           []Reason     `json:"reasons" gorm:"serializer:json"` // most telling first
	Counterfactual    string       `json:"counterfactual"`
	Role              PeersRole    `json:"role"`
	Peers             Top          `json:"peers" gorm:"serializer:json"`
	Ports             Top          `json:"ports" gorm:"serializer:json"`
	CommunityID       string       `json:"community_id,omitempty"`
	Detector          DetectorInfo `json:"detector" gorm:"serializer:json"`
	CaptureConfidence float64      `json:"capture_confidence"` // share of the packets of the incident's time not lost, 0 to 1

	// What follows is the store's own.
	Triage     Triage `json:"triage,omitempty"`     // what holds: hidden by an exception, or what a person has decided
	HiddenBy   string `json:"hidden_by,omitempty"`  // the exception that hides it; "": none does
	Decided    Triage `json:"-"`                    // what a person has decided; "": nobody has
	DecidedAt  Micros `json:"decided_ts,omitempty"` // wall clock: of a person and an exception the later one counts
	DecidedBy  string `json:"decided_by,omitempty"` // who that person was; "": nobody has decided
	InsertedAt int64  `json:"-" gorm:"<-:create"`   // wall clock, for retention
}
