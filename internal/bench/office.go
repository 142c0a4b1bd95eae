package bench

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"netlyra/internal/capture"
	"netlyra/internal/models"
	"netlyra/internal/traffic"
)

// OfficeOptions describe a labelled capture of an office.
type OfficeOptions struct {
	Seed       uint64
	Hosts      int           // 0 means 25
	Duration   time.Duration // must be positive
	Start      int64         // capture time in microseconds; 0 means a Monday, nine o'clock
	Changing   bool
	PeerToPeer bool
	Families   []string      // attacks and look-alikes, one after the other; "attacks", "lookalikes", "heldout" and "all" stand for many
	Learn      time.Duration // before the first
}

// Office is a stream of an office with families spread over what follows the time of learning.
func Office(o OfficeOptions) (*traffic.Stream, error) {
	names, err := familyNames(o.Families)
	if err != nil {
		return nil, err
	}
	t := traffic.Options{Seed: o.Seed, Start: o.Start, Duration: o.Duration, Hosts: o.Hosts, Changing: o.Changing, PeerToPeer: o.PeerToPeer}
	for i, name := range names {
		at := o.Learn + time.Duration(i)*(o.Duration-o.Learn)/time.Duration(len(names))
		t.Plays = append(t.Plays, traffic.Play{Family: name, At: at, Seed: o.Seed + uint64(i)})
	}
	return traffic.New(t)
}

// familyNames resolves the groups of families; none is none.
func familyNames(asked []string) ([]string, error) {
	groups := map[string]func(*traffic.Family) bool{
		"all":        func(*traffic.Family) bool { return true },
		"attacks":    func(f *traffic.Family) bool { return f.Attack },
		"lookalikes": func(f *traffic.Family) bool { return !f.Attack },
		"heldout":    func(f *traffic.Family) bool { return f.HeldOut },
		"tuning":     func(f *traffic.Family) bool { return !f.HeldOut },
	}
	var names []string
	for _, name := range asked {
		before := len(names)
		in, group := groups[name]
		for _, f := range traffic.Families() {
			if f.Name == name || group && in(&f) {
				names = append(names, f.Name)
			}
		}
		if len(names) == before {
			return nil, fmt.Errorf("bench: family %q: these exist: %v; all, attacks, lookalikes, heldout and tuning stand for many", name, FamilyNames())
		}
	}
	return names, nil
}

// FamilyNames lists the names of all families.
func FamilyNames() []string {
	var names []string
	for _, f := range traffic.Families() {
		names = append(names, f.Name)
	}
	return names
}

// WriteOffice writes a stream as a capture, and its labels as JSON for a capture of this name. It returns the number of packets.
func WriteOffice(s *traffic.Stream, pcap, labels io.Writer, name string) (packets uint64, err error) {
	if packets, err = s.WritePcap(pcap); err != nil {
		return packets, err
	}
	return packets, s.WriteLabels(labels, name)
}

// streamSource is a stream as the pipeline wants it.
type streamSource struct {
	*traffic.Stream
	frames, bytes atomic.Uint64
}

// Read counts what the stream gives.
func (s *streamSource) Read(b *models.Batch) error {
	err := s.Stream.Read(b)
	n := uint64(0)
	for i := range b.Frames {
		n += uint64(b.Frames[i].WireLen)
	}
	s.frames.Add(uint64(len(b.Frames)))
	s.bytes.Add(n)
	return err
}

// Stats are what has been read: nothing is lost.
func (s *streamSource) Stats() capture.Stats {
	n := s.frames.Load()
	return capture.Stats{Received: n, Frames: n, Bytes: s.bytes.Load()}
}

// named says whether an alert names one address of each group.
func named(groups [][]string, a *models.Alert) bool {
	for _, g := range groups {
		if !slices.Contains(g, a.SrcIP) && !slices.Contains(g, a.DstIP) {
			return false
		}
	}
	return true
}
