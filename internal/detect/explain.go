package detect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"netlyra/internal/models"
)

// contributions lists the three features that say most of why an entity-second is strange.
func (j *Judge) contributions(st *roleState, e *entity, v *vector) []models.Reason {
	share := st.model.credits(&j.sight, j.options.Without)
	reasons := make([]models.Reason, 0, numFeatures)
	for f := range numFeatures {
		reasons = append(reasons, j.reason(st, e, f, v[f], share[f]))
	}
	slices.SortStableFunc(reasons, func(a, b models.Reason) int { return cmp.Compare(b.Contribution, a.Contribution) })
	return reasons[:3]
}

// reason holds a value against the range that is usual for this host where that is known, else for all of its role. Without habits by hardware
// address, as in the core profile, it is always the latter.
func (j *Judge) reason(st *roleState, e *entity, f feature, value, contribution float64) models.Reason {
	info := f.info()
	r := models.Reason{Feature: info.name, Value: round(value), Unit: info.unit, Contribution: contribution, Basis: models.BasisHost}
	low, high, ok := j.usual(st.role, e, f)
	if !ok || j.options.Without&Hardware != 0 {
		low, high = st.model.scaler.Usual(int(f))
		low, high = readable(math.Max(low, 0)), readable(high)
		r.Basis = models.BasisNetwork
	}
	r.Expected = models.Range{Low: low, High: high}
	return r
}

// alert writes down the incident as it stands.
func (j *Judge) alert(in *incident, state models.AlertState) models.Alert {
	in.rev++
	in.emitted = j.end
	in.changed = false
	st := &j.roles[in.key.role]
	f := &in.finding
	a := models.Alert{
		TS: models.Micros(in.opened), LastTS: models.Micros(in.last), ID: in.id, Rev: in.rev, Count: max(in.count, 1), State: state,
		Sensor: j.options.Sensor, Score: f.score, Category: f.category, Severity: f.severity,
		Features: map[string]float64{"hst_score": f.raw},
		Peers:    models.Top{Total: in.peersTotal(), Top: in.peers.most(compareAddr, models.Addr.String)},
		Ports:    models.Top{Total: uint64(in.ports.total()), Top: in.ports.most(comparePorts, portProto.String)},
		Detector: models.DetectorInfo{Name: Name, Version: Version, Parts: j.parts()}, CaptureConfidence: j.confidence(in),
	}
	if f.category == models.CategoryAmplification {
		a.Peers.Total = max(a.Peers.Total, 1) // one that has sent is known, also if it is silent in the slot that crosses the limit
	}
	a.Detector.Learning = learning(a.Detector.Parts)
	if f.category == models.CategoryPortScan && !in.ports.about() {
		a.Count = max(a.Count, a.Ports.Total)
	}
	switch l := &f.lead; { // what a window's sketch estimates is no more than what the incident has counted
	case f.category == models.CategoryPortScan && l.feature == leadPorts:
		l.value = min(l.value, float64(a.Ports.Total))
	case f.category == models.CategoryHostSweep && l.feature == leadPeers:
		l.value = min(l.value, float64(a.Peers.Total))
	}
	if f.category == models.CategoryFlood && !in.byPacket() { // each has made a connection; who got through is not told apart
		a.Peers.Total = min(a.Peers.Total, in.count)
	}
	for n := range numFeatures {
		a.Features[n.info().name] = round(f.vector[n])
	}
	a.Role = models.PeersAreTargets
	if in.key.role == Destination {
		a.Role = models.PeersAreSources
	}
	in.address(&a)
	a.Reasons = f.reasons
	if a.Reasons == nil {
		a.Reasons = j.limitReasons(st, in)
	}
	j.explain(in, &a)
	return a
}

// limitReasons puts the value that crossed its limit first, with the whole of the score: a limit does not weigh.
func (j *Judge) limitReasons(st *roleState, in *incident) []models.Reason {
	f, e := &in.finding, &st.entities.slab[in.entity]
	l := f.lead
	first := models.Reason{Feature: l.feature, Value: l.value, Unit: l.unit, Expected: models.Range{High: l.limit}, Contribution: 1, Basis: models.BasisLimit}
	reasons := []models.Reason{first}
	if !st.model.ready() {
		return reasons
	}
	for _, n := range [...]feature{openRate, failedShare, packetRate} {
		if n.info().name != l.feature {
			reasons = append(reasons, j.reason(st, e, n, f.vector[n], 0))
		}
	}
	return reasons[:3]
}

