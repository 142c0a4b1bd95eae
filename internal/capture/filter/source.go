package filter

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/net/bpf"

	"netlyra/internal/capture"
	"netlyra/internal/models"
)

// source is what a Source filters.
type source interface {
	Read(b *models.Batch) error
	Stats() capture.Stats
	Close() error
}

// Programs gives the program for a link type.
type Programs func(link models.LinkType) ([]bpf.RawInstruction, error)

// Source passes on the frames of another source that a filter accepts: what the kernel does for an interface, for a
// file. As there, the others are not counted.
type Source struct {
	source
	programs Programs
	matchers map[models.LinkType]*Matcher
	link     models.LinkType // of the frame before; matcher is for it
	matcher  *Matcher
	err      error // ends the reading

	frames, bytes atomic.Uint64 // left out
}

// NewSource filters src. It asks for the program of a link type when the first frame of it comes.
func NewSource(src source, programs Programs) *Source {
	return &Source{source: src, programs: programs, matchers: map[models.LinkType]*Matcher{}}
}

// Read reads once; the batch may be empty afterwards. An error of the filter for a frame's link type ends the reading, with
// the frames before that one.
func (s *Source) Read(b *models.Batch) error {
	if s.err != nil {
		b.Frames = b.Frames[:0]
		return s.err
	}
	err := s.source.Read(b)
	kept := b.Frames[:0]
	for i := range b.Frames {
		f := &b.Frames[i]
		if s.matcher == nil || f.Link != s.link {
			if s.err = s.turnTo(f.Link); s.err != nil {
				err = s.err
				s.leaveOut(b.Frames[i:])
				break
			}
		}
		if s.matcher.Match(f) {
			kept = append(kept, *f)
			continue
		}
		s.leaveOut(b.Frames[i : i+1])
	}
	b.Frames = kept
	return err
}

func (s *Source) leaveOut(frames []models.Frame) {
	var bytes uint64
	for i := range frames {
		bytes += uint64(frames[i].WireLen)
	}
	s.frames.Add(uint64(len(frames)))
	s.bytes.Add(bytes)
}

// turnTo finds the matcher for a link type.
func (s *Source) turnTo(link models.LinkType) error {
	m, ok := s.matchers[link]
	if !ok {
		program, err := s.programs(link)
		if err == nil {
			m, err = NewMatcher(program)
		}
		if err != nil {
			return fmt.Errorf("filter: frames of link type %d: %w", link, err)
		}
		s.matchers[link] = m
	}
	s.link, s.matcher = link, m
	return nil
}

// Stats counts the source's frames without those that were left out.
func (s *Source) Stats() capture.Stats {
	st := s.source.Stats()
	frames, bytes := s.frames.Load(), s.bytes.Load()
	st.Received -= min(frames, st.Received)
	st.Frames -= min(frames, st.Frames)
	st.Bytes -= min(bytes, st.Bytes)
	return st
}
