package detect

import (
	"slices"

	"netlyra/internal/models"
)

// changedEchoes is how many slots of one to two minutes may bring echoes back changed.
const changedEchoes = 10

// echoes says whether a connection is of echo requests and their answers.
func echoes(s *models.ConnSlot) bool {
	return !s.Backward && (s.Proto == models.ProtoICMP && s.ICMPType == 8 || s.Proto == models.ProtoICMPv6 && s.ICMPType == 128)
}

// changed says whether a slot brings echoes back that carry something else than what went out: the answer to an echo returns its data
// (RFC 792; RFC 4443, section 4.2). Where as many come back as go out, lengths and entropy are compared (half a bit: the answer to
// the packet before may stand for that to this one); where an answer comes alone, its length with those of the last two requests,
// which sent has.
func changed(s *models.ConnSlot, sent *[2]uint64) bool {
	const halfBit = 5000 // 1e-4 bit
	defer func() {
		if s.Up.Packets == 1 {
			*sent = [2]uint64{s.Up.Payload, sent[0]}
		}
	}()
	switch {
	case s.Down.Packets == 0:
		return false
	case s.Up.Packets == s.Down.Packets:
		apart := int64(s.Up.EntropySum) - int64(s.Down.EntropySum)
		return s.Up.Payload != s.Down.Payload || max(apart, -apart) > halfBit*int64(s.Up.Packets)
	}
	return s.Up.Packets == 0 && s.Down.Packets == 1 && *sent != [2]uint64{} && !slices.Contains(sent[:], s.Down.Payload)
}

// limitEcho counts, per pair, the slots in which echoes came back changed.
func (j *Judge) limitEcho(s *models.ConnSlot) {
	p, fresh := j.retries.get(pairKey{s.Orig, s.Resp, 0, s.Proto}) // whose sources may be made up, as those of pairs are not
	if fresh {
		p.first = s.Start
	}
	if !changed(s, &p.sent) {
		return
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
