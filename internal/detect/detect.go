// Package detect says what is abnormal and why. It is fed with connection slots, 40 ms of capture time each, and has two
// halves. An Accumulator, one per worker, rolls slots up into what each source and each destination did, by operations that
// commute. The Judge, one per sensor, takes the slot merged and in a fixed order. Neither half knows a clock or does I/O: the
// same slots give the same alerts, byte for byte, however many workers accumulate, as long as no cap is hit; hits are counted.
//
// The judge looks from four sides. An entity is an address in a role, source (it opens connections) or destination (they are
// opened to it): limits hold what it did within 10 to 20 s at every slot's end, and a model of what is usual (Half-Space
// Trees and tails, calibrated to a budget) each of its seconds. A pair is a client and a service: its visits tell beacons, tried
// passwords, uploads, sessions. Failed attempts are listed per source, for an hour. Names are added up per client
// and domain. What all four find is grouped into incidents by culprit and kind. docs/detection.md has the rules and what they
// are worth.
//
// Times are capture time in microseconds, sizes bytes on the wire.
package detect

import (
	"fmt"
	"maps"
	"slices"

	"netlyra/internal/models"
)

// Name and Version identify the detector on its alerts.
const (
	Name    = "netlyra-hst"
	Version = "1"
)

// Limits are absolute: they need no learning and hold from the warm-up on. Counts are over a window of 10 to 20 s.
type Limits struct {
	WarmupPackets     uint64  // the sensor's first packets, in which nothing alerts
	ScanPorts         int     // distinct ports that one source tries
	SweepHosts        int     // distinct hosts that one source tries
	FloodHalfOpen     int     // connections to one destination that do not get through
	FloodPorts        int     // … on at most so many of its ports; on more it is being scanned
	FloodSources      int     // distinct sources, most of which do not get through
	FloodPackets      uint32  // per second to one destination, hardly any of which it answers
	FloodDatagrams    uint32  // per second to one destination, each of a connection of its own, none of which it answers
	FloodICMP         uint32  // ICMP packets per second to one destination
	FloodOpened       int     // connections opened to a few ports of one destination, whether they get through or not
	UnsolicitedBytes  uint64  // from service ports to one destination that has not asked
	FailedShare       float64 // of the connections opened: below it, what is opened is being used, and nobody scans
	CloseAfterSeconds int64   // silence that closes an incident
}

// DefaultLimits are what is far above any ordinary host and far below the slowest fast attack.
func DefaultLimits() Limits {
	return Limits{
		WarmupPackets: 50, ScanPorts: 60, SweepHosts: 150, FloodHalfOpen: 150, FloodPorts: 8, FloodSources: 400,
		FloodPackets: 5000, FloodDatagrams: 300, FloodICMP: 200, FloodOpened: 200,
		UnsolicitedBytes: 200_000, FailedShare: 0.5, CloseAfterSeconds: 60,
	}
}

// Options configure a Judge. Zero fields take the defaults given here.
type Options struct {
	Sensor      string
	Seed        int64   // of the trees
	BudgetDay   float64 // alerts a day that are not due to a limit: where the line of 0.8 lies; 0 means 5
	Limits      Limits  // zero: DefaultLimits
	MaxEntities int     // per role; 0 means 65,536
	Window      int     // entity-seconds per window of the trees; 0 means 2,048
	Without     Part    // parts to leave out
}

const (
	defaultBudget      = 5
	defaultMaxEntities = 1 << 16
	defaultWindow      = 2048
	maxMaxEntities     = 1 << 24
	treeCount          = 25
	treeHeight         = 8
)

// Role is what an entity is seen as.
type Role uint8

// The roles.
const (
	Source Role = iota
	Destination
	numRoles
)

// String names the role, for `stats`.
func (r Role) String() string {
	if r == Source {
		return "source"
	}
	return "destination"
}

