package detect

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"netlyra/internal/models"
)

// contributions says what part each feature has in the trees' score: how far the score falls when the feature alone is put back
// to its usual middle, as a share of what all of them do.
func (j *Judge) contributions(st *roleState, c *evaluated, v vector) []models.Reason {
	reasons := make([]models.Reason, 0, numFeatures)
	total := 0.0
	for f := range numFeatures {
		x := c.point
		x[f] = f.scale(st.usual.quantile(f, 0.5))
		gain := math.Max(c.raw-st.trees.Score(x[:]), 0)
		total += gain
		reasons = append(reasons, reason(st, f, v[f], gain))
	}
	for i := range reasons {
		if total > 0 {
			reasons[i].Contribution = round(reasons[i].Contribution / total)
		}
	}
	slices.SortStableFunc(reasons, func(a, b models.Reason) int {
		switch {
		case a.Contribution > b.Contribution:
			return -1
		case a.Contribution < b.Contribution:
			return 1
		}
		return 0
	})
	return reasons[:3]
}

func reason(st *roleState, f feature, value, contribution float64) models.Reason {
	info := f.info()
	return models.Reason{
		Feature: info.name, Value: round(value), Unit: info.unit, Contribution: contribution,
		Expected: models.Range{Low: round(st.usual.quantile(f, 0.05)), High: round(st.usual.quantile(f, 0.95))},
	}
}

// alert writes down the incident as it stands.
func (j *Judge) alert(in *incident, state models.AlertState) models.Alert {
	in.rev++
	in.emitted = j.end
	in.changed = false
	st := &j.roles[in.key.role]
	f := &in.finding
	a := models.Alert{
		TS: models.Micros(in.opened), LastTS: models.Micros(in.last), ID: in.id, Rev: in.rev, Count: in.count, State: state,
		Sensor: j.options.Sensor, Score: f.score, Category: f.category, Severity: f.severity,
		Features: map[string]float64{"hst_score": f.raw},
		Peers:    models.Top{Total: uint64(in.peers.total()), Top: in.peers.most(compareAddr, models.Addr.String)},
		Ports:    models.Top{Total: uint64(in.ports.total()), Top: in.ports.most(comparePorts, portProto.String)},
		Detector: models.DetectorInfo{Name: Name, Version: Version, Parts: j.parts()}, CaptureConfidence: j.confidence(in),
	}
	a.Detector.Learning = learning(a.Detector.Parts)
	for n := range numFeatures {
		a.Features[n.info().name] = round(f.vector[n])
	}
	in.address(&a)
	a.Reasons = f.reasons
	if a.Reasons == nil {
		a.Reasons = limitReasons(st, f)
	}
	j.explain(in, &a)
	return a
}

// limitReasons puts the value that crossed its limit first, with the whole of the score: a limit does not weigh.
func limitReasons(st *roleState, f *finding) []models.Reason {
	l := f.lead
	first := models.Reason{Feature: l.feature, Value: l.value, Unit: l.unit, Expected: models.Range{High: l.limit}, Contribution: 1}
	for n := range numFeatures {
		if n.info().name == l.feature && st.usual.known() {
			first.Expected = models.Range{Low: round(st.usual.quantile(n, 0.05)), High: round(st.usual.quantile(n, 0.95))}
		}
	}
	reasons := []models.Reason{first}
	if !st.usual.known() {
		return reasons
	}
	for _, n := range [...]feature{openRate, failedShare, packetRate} {
		if n.info().name != l.feature {
			reasons = append(reasons, reason(st, n, f.vector[n], 0))
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
		{Name: f.lead.feature + "_in_window", Value: f.lead.value, Unit: f.lead.unit},
		{Name: "limit", Value: f.lead.limit, Unit: f.lead.unit},
		{Name: "seconds", Value: float64(in.last-in.opened) / secondMicros, Unit: "s"},
	}
	switch f.category {
	case models.CategoryARPSpoofing:
		explainARP(in, a)
	case models.CategoryPortScan:
		whom := a.DstIP
		if peers > 1 {
			whom = in.hostsText(peers)
		}
		a.Summary = fmt.Sprintf("%s %s scanning ports: it tried %d ports of %s, and most attempts failed.", a.SrcIP, is, ports, whom)
		a.Counterfactual = fmt.Sprintf("No alert if it had tried fewer than %.0f ports within %d s, or if most of its connections had been accepted.", f.lead.limit, window)
	case models.CategoryHostSweep:
		a.Summary = fmt.Sprintf("%s %s sweeping the network: it tried %s%s, and most attempts failed.", a.SrcIP, is, in.hostsText(peers), port)
		a.Counterfactual = fmt.Sprintf("No alert if it had tried fewer than %.0f hosts within %d s, or if most of its connections had been accepted.", f.lead.limit, window)
	case models.CategoryFlood:
		a.Summary = fmt.Sprintf("%s %s being flooded%s: %d connections from %s did not get through.", a.DstIP, is, port, in.count, in.hostsText(peers))
		a.Counterfactual = floodCounterfactual(f.lead, window)
	case models.CategoryAmplification:
		a.Summary = fmt.Sprintf("%s %s receiving answers it did not ask for: %s over UDP from %s.", a.DstIP, is, byteText(f.lead.value), in.hostsText(peers))
		a.Counterfactual = fmt.Sprintf("No alert with less than %s of unrequested answers within %d s.", byteText(f.lead.limit), window)
	default:
		top := a.Reasons[0]
		a.Summary = fmt.Sprintf("%s behaves unlike the other hosts of this network: %s is %s, usually it is %s to %s.",
			in.key.addr, top.Feature, valueText(top.Value, top.Unit), valueText(top.Expected.Low, ""), valueText(top.Expected.High, top.Unit))
		a.Counterfactual = fmt.Sprintf("No alert if %s had been at most %s.", top.Feature, valueText(top.Expected.High, top.Unit))
	}
}

func floodCounterfactual(l lead, window int) string {
	if l.feature == leadSources {
		return fmt.Sprintf("No alert if fewer than %.0f hosts had come within %d s, or if most of their connections had got through.", l.limit, window)
	}
	return fmt.Sprintf("No alert if fewer than %.0f connections had been left incomplete within %d s.", l.limit, window)
}

func (in *incident) hostsText(n uint64) string {
	switch {
	case n == 1:
		return "1 host"
	case in.peers.about():
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

func valueText(v float64, unit string) string {
	text := strconv.FormatFloat(v, 'g', 4, 64)
	if unit != "" {
		text += " " + unit
	}
	return text
}
