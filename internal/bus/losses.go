package bus

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"netlyra/internal/models"
)

// Losses counts what a bus has lost, by topic and reason. The zero value has counted nothing. Its methods may be called by several goroutines.
type Losses struct {
	mu     sync.Mutex
	counts map[loss]uint64
}

type loss struct {
	topic  Topic
	reason string
}

// Add counts n things that a record of topic t carried: Value.Count.
func (l *Losses) Add(t Topic, reason string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[loss]uint64{}
	}
	l.counts[loss{t, reason}] += n
}

// Drops lists what has been counted, in packets, slots, alerts or rows.
func (l *Losses) Drops() []models.Drop {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]models.Drop, 0, len(l.counts))
	for k, n := range l.counts {
		d := models.Drop{Stage: dropStage(k.topic), Reason: k.reason, Count: n, Unit: models.DropRows, Effect: models.DropUnstored}
		switch k.topic {
		case TopicPackets:
			d.Unit, d.Effect = models.DropPackets, models.DropUnjudged
		case TopicSlots:
			d.Unit, d.Effect = models.DropSlots, models.DropUnjudged
		case TopicAlerts:
			d.Unit = models.DropAlerts
		default: // rows
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b models.Drop) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// dropStage is a topic's name in the list of drops: "bus.packets".
func dropStage(t Topic) string { return "bus." + strings.TrimPrefix(string(t), "netlyra.") }