func (o *Options) setDefaults() {
	if o.BudgetDay == 0 {
		o.BudgetDay = defaultBudget
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.MaxEntities == 0 {
		o.MaxEntities = defaultMaxEntities
	}
	if o.Window == 0 {
		o.Window = defaultWindow
	}
}

// NewJudge makes a judge that knows nothing.
func NewJudge(o Options) (*Judge, error) {
	o.setDefaults()
	if o.BudgetDay < 0 {
		return nil, fmt.Errorf("detect: an alert budget of %v a day: must be positive", o.BudgetDay)
	}
	if o.MaxEntities < 16 || o.MaxEntities > maxMaxEntities {
		return nil, fmt.Errorf("detect: %d entities: must be 16 to %d", o.MaxEntities, maxMaxEntities)
	}
	j := &Judge{
		options: o, least: min(o.Limits.ScanPorts, o.Limits.SweepHosts, o.Limits.FloodHalfOpen, o.Limits.FloodSources), incidents: map[incidentKey]*incident{}, surplus: map[surplusKey]*surplus{}, retries: newTable[pairKey, pair](maxRetries),
		memory: newMemory(),
	}
	for r := range j.roles {
		j.raised[r] = map[uint32][]*incident{}
		m, err := newModel(o.Window, o.Seed+int64(r))
		if err != nil {
			return nil, err
		}
		j.roles[r] = roleState{role: Role(r), entities: newEntities(o.MaxEntities), model: m}
	}
	return j, nil
}

// Stats says how far the judge has learned, what it holds and which caps it has hit.
func (j *Judge) Stats() models.DetectorStats {
	s := models.DetectorStats{
		Name: Name, BudgetPerDay: j.options.BudgetDay, OpenIncidents: uint64(len(j.incidents)),
		Entities: map[string]uint64{}, Parts: j.parts(),
		CapsHit: map[string]uint64{
			"incidents": j.incidentCap, "claims": j.claimsLost, "conflicts": j.conflictsLost, "events": j.untold,
			"pairs": j.pairs.evicted, "retries": j.retries.evicted, "probes": j.probes.evicted, "domains": j.domains.evicted,
			"hardware_addresses": j.links.evicted, "hosts": j.hosts.evicted, "habits": j.habits.evicted,
			"peers": j.peers.evicted, "ports": j.ports.evicted, "services": j.services.evicted,
		},
	}
	for r := range j.roles {
		name := Role(r).String()
		s.Entities[name] = uint64(j.roles[r].entities.live)
		s.CapsHit["entities_"+name] = j.roles[r].entities.evicted + j.roles[r].entities.refused
		s.CapsHit["sketches_"+name] = j.roles[r].entities.blocks.full
		s.CapsHit["evaluations_"+name] = j.roles[r].skipped
		s.Releases += j.roles[r].model.releases
	}
	s.Learning = learning(s.Parts)
	s.LearnedAlerts, s.LimitAlerts = j.learnedAlerts, j.limitAlerts
	if days := j.elapsedDays(); days > 0 {
		s.ActualPerDay = float64(j.learnedAlerts) / days
	}
	return s
}

// parts is how far each part has learned, 0 to 1.
func (j *Judge) parts() map[string]float64 {
	warm := 1.0
	if w := j.options.Limits.WarmupPackets; j.packets < w {
		warm = float64(j.packets) / float64(w)
	}
	p := map[string]float64{"limits": warm, "baseline": round(min(1, float64(j.elapsed)/(learnSeconds*secondMicros)))}
	for r := range j.roles {
		p["trees_"+Role(r).String()] = round(j.roles[r].model.trees.Progress())
		p["calibration_"+Role(r).String()] = round(min(1, j.allowance(&j.roles[r])))
	}
	return p
}

// learning is the mean of the parts.
func learning(parts map[string]float64) float64 {
	sum := 0.0
	for _, v := range slices.Sorted(maps.Values(parts)) { // in a fixed order: sums round
		sum += v
	}
	return round(sum / float64(len(parts)))
}
