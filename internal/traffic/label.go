package traffic

import (
	"cmp"
	"encoding/json"
	"io"
	"slices"

	"netlyra/internal/models"
)

// activity is something that happens: the office's day, or one play. It knows which packets are its own.
type activity struct {
	index       uint16
	family      Family
	hosts       [][]string
	first, last int64
	packets     uint64
}

func (s *Stream) activity(f Family) *activity {
	a := &activity{index: uint16(len(s.acts)), family: f}
	s.acts = append(s.acts, a)
	return a
}

func (a *activity) sent(at int64) {
	if a.packets == 0 {
		a.first = at
	}
	a.last = at
	a.packets++
}

// Label is what is known of one play after the stream has ended.
type Label struct {
	Family  Family
	Start   models.Micros // of its first packet
	End     models.Micros // of its last
	Packets uint64
	Hosts   [][]string // an alert on it names one address of each group
}

// Labels are those of the plays that have sent something so far, in the order of their start.
func (s *Stream) Labels() []Label {
	var all []Label
	for _, a := range s.acts[1:] {
		if a.packets > 0 {
			all = append(all, Label{a.family, models.Micros(a.first), models.Micros(a.last), a.packets, a.hosts})
		}
	}
	slices.SortStableFunc(all, func(a, b Label) int { return cmp.Compare(a.Start, b.Start) })
	return all
}

// labelFile is the form of a .labels.json file: times are seconds.
type labelFile struct {
	Capture string      `json:"capture"`
	Base    float64     `json:"base"`
	Length  float64     `json:"length"`
	Packets uint64      `json:"packets"`
	Attacks []fileLabel `json:"attacks"`
	Benign  []fileLabel `json:"benign"` // look-alikes: an alert on them is false
}

type fileLabel struct {
	Name    string     `json:"name"`
	Family  string     `json:"family"`
	Start   float64    `json:"start"`
	End     float64    `json:"end"`
	Packets uint64     `json:"packets"`
	Hosts   [][]string `json:"hosts"`
}

// WriteLabels writes the labels of what has been read as JSON, for a capture of this name.
func (s *Stream) WriteLabels(w io.Writer, capture string) error {
	f := labelFile{
		Capture: capture, Base: float64(s.options.Start) / 1e6, Length: s.options.Duration.Seconds(),
		Attacks: []fileLabel{}, Benign: []fileLabel{},
	}
	for _, a := range s.acts {
		f.Packets += a.packets
	}
	for _, l := range s.Labels() {
		one := fileLabel{l.Family.Name, l.Family.Name, seconds(l.Start), seconds(l.End), l.Packets, l.Hosts}
		if l.Family.Attack {
			f.Attacks = append(f.Attacks, one)
		} else {
			f.Benign = append(f.Benign, one)
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(f)
}

func seconds(t models.Micros) float64 { return float64(t) / 1e6 }