// address fills in who and whom: the culprit is the source; where there is a victim, one of its sources stands for all.
func (in *incident) address(a *models.Alert) {
	peer := in.main.peer
	if len(in.peers.members) > 0 {
		peer = in.peers.first(compareAddr)
	}
	if p := in.finding.pair.peer; p != (models.Addr{}) {
		peer = p // whom the sentence is about
	}
	if peer == (models.Addr{}) {
		peer = in.key.addr // nobody but the address itself is known
	}
	src, dst := in.key.addr, peer
	if in.key.role == Destination {
		src, dst = dst, src
	}
	a.SrcIP, a.DstIP = src.String(), dst.String()
	proto, dstPort, srcPort := in.main.proto, in.main.respPort, in.main.origPort
	switch len(in.ports.members) {
	case 0:
	case 1:
		only := in.ports.first(comparePorts)
		proto, dstPort = only.proto, only.port
	default:
		dstPort = 0
		proto = in.protos.first(cmp.Compare[models.Proto])
	}
	if n := len(in.srcPorts.members); n == 1 {
		srcPort = in.srcPorts.first(cmp.Compare[uint16])
	} else if n > 1 {
		srcPort = 0
	}
	a.SrcPort, a.DstPort, a.Proto = srcPort, dstPort, proto.String()
}

// within is the time that a scan's limit is over.
func (in *incident) within() string {
	switch {
	case in.main.proto == models.ProtoARP:
		return fmt.Sprintf("%d s", arpSeconds)
	case strings.HasPrefix(in.finding.lead.feature, "failed_"):
		return "an hour"
	}
	return fmt.Sprintf("%d s", 2*windowSeconds)
}

// String is "443/TCP"; protocols without ports are their name alone.
func (p portProto) String() string {
	if !p.proto.HasPorts() {
		return p.proto.String()
	}
	return strconv.Itoa(int(p.port)) + "/" + p.proto.String()
}

// explain writes the sentence, its facts and what would have had to be different.
func (j *Judge) explain(in *incident, a *models.Alert) {
	f := &in.finding
	window := 2 * windowSeconds
	is := "is"
	if a.State == models.AlertClosed {
		is = "was"
	}
	peers, ports := a.Peers.Total, a.Ports.Total
	port := ""
	if len(a.Ports.Top) == 1 {
		port = " on port " + a.Ports.Top[0].Name
		if !in.ports.first(comparePorts).proto.HasPorts() {
			port = " over " + a.Ports.Top[0].Name
		}
	}
	a.Facts = []models.Fact{
		{Name: "src_ip", Text: a.SrcIP},
		{Name: "dst_ip", Text: a.DstIP},
		{Name: "peers", Value: float64(peers), Unit: "hosts"},
		{Name: "ports", Value: float64(ports), Unit: "ports"},
		{Name: f.lead.feature + "_seen", Value: f.lead.value, Unit: f.lead.unit},
		{Name: "seconds", Value: float64(in.last-in.opened) / secondMicros, Unit: "s"},
	}
	switch f.category {
	case models.CategoryARPSpoofing:
		explainARP(in, a)
	case models.CategoryPortScan:
		whom := in.mostly(a, peers)
		a.Summary = fmt.Sprintf("%s %s scanning ports: it tried %d ports of %s, and most attempts failed.", a.SrcIP, is, ports, whom)
		a.Counterfactual = fmt.Sprintf("No alert if it had tried fewer than %.0f ports within %s, or if most of its connections had been accepted.", f.lead.limit, in.within())
	case models.CategoryHostSweep:
		tried := in.hostsText(peers) + port
		if f.lead.feature == leadTargets {
			tried = fmt.Sprintf("at least %.0f ports of hosts here", f.lead.value)
		}
		a.Summary = fmt.Sprintf("%s %s sweeping the network: it tried %s, and most attempts failed.", a.SrcIP, is, tried)
		a.Counterfactual = fmt.Sprintf("No alert if it had tried fewer than %.0f %s within %s, or if most of its connections had been accepted.", f.lead.limit, f.lead.unit, in.within())
		if in.swept().proto == models.ProtoARP {
			a.Counterfactual = fmt.Sprintf("No alert if it had asked for fewer than %.0f addresses within a minute, or if most of them had answered.", f.lead.limit)
		}
	case models.CategoryFlood:
		a.Summary = fmt.Sprintf("%s %s being flooded%s: %s from %s.", a.DstIP, is, port, in.floodText(), in.floodSources(peers))
		a.Counterfactual = floodCounterfactual(f.lead, window)
	case models.CategoryAmplification:
		a.Summary = fmt.Sprintf("%s %s receiving answers it did not ask for: %s over UDP within %d s, from at least %s in all.", a.DstIP, is, byteText(f.lead.value), window, in.hostsText(peers))
		a.Counterfactual = fmt.Sprintf("No alert with less than %s of unrequested answers within %d s.", byteText(f.lead.limit), window)
	case models.CategoryAnomaly:
		in.explainAnomaly(a)
	default:
		in.explainPair(a)
	}
	if in.accepted {
		a.Facts = append(a.Facts, models.Fact{Name: "accepted", Text: "new normal"})
		a.Summary += " It has gone on for so long that it counts as normal now."
	}
	if in.worm {
		a.Category = models.CategoryWorm
		a.Summary = fmt.Sprintf("%s %s spreading something: it was swept%s, and now it sweeps %s for the same itself.", a.SrcIP, is, port, in.hostsText(peers))
	}
}

