package traffic

import (
	"time"

	"netlyra/internal/models"
)

// Family is a kind of attack, or of benign look-alike.
type Family struct {
	Name   string
	Attack bool
	// HeldOut families are never looked at while the detector is tuned: they are reported apart, as what to expect of
	// attacks that nobody has thought of.
	HeldOut    bool
	Categories []models.Category // of an attack: those of which an alert is right
	Length     time.Duration     // it is over after so long, at most

	run func(*play)
}

// play is one performance of a family.
type play struct {
	*proc
	w *world
}

// names says who an alert on this play must name: one address of each group.
func (a *play) names(groups ...[]*node) {
	for _, g := range groups {
		var texts []string
		for _, n := range g {
			texts = append(texts, n.addrs()...)
		}
		a.act.hosts = append(a.act.hosts, texts)
	}
}

func one(n *node) []*node { return []*node{n} }

// desk is a host of the office for somebody to act on: a workstation that is on.
func (a *play) desk() *host {
	h := pick(a.proc, a.w.of(workstation))
	h.off = false
	return h
}

// target is a server of the office.
func (a *play) target() *host {
	return a.w.one(pick(a.proc, []role{fileServer, webServer, nas}))
}

// stranger is somebody outside.
func (a *play) stranger(ports ...uint16) *node {
	n := a.w.outsider(a.rng)
	n.open = ports
	return n
}

// attacker is from outside, or a workstation.
func (a *play) attacker() *node {
	if a.chance(0.5) {
		return a.stranger()
	}
	return &a.desk().node
}

// lasts draws a duration, longer ones seldom.
func (a *play) lasts(least, most int64) int64 {
	u := a.rng.Float64()
	return least + int64(float64(most-least)*u*u)
}

// Families lists all families, attacks first.
func Families() []Family {
	scan := []models.Category{models.CategoryPortScan, models.CategoryHostSweep}
	flood := []models.Category{models.CategoryFlood}
	return []Family{
		{Name: "scan_vertical_tcp", Attack: true, Categories: scan[:1], Length: 3 * time.Minute, run: scanVertical},
		{Name: "flood_syn", Attack: true, Categories: flood, Length: 2 * time.Minute, run: floodSYN},
		{Name: "brute_ssh", Attack: true, Categories: []models.Category{models.CategoryBruteForce}, Length: 6 * time.Minute, run: bruteSSH},
		{Name: "beacon_regular", Attack: true, Categories: []models.Category{models.CategoryBeacon}, Length: 40 * time.Minute, run: beaconRegular},
		{
			Name: "dns_tunnel_txt", Attack: true, Categories: []models.Category{models.CategoryTunnel, models.CategoryExfiltration},
			Length: 10 * time.Minute, run: tunnelTXT,
		},
		{Name: "exfil_https_upload", Attack: true, Categories: []models.Category{models.CategoryExfiltration}, Length: 12 * time.Minute, run: exfilHTTPS},
		{Name: "backup_upload", Length: 15 * time.Minute, run: func(a *play) {
			a.w.backUp(a.proc, a.w.one(nas), a.w.backup, int(a.between(40<<20, 200<<20)))
		}},
		{Name: "monitoring_probes", Length: 15 * time.Minute, run: func(a *play) { a.w.monitoring(a.proc, a.at+15*minute) }},
	}
}

func family(name string) (Family, bool) {
	for _, f := range Families() {
		if f.Name == name {
			return f, true
		}
	}
	return Family{}, false
}
