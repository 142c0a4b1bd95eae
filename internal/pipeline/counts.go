package pipeline

import (
	"math/bits"
	"sync"

	"netlyra/internal/decode"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

// protoClass is a protocol, as far as volumes are kept apart.
type protoClass int

const (
	classTCP protoClass = iota
	classUDP
	classICMP
	classICMPv6
	classARP
	classSCTP
	classOtherIP
	classNonIP // and malformed
	numProtoClasses
)

func (c protoClass) String() string {
	return [numProtoClasses]string{"TCP", "UDP", "ICMP", "ICMPv6", "ARP", "SCTP", "other_ip", "other"}[c]
}

func classOf(p models.Proto) protoClass {
	switch p {
	case models.ProtoTCP:
		return classTCP
	case models.ProtoUDP:
		return classUDP
	case models.ProtoICMP:
		return classICMP
	case models.ProtoICMPv6:
		return classICMPv6
	case models.ProtoARP:
		return classARP
	case models.ProtoSCTP:
		return classSCTP
	default:
		return classOtherIP
	}
}

// Volumes is traffic by protocol.
type Volumes [numProtoClasses]models.Volume

func (v *Volumes) add(o *Volumes) {
	for c := range v {
		v[c].Packets += o[c].Packets
		v[c].Bytes += o[c].Bytes
	}
}

func (v *Volumes) total() (t models.Volume) {
	for _, c := range v {
		t.Packets += c.Packets
		t.Bytes += c.Bytes
	}
	return t
}

// counts are what a decoding goroutine has seen. packets = decoded + non-IP + malformed, which are the verdicts.
type counts struct {
	packets  uint64
	verdicts [decode.NumVerdicts]uint64
	volumes  Volumes // of the slots that have been closed
	first    uint64  // fragments
	later    uint64
	lastTS   int64
}

// decode decodes one frame into p and counts it; false says that p holds no packet.
func (c *counts) decode(d *decode.Decoder, f *models.Frame, p *models.Packet, slot *Volumes) bool {
	verdict := d.Frame(f, p)
	c.packets++
	c.verdicts[verdict]++
	c.lastTS = max(c.lastTS, f.TS)
	class := classNonIP
	if verdict == decode.OK {
		class = classOf(p.Proto)
		switch p.Frag {
		case models.FragFirst:
			c.first++
		case models.FragLater:
			c.later++
		case models.FragNone:
		}
	}
	slot[class].Packets++
	slot[class].Bytes += uint64(f.WireLen)
	return verdict == decode.OK
}

// published is what other goroutines may see of a worker or reader: stored whole after each batch.
type published struct {
	mu    sync.Mutex // taken once per batch
	state publishedState
}

type publishedState struct {
	counts counts
	flow   flow.Counters
	late   uint64
	jumps  uint64
}

// store shows the counts, those of the open slot with them.
func (p *published) store(c *counts, open *Volumes, f flow.Counters, s *stamper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = publishedState{*c, f, s.late, s.jumps}
	p.state.counts.volumes.add(open)
}

func (p *published) load() publishedState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func bitLen(n uint64) int { return bits.Len64(n) }
