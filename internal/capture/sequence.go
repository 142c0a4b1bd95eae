package capture

import (
	"errors"
	"io"
	"sync"

	"netlyra/internal/models"
)

// FileResult is what has been read of one file of a Sequence.
type FileResult struct {
	Path    string
	Packets uint64
	Bytes   uint64 // on the wire
	Damage  *DamageError
	Err     error // it could not be read at all: no capture file, or gone
	// Trailing: bytes follow the end of the compressed data. They were not read.
	Trailing bool
}

// Sequence is a Source that reads files one after the other. A damaged file is read up to the damage, one that
// cannot be read is passed over; the next one follows.
type Sequence struct {
	paths   []string
	options FileOptions
	mu      sync.Mutex // guards what follows
	file    *File
	before  Stats // of the files that have been read
	results []FileResult
	read    int64 // bytes of files that are done
	total   int64
	closed  bool
}

// NewSequence opens the first file; the others are opened when their turn comes. total is the size of all, for Progress, 0 if
// not known.
func NewSequence(paths []string, total int64, o FileOptions) (*Sequence, error) {
	if len(paths) == 0 {
		return nil, errors.New("capture: no file to read")
	}
	s := &Sequence{paths: paths, options: o, total: total}
	s.options.times = &timeline{}
	s.open()
	return s, nil
}

// open opens the file whose turn it is; one that is damaged from its first byte on, or that cannot be read, is passed over.
func (s *Sequence) open() {
	for len(s.results) < len(s.paths) {
		path := s.paths[len(s.results)]
		f, err := OpenFile(path, s.options)
		result := FileResult{Path: path}
		if err != nil && !errors.As(err, &result.Damage) {
			result.Err = err
		}
		s.results = append(s.results, result)
		if err == nil {
			s.file = f
			return
		}
	}
	s.file = nil
}

// Read brings the next frames; io.EOF after the last of the last file.
func (s *Sequence) Read(b *models.Batch) error {
	b.Frames = b.Frames[:0]
	for {
		s.mu.Lock()
		f := s.file
		if s.closed {
			f = nil
		}
		s.mu.Unlock()
		if f == nil {
			return io.EOF
		}
		err := f.Read(b)
		if err == nil || len(b.Frames) > 0 {
			return nil
		}
		s.finish(f, err)
	}
}

// finish takes leave of a file that has ended with err, and opens the next.
func (s *Sequence) finish(f *File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := &s.results[len(s.results)-1]
	st := f.Stats()
	last.Packets, last.Bytes, last.Trailing = st.Frames, st.Bytes, f.Trailing()
	if !errors.Is(err, io.EOF) && !errors.As(err, &last.Damage) {
		last.Err = err
	}
	read, _ := f.Progress()
	s.read += read
	s.before = s.before.plus(st)
	_ = f.Close()
	s.open()
}

// FileTime is the time in the files of a time that Read gave to a packet, as File.FileTime says it.
func (s *Sequence) FileTime(ts int64) int64 { return s.options.times.fileTime(ts) }

// Stats counts the frames read so far of all files.
func (s *Sequence) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return s.before
	}
	return s.before.plus(s.file.Stats())
}

// Progress says how many bytes have been read, before decompression, and how many there are; total is 0 if that is not known.
func (s *Sequence) Progress() (read, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	read = s.read
	if s.file != nil {
		n, _ := s.file.Progress()
		read += n
	}
	return read, s.total
}

// Results tells of each file that has been begun. It is complete once Read has returned io.EOF.
func (s *Sequence) Results() []FileResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]FileResult(nil), s.results...)
}

// Close ends the sequence: the next Read returns io.EOF.
func (s *Sequence) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.file != nil {
		return s.file.Close()
	}
	return nil
}
