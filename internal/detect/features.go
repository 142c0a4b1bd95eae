package detect

import "math"

// feature is one dimension of an entity-second. The names sort in the order of the constants, as River would sort them.
type feature int

// The features. Those over the window are of 10 to 20 s.
const (
	byteRate    feature = iota // bytes/s that the entity's connections carried from their initiators
	entropy                    // mean payload entropy of what the initiators sent, bits per byte
	failedShare                // of the connections opened in the window, those that did not get through
	openRate                   // connections/s
	packetRate                 // packets/s from the initiators
	peers                      // distinct hosts on the other side, in the window
	ports                      // distinct destination ports, in the window
	replyShare                 // of all packets, those that came back
	numFeatures
)

// featureInfo says how a feature is shown, and which physical value maps to 1.
type featureInfo struct {
	name string
	unit string
	top  float64 // largest value that is told apart
	log  bool    // spread over decades
}

func (f feature) info() featureInfo {
	return [numFeatures]featureInfo{
		byteRate:    {"byte_rate", "bytes/s", 1.25e9, true}, // 10 Gbit/s
		entropy:     {"entropy", "bit/byte", 8, false},
		failedShare: {"failed_share", "", 1, false},
		openRate:    {"open_rate", "connections/s", 1e6, true},
		packetRate:  {"packet_rate", "packets/s", 1.5e7, true},
		peers:       {"peers", "hosts", 65_536, true},
		ports:       {"ports", "ports", 65_536, true},
		replyShare:  {"reply_share", "", 1, false},
	}[f]
}

// vector is an entity-second in physical units.
type vector [numFeatures]float64

// point is a vector scaled to [0, 1] on fixed ranges and rounded to 2^-16, so that it is the same on every machine although
// the logarithm's last bit may not be.
func (v *vector) point() (x [numFeatures]float64) {
	for f := range numFeatures {
		x[f] = f.scale(v[f])
	}
	return x
}

func (f feature) scale(value float64) float64 {
	info := f.info()
	s := value / info.top
	if info.log {
		s = math.Log1p(value) / math.Log1p(info.top)
	}
	return math.Round(min(max(s, 0), 1)*65_536) / 65_536
}

// vectorOf describes the second that e.now holds.
func vectorOf(e *entity, p *blocks) vector {
	n := &e.now
	v := vector{
		byteRate: float64(n.bytesOut), openRate: float64(n.opened), packetRate: float64(n.packetsOut),
		peers: float64(e.peerCount(p)), ports: float64(e.portCount(p)),
	}
	if n.entropyN > 0 {
		v[entropy] = float64(n.entropySum) / float64(n.entropyN) / 1e4
	}
	if opened := e.opened(); opened > 0 {
		v[failedShare] = float64(e.failed()) / float64(opened)
	}
	if all := n.packetsOut + n.packetsIn; all > 0 {
		v[replyShare] = float64(n.packetsIn) / float64(all)
	}
	return v
}

// usual keeps the distribution of each feature over all entity-seconds of a role.
type usual struct {
	counts [numFeatures][usualBins]uint64
	n      uint64
}

const usualBins = 256

func (u *usual) add(x *[numFeatures]float64) {
	for f := range numFeatures {
		u.counts[f][min(int(x[f]*usualBins), usualBins-1)]++
	}
	u.n++
}

// rarity is how rare a value at x or a higher one is, in bits.
func (u *usual) rarity(f feature, x float64) float64 {
	var above uint64
	for _, c := range u.counts[f][min(int(x*usualBins), usualBins-1):] {
		above += c
	}
	return math.Log2(float64(u.n+1) / float64(above+1))
}

// readable rounds to three digits: the bins are no finer.
func readable(v float64) float64 {
	if v <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-2)
	return round(math.Round(v/unit) * unit)
}

func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }
