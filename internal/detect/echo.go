package detect

import "netlyra/internal/models"

// changedEchoes is how many slots of one to two minutes may bring echoes back changed.
const changedEchoes = 10

// notAnEcho: the answer to an echo returns its data (RFC 792; RFC 4443, section 4.2). Where as many come back as went out, and they are
// of other lengths or of another make, they carry something else. (Half a bit of entropy: the answer to the packet before may
// stand for that to this one.)
func notAnEcho(s *models.ConnSlot) bool {
	echo := s.Proto == models.ProtoICMP && s.ICMPType == 8 || s.Proto == models.ProtoICMPv6 && s.ICMPType == 128
	if !echo || s.Up.Packets != s.Down.Packets {
		return false
	}
	const halfBit = 5000 // 1e-4 bit
	apart := int64(s.Up.EntropySum) - int64(s.Down.EntropySum)
	return s.Up.Payload != s.Down.Payload || max(apart, -apart) > halfBit*int64(s.Up.Packets)
}

// limitEcho counts, per pair, the slots in which echoes came back changed.
func (j *Judge) limitEcho(s *models.ConnSlot) {
	p, fresh := j.pairs.get(pairKey{s.Orig, s.Resp, 0, s.Proto})
	if fresh {
		p.first, p.met, p.new = s.Start, j.elapsed, j.learned()
	}
	p.turnMinute(s.Last / minuteMicros)
	p.visits[0]++
	n := p.visits[0] + p.visits[1]
	if n < changedEchoes {
		return
	}
	f := finding{
		category: models.CategoryTunnel, score: limitScore(float64(n), changedEchoes), hold: 2 * minuteMicros,
		lead: lead{leadEchoes, "echoes", float64(n), changedEchoes}, pair: pairOf(s), since: p.first,
	}
	f.reasons = []models.Reason{{Feature: leadEchoes, Value: float64(n), Unit: "echoes in 1 to 2 min", Expected: models.Range{High: changedEchoes}, Contribution: 1, Basis: models.BasisLimit}}
	j.blame(s, f, 0)
}

// leadEchoes is the value of a tunnel that is told by its echoes.
const leadEchoes = "changed_echoes"