func (in *incident) floodText() string {
	switch in.finding.lead.feature {
	case leadPackets:
		return fmt.Sprintf("%d packets that it does not answer", in.count)
	case leadICMP:
		return fmt.Sprintf("%d ICMP packets", in.count)
	case leadOpened:
		return fmt.Sprintf("at least %d connections", in.count)
	}
	return fmt.Sprintf("%d connections that did not get through", in.count)
}

// floodSources never claims more hosts than there were connections: an estimate, cut to their number, may be rounded up again.
func (in *incident) floodSources(n uint64) string {
	if in.peers.about() && readable(float64(n)) > float64(in.count) {
		return "nearly as many hosts"
	}
	return in.hostsText(n)
}

func floodCounterfactual(l lead, window int) string {
	switch l.feature {
	case leadSources:
		return fmt.Sprintf("No alert if fewer than %.0f hosts had come within %d s, or if most of their connections had got through.", l.limit, window)
	case leadPackets:
		return fmt.Sprintf("No alert below %.0f packets/s, or if it had answered them.", l.limit)
	case leadICMP:
		return fmt.Sprintf("No alert below %.0f ICMP packets/s.", l.limit)
	case leadOpened:
		return fmt.Sprintf("No alert if fewer than %.0f connections had come within %d s, or if this host usually had that many.", l.limit, window)
	}
	return fmt.Sprintf("No alert if fewer than %.0f connections had been left incomplete within %d s.", l.limit, window)
}

// peersTotal is how many hosts there were on the other side. An estimate may not exceed the number of what was counted of them.
func (in *incident) peersTotal() uint64 {
	n := uint64(in.peers.total())
	if in.peers.about() && in.count > 0 {
		n = min(n, in.count)
	}
	return n
}

// mostly names the host that most was tried on, and how many others there were.
func (in *incident) mostly(a *models.Alert, peers uint64) string {
	switch {
	case peers <= 1:
		return a.DstIP
	case len(a.Peers.Top) > 0 && 2*a.Peers.Top[0].Count > in.count:
		others := "other"
		if peers > 2 {
			others = "others"
		}
		return fmt.Sprintf("%s and %d %s", a.Peers.Top[0].Name, peers-1, others)
	}
	return in.hostsText(peers)
}

