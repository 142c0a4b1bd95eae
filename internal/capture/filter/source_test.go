package filter

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"

	"netlyra/internal/capture"
	"netlyra/internal/models"
)

// batches is a source of given batches.
type batches struct {
	rest  [][]models.Frame
	end   error
	stats capture.Stats
}

func (s *batches) Read(b *models.Batch) error {
	b.Frames = b.Frames[:0]
	if len(s.rest) == 0 {
		return s.end
	}
	b.Frames = append(b.Frames, s.rest[0]...)
	s.rest = s.rest[1:]
	for _, f := range b.Frames {
		s.stats.Received++
		s.stats.Frames++
		s.stats.Bytes += uint64(f.WireLen)
	}
	return nil
}

func (s *batches) Stats() capture.Stats { return s.stats }
func (s *batches) Close() error         { return nil }

func TestSource(t *testing.T) {
	ip4 := models.Frame{Link: models.LinkRaw, Data: []byte{0x45}, WireLen: 40}
	ip6 := models.Frame{Link: models.LinkRaw, Data: []byte{0x60}, WireLen: 60}
	sll := models.Frame{Link: models.LinkSLL, Data: []byte{15: 0, 14: 8}, WireLen: 100}
	odd := models.Frame{Link: models.LinkRadiotap, Data: []byte{0}, WireLen: 1}
	src := &batches{rest: [][]models.Frame{{ip4, ip6, sll, ip4}, {ip6}, {sll, ip4, odd, ip4}, {ip4}}, end: io.EOF}
	compiled := map[models.LinkType]int{}
	s := NewSource(src, func(link models.LinkType) ([]bpf.RawInstruction, error) {
		compiled[link]++
		return Compile("ip", link, Options{})
	})
	type result struct {
		Frames []models.Frame
		Failed bool
	}
	var got []result
	var b models.Batch
	for range 5 {
		err := s.Read(&b)
		if _, ok := errors.AsType[*SyntaxError](err); err != nil && !ok {
			t.Fatalf("%v is not a SyntaxError", err)
		}
		got = append(got, result{append([]models.Frame(nil), b.Frames...), err != nil})
	}
	want := []result{{[]models.Frame{ip4, sll, ip4}, false}, {nil, false}, {[]models.Frame{sll, ip4}, true}, {nil, true}, {nil, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[models.LinkType]int{models.LinkRaw: 1, models.LinkSLL: 1, models.LinkRadiotap: 1}, compiled); diff != "" {
		t.Errorf("compiled (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(capture.Stats{Received: 5, Frames: 5, Bytes: 40 + 100 + 40 + 100 + 40}, s.Stats()); diff != "" {
		t.Errorf("Stats (-want +got)\n%s", diff)
	}
}

// TestSourceOfFile filters to the end of a source, whose last frames may come with its error.
func TestSourceOfFile(t *testing.T) {
	src := &batches{end: io.ErrUnexpectedEOF}
	s := NewSource(src, func(models.LinkType) ([]bpf.RawInstruction, error) { return []bpf.RawInstruction{{Op: 6, K: 1}}, nil })
	var b models.Batch
	if err := s.Read(&b); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want the source's error", err)
	}
}