// explainAnomaly writes the sentence of what is too rare: by the most telling value that is not usual or, where each of them is, by those
// that do not usually come together.
func (in *incident) explainAnomaly(a *models.Alert) {
	unlike := "the other hosts of this network"
	for _, r := range a.Reasons {
		if r.Value >= r.Expected.Low && r.Value <= r.Expected.High {
			continue
		}
		if r.Basis == models.BasisHost {
			unlike = "before"
		}
		bound, most := "at most", r.Expected.High
		if r.Value < r.Expected.Low {
			bound, most = "at least", r.Expected.Low
		}
		a.Summary = fmt.Sprintf("%s behaves unlike %s: %s is %s, usually it is %s to %s.",
			in.key.addr, unlike, r.Feature, valueText(r.Value, r.Unit), valueText(r.Expected.Low, ""), valueText(r.Expected.High, r.Unit))
		a.Counterfactual = fmt.Sprintf("No alert if %s had been %s %s.", r.Feature, bound, valueText(most, r.Unit))
		return
	}
	var values []string
	for _, r := range a.Reasons {
		values = append(values, r.Feature+" of "+valueText(r.Value, r.Unit))
	}
	a.Summary = fmt.Sprintf("%s behaves unlike %s: %s do not usually come together.", in.key.addr, unlike, strings.Join(values, ", "))
	a.Counterfactual = "No alert if one of these had been what it usually is beside the others."
}

// explainPair writes the sentence of what one client does with one service.
func (in *incident) explainPair(a *models.Alert) {
	f := &in.finding
	service := a.DstIP + " on port " + portProto{f.pair.respPort, f.pair.proto}.String()
	did := func(open, closed string) string {
		if a.State == models.AlertClosed {
			return closed
		}
		return open
	}
	switch f.category {
	case models.CategoryBeacon:
		a.Facts = append(a.Facts, models.Fact{Name: "since", Text: models.Micros(f.since).String()})
		a.Summary = fmt.Sprintf("%s %s %s at regular times, every %s: %d times so far, and no other host here talks to that peer.",
			a.SrcIP, did("calls", "called"), service, valueText(f.lead.value, f.lead.unit), f.calls)
		if f.text == deadCalls {
			a.Summary = fmt.Sprintf("%s %s to reach %s at regular times, every %s: %d times so far, and no call gets through.", a.SrcIP, did("tries", "tried"), service, valueText(f.lead.value, f.lead.unit), f.calls)
		}
		a.Counterfactual = "No alert if the calls had come at irregular times, if another host here used the same peer, or if they had been there from the start."
		if f.old {
			a.Counterfactual = fmt.Sprintf("No alert if the calls had come at irregular times, if another host here used the same peer, or with fewer than %d of them.", oldGaps+1)
		}
	case models.CategoryBruteForce:
		a.Summary = fmt.Sprintf("%s %s trying passwords on %s: %.0f short connections within two minutes, all alike.", a.SrcIP, did("may be", "may have been"), service, f.lead.value)
		a.Counterfactual = fmt.Sprintf("No alert with fewer than %.0f short connections within two minutes, or if they had been of different sizes.", f.lead.limit)
		if web(f.pair.respPort) {
			a.Severity = models.SeverityMedium // a script may do so as well
			a.Summary = fmt.Sprintf("%s %s %s again and again, as who tries passwords does: %.0f short connections within two minutes, all alike.", a.SrcIP, did("asks", "asked"), service, f.lead.value)
		}
		if n := in.others.total(); n > 0 {
			a.Facts = append(a.Facts, models.Fact{Name: "other_sources", Value: float64(n), Unit: "hosts"})
			a.Summary += fmt.Sprintf(" Others do the same: %s.", in.others.hostsText(uint64(n)))
		}
	case models.CategoryExfiltration, models.CategoryTunnel:
		in.explainCarried(a, service, did)
	case models.CategoryRemoteAccess:
		odd, usual := f.oddity()
		a.Summary = fmt.Sprintf("%s %s a session of %s with %s, a peer that is new here and that nobody else talks to: more goes out than comes in, and %s.",
			a.SrcIP, did("keeps", "kept"), durationText(f.lead.value), service, odd)
		a.Counterfactual = fmt.Sprintf("No alert if the session had been shorter than %.0f s, or if %s.", f.lead.limit, usual)
	case models.CategoryNewDevice:
		a.Facts = append(a.Facts, models.Fact{Name: "mac", Text: f.text})
		a.Summary = fmt.Sprintf("A new device is on the network: %s, with the address %s.", f.text, a.SrcIP)
		a.Counterfactual = fmt.Sprintf("No alert if it had been here before, or if %d or more new devices a day were usual.", rareArrivals)
	case models.CategoryNewService:
		if f.lead.feature == leadLessors {
			a.Summary = fmt.Sprintf("%s hands out addresses (DHCP) beside %s: who takes one from it may send everything through it.", a.SrcIP, a.DstIP)
			a.Counterfactual = "No alert if it had done so from the start."
			return
		}
		a.Summary = fmt.Sprintf("%s offers a service on a port on which nobody here was known to offer anything: %s was the first to use %s.", a.DstIP, a.SrcIP, service)
		a.Counterfactual = fmt.Sprintf("No alert if a machine here had offered something on this port before, or if %d or more such services a day were usual.", rareArrivals)
	default: // the others are about a host, not about what it does with one service
	}
}

// oddity is what is odd about a session's port, and what would not have been.
func (f *finding) oddity() (odd, usual string) {
	if slices.ContainsFunc(f.reasons, func(r models.Reason) bool { return r.Feature == featureHellos }) {
		return "it does not speak TLS, as that port does", "it had spoken TLS, or if the peer were known here"
	}
	return "hardly anybody uses that port", "the peer or the port were known here"
}

// explainCarried writes the sentence of data that leaves by a way that is not meant for it, or in such amounts.
func (in *incident) explainCarried(a *models.Alert, service string, did func(open, closed string) string) {
	f := &in.finding
	switch {
	case f.text != "":
		a.Facts = append(a.Facts, models.Fact{Name: "domain", Text: f.text})
		what, limit := f.carriedText()
		a.Summary = fmt.Sprintf("%s %s data through DNS: %s under %s, asked of %s.", a.SrcIP, did("carries", "carried"), what, f.text, a.DstIP)
		a.Counterfactual = fmt.Sprintf("No alert with %s under one domain.", limit)
	case f.lead.feature == leadEchoes:
		a.Summary = fmt.Sprintf("%s and %s %s data in ICMP echoes: the answers differ from what was sent.", a.SrcIP, a.DstIP, did("exchange", "exchanged"))
		a.Counterfactual = "No alert if the answers had returned what was sent, as RFC 792 wants."
	default:
		a.Summary = fmt.Sprintf("%s %s uploading to %s, a peer that is new here and that nobody else talks to: %s within 20 minutes.", a.SrcIP, did("is", "was"), service, byteText(f.lead.value))
		a.Counterfactual = fmt.Sprintf("No alert with less than %s, or if the peer had been known here.", byteText(f.lead.limit))
	}
}

// carriedText says what a tunnel through DNS has carried at least, since a set takes some new names for known ones, and from how much on
// that is too much.
func (f *finding) carriedText() (what, limit string) {
	form := "%.0f new names within two minutes that ask for records that carry data"
	switch f.lead.feature {
	case leadNameBytes:
		return "at least " + byteText(f.lead.value) + " in new names within two minutes", "less than " + byteText(f.lead.limit) + " in new names within two minutes"
	case leadOddBytes:
		return "at least " + byteText(f.lead.value) + " in answers to new names within two minutes", "less than " + byteText(f.lead.limit) + " in answers to new names within two minutes"
	case leadHourNames:
		form = "%.0f new names within an hour"
	}
	return fmt.Sprintf("at least "+form, f.lead.value), "fewer than " + fmt.Sprintf(form, f.lead.limit)
}

// durationText is a time in seconds, as one says it.
func durationText(seconds float64) string {
	if seconds < 600 {
		return fmt.Sprintf("%.0f s", seconds)
	}
	return fmt.Sprintf("%.0f min", seconds/60)
}

func (in *incident) hostsText(n uint64) string { return in.peers.hostsText(n) }

func (t *tops[K]) hostsText(n uint64) string {
	switch {
	case n == 1:
		return "1 host"
	case t.about():
		return fmt.Sprintf("about %s hosts", strconv.FormatFloat(readable(float64(n)), 'f', 0, 64))
	}
	return fmt.Sprintf("%d hosts", n)
}

func byteText(n float64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1000
		i++
	}
	return strconv.FormatFloat(n, 'g', 3, 64) + " " + units[i]
}

// valueText is a value to four digits, never as a power of ten.
func valueText(v float64, unit string) string {
	text := strconv.FormatFloat(v, 'g', 4, 64)
	if strings.Contains(text, "e+") {
		digit := math.Pow(10, math.Floor(math.Log10(v))-3)
		text = strconv.FormatFloat(math.Round(v/digit)*digit, 'f', 0, 64)
	}
	if unit != "" {
		text += " " + unit
	}
	return text
}
