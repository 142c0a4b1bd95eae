package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"netlyra/internal/models"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/term"
)

// maxZstdWindow is the most history a zstd stream may ask for: what `zstd -d` allows too. It is allocated only as the
// stream's header demands.
const maxZstdWindow = 128 << 20

// FileOptions are the settings of OpenFile.
type FileOptions struct {
	Stdin io.Reader // what the path "-" reads; nil means os.Stdin

	times *timeline // that goes on from file to file; nil: the file has its own
}

// File reads a capture file: pcap in microseconds and nanoseconds and either byte order, pcapng, and both of them
// compressed with gzip or zstd, all told by their first bytes. It streams; its memory does not depend on the file.
type File struct {
	path      string
	closer    io.Closer
	count     *countingReader
	total     int64
	pipe      bool // a pipe, terminal or device: reading may wait
	win       *window
	parser    parser   // nil until the header has been read
	members   *members // of a gzip file
	times     *timeline
	heldBytes int
	held      []models.Frame // read, but not delivered: what comes behind them decides on their times
	end       error          // what ended the file, given once everything before it was delivered
	closed    atomic.Bool

	frames, bytes, skipped, outliers, setBacks atomic.Uint64
	outliersBefore, setBacksBefore             uint64 // of the timeline, when the file began
}

// parser knows a file format.
type parser interface {
	// parse appends the frames of the records that are whole in w to frames, up to maxBatch of them. need is how many
	// bytes the record it stopped at wants to have in w. An error is damage; it is given in words for DamageError.
	parse(w *window, frames []models.Frame) (_ []models.Frame, need int, err error)
	// skipped counts frames of unsupported link types, and names one of these.
	skipped() (n uint64, link uint32)
}

// OpenFile opens a capture file; "-" is standard input. The error is a *DamageError if the file is empty or ends in its
// header, a *LinkTypeError if nothing in it could be decoded. Of a pipe, whose writer may be late, the first Read reads the
// header and has these errors, so that Close can end the wait.
func OpenFile(path string, o FileOptions) (*File, error) {
	f := &File{path: path, times: o.times}
	if f.times == nil {
		f.times = &timeline{}
	}
	f.outliersBefore, f.setBacksBefore = f.times.outliers, f.times.setBacks()
	src, err := f.open(o)
	if err != nil {
		return nil, err
	}
	f.count = &countingReader{src: src}
	if f.pipe {
		return f, nil
	}
	if err := f.readHeader(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// open finds the bytes.
func (f *File) open(o FileOptions) (io.Reader, error) {
	if f.path == "-" {
		f.path = "standard input"
		switch stdin := o.Stdin.(type) {
		case nil:
			return f.use(reopenPipe(os.Stdin))
		case *os.File:
			return f.use(reopenPipe(stdin))
		default:
			return stdin, nil
		}
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return f.use(file)
}

func (f *File) use(file *os.File) (io.Reader, error) {
	st, err := file.Stat()
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("capture: %w", err), file.Close())
	case st.IsDir():
		return nil, errors.Join(fmt.Errorf("capture: %s is a directory; name the capture files in it", f.path), file.Close())
	case st.Mode()&os.ModeCharDevice != 0 && term.IsTerminal(int(file.Fd())): // nobody types a capture
		return nil, errors.Join(fmt.Errorf("capture: %s is a terminal: name a file, or pipe a capture into it", f.path), file.Close())
	case st.Mode().IsRegular():
		f.total = st.Size()
	default:
		f.pipe = true
	}
	f.closer = file
	return file, nil
}

// reopenPipe opens a pipe on standard input once more where that is possible. The second one belongs to Go's poller,
// so that Close ends a Read that waits for the writer; a read of os.Stdin itself would go on waiting.
func reopenPipe(stdin *os.File) *os.File {
	st, err := stdin.Stat()
	if err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		return stdin
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", stdin.Fd()))
	if err != nil {
		return stdin
	}
	return again
}

// readHeader looks through compression and picks the parser.
func (f *File) readHeader() error {
	f.win = newWindow(f.count)
	if err := f.fill(magicBytes); err != nil {
		return f.headerError(err)
	}
	if err := f.decompress(); err != nil {
		return err
	}
	if err := f.fill(magicBytes); err != nil {
		return f.headerError(err)
	}
	if isNg(f.win.rest()) {
		f.parser = &ngReader{}
		return nil
	}
	p, ok := newPcapReader(f.win.rest())
	if !ok {
		return f.notCapture()
	}
	if err := f.fill(pcapHeaderBytes); err != nil {
		return f.headerError(err)
	}
	field := p.readHeader(f.win.rest())
	f.win.take(pcapHeaderBytes)
	link, ok := linkType(field)
	if !ok {
		return &LinkTypeError{Name: f.path, Link: field & 0xffff}
	}
	p.link = link
	f.parser = p
	return nil
}

// decompress puts a decompressor between the file and the window if the file's first bytes ask for one.
func (f *File) decompress() error {
	head := f.win.rest()
	var open func(io.Reader) (io.Reader, error)
	switch {
	case bytes.HasPrefix(head, gzipMagic()):
		open = func(r io.Reader) (io.Reader, error) {
			var err error
			f.members, err = newMembers(r)
			return f.members, err
		}
	case bytes.HasPrefix(head, zstdMagic()):
		open = openZstd
	default:
		return nil
	}
	src, err := open(io.MultiReader(bytes.NewReader(head), f.count))
	if err != nil {
		return f.damage(0, f.broken(err))
	}
	f.win = newWindow(src)
	return nil
}

// openZstd decodes in the caller's goroutine: there is then nothing to close.
func openZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r,
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
}

const magicBytes = 4

func gzipMagic() []byte  { return []byte{0x1f, 0x8b} }             // RFC 1952, section 2.3.1
func zstdMagic() []byte  { return []byte{0x28, 0xb5, 0x2f, 0xfd} } // RFC 8878, section 3.1.1
func isNg(b []byte) bool { return bytes.HasPrefix(b, ngMagic()) }  // reads the same in both byte orders
func ngMagic() []byte    { return []byte{'\n', '\r', '\r', '\n'} } // a section header's block type

func (f *File) fill(n int) error {
	if len(f.win.rest()) >= n {
		return nil
	}
	return f.win.fill(n)
}

// headerError names what is wrong with a file that ended in its header.
func (f *File) headerError(err error) error {
	head := f.win.rest()
	switch {
	case !errors.Is(err, io.EOF):
		return f.streamError(err)
	case len(head) == 0:
		return f.damage(0, "the file is empty")
	case len(head) >= magicBytes || startsMagic(head):
		return f.damage(0, "the file ends in its header")
	default:
		return f.notCapture()
	}
}

// startsMagic tells whether a file of fewer than magicBytes bytes may be the start of a capture file.
func startsMagic(head []byte) bool {
	for _, m := range append(pcapMagics(), gzipMagic(), zstdMagic(), ngMagic()) {
		if bytes.HasPrefix(m, head) || bytes.HasPrefix(head, m) {
			return true
		}
	}
	return false
}

func (f *File) notCapture() error {
	for _, p := range packers() {
		if bytes.HasPrefix(f.win.rest(), []byte(p.magic)) {
			return fmt.Errorf("capture: %s is compressed with %s, which is not read; gzip and zstd are. Unpack it on the way: %s FILE | netlyra analyze -",
				f.path, p.name, p.unpack)
		}
	}
	return fmt.Errorf("capture: %s is not a capture file: it starts like neither pcap nor pcapng, nor like either compressed with gzip or zstd",
		f.path)
}

// packers are the formats of compression that are known by name only: their first bytes, at most magicBytes (the formats' own descriptions), and the command
// that writes what is in a file to standard output.
func packers() []struct{ name, magic, unpack string } {
	return []struct{ name, magic, unpack string }{
		{"xz", "\xfd7zX", "xz -dc"},
		{"bzip2", "BZh", "bzip2 -dc"},
		{"lz4", "\x04\x22\x4d\x18", "lz4 -dc"},
		{"zip", "PK\x03\x04", "unzip -p"},
		{"7z", "7z\xbc\xaf", "7z x -so"},
	}
}

// Trailing says whether bytes follow the end of the compressed data. They were not read.
func (f *File) Trailing() bool { return f.members != nil && f.members.trailing.Load() }

func (f *File) damage(offset int64, reason string) error {
	return &DamageError{Path: f.path, Offset: offset, Reason: reason}
}

// streamError tells a file that cannot be read from one whose compression is broken.
func (f *File) streamError(err error) error {
	if f.count.err != nil {
		return fmt.Errorf("capture: read %s: %w", f.path, f.count.err)
	}
	return f.damage(f.win.offset(), f.broken(err))
}

func (f *File) broken(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the compressed data is cut short"
	}
	return "the compressed data is broken: " + err.Error()
}

// Read brings the next frames, up to 256, and returns io.EOF after the last. A *DamageError or a read error comes once
// everything before it has been delivered, and from then on. Where the file is a pipe, Read waits for its writer. After Close
// it returns io.EOF.
func (f *File) Read(b *models.Batch) error {
	b.Frames = b.Frames[:0]
	b.Watermark = f.times.watermark()
	if f.closed.Load() {
		return io.EOF
	}
	if f.parser == nil && f.end == nil {
		f.end = f.readHeader()
	}
	for f.end == nil || len(f.held) > 0 {
		if f.more(b); len(b.Frames) > 0 {
			f.account(b)
			return nil
		}
	}
	if f.closed.Load() { // which is why reading has ended
		return io.EOF
	}
	if f.parser != nil {
		f.countSkipped()
	}
	return f.end
}

// more reads frames, those that were held first, and leaves in b those whose time is settled.
func (f *File) more(b *models.Batch) {
	b.Frames = append(b.Frames[:0], f.held...)
	held := len(f.held)
	if f.end == nil {
		var need int
		var err error
		b.Frames, need, err = f.parser.parse(f.win, b.Frames)
		switch {
		case err != nil:
			f.end = f.damage(f.win.offset(), err.Error())
		case len(b.Frames) == held:
			if err := f.win.fill(need); err != nil {
				f.end = f.endOf(err)
			}
		}
	}
	few := lookAhead
	if f.pipe { // whose next packet may be long in coming: what is not plainly wrong is not held up
		few = 1
	}
	n := f.times.settle(b.Frames, few, f.end != nil || f.heldBytes > maxHeld)
	f.hold(b.Frames, n, held)
	b.Frames = b.Frames[:n]
}

// maxHeld bounds the bytes of frames that are held, but for the last one: beyond, those at hand must decide.
const maxHeld = 1 << 20

// hold keeps frames[n:] for the next Read, with their bytes: the window moves on. Those before owned have been kept before.
func (f *File) hold(frames []models.Frame, n, owned int) {
	f.held, f.heldBytes = f.held[:0], 0
	for i, frame := range frames[n:] {
		if n+i >= owned {
			frame.Data = bytes.Clone(frame.Data)
		}
		f.heldBytes += len(frame.Data)
		f.held = append(f.held, frame)
	}
}

// endOf makes of the stream's end what the caller is told.
func (f *File) endOf(err error) error {
	if !errors.Is(err, io.EOF) {
		return f.streamError(err)
	}
	if !f.win.clean() {
		return f.damage(f.win.offset(), "the file ends inside this record")
	}
	if n, link := f.parser.skipped(); n > 0 && f.frames.Load() == 0 && len(f.held) == 0 {
		return &LinkTypeError{Name: f.path, Link: link}
	}
	return io.EOF
}

// account counts a batch and gives it its watermark: the time of its last packet, not the highest ever read.
func (f *File) account(b *models.Batch) {
	var wire uint64
	for i := range b.Frames {
		wire += uint64(b.Frames[i].WireLen)
	}
	b.Watermark = f.times.watermark()
	f.outliers.Store(f.times.outliers - f.outliersBefore)
	f.setBacks.Store(f.times.setBacks() - f.setBacksBefore)
	f.frames.Add(uint64(len(b.Frames)))
	f.bytes.Add(wire)
	f.countSkipped()
}

func (f *File) countSkipped() {
	n, _ := f.parser.skipped()
	f.skipped.Store(n)
}

// Stats counts the frames read so far.
func (f *File) Stats() Stats {
	s := Stats{Frames: f.frames.Load(), Bytes: f.bytes.Load(), Skipped: f.skipped.Load(), Outliers: f.outliers.Load(), SetBacks: f.setBacks.Load()}
	s.Received = s.Frames + s.Skipped
	return s
}

// FileTime is the time in the file of a time that Read gave to a packet: where the file's clock was set back, Read goes on. It may be called
// by any goroutine.
func (f *File) FileTime(ts int64) int64 { return f.times.fileTime(ts) }

// Progress says how many bytes of the file have been read, before decompression, and how many it has; total is 0 where
// that is not known, as for a pipe.
func (f *File) Progress() (read, total int64) { return f.count.n.Load(), f.total }

// Close closes the file. It may be called while Read waits for a pipe, and more than once.
func (f *File) Close() error {
	f.closed.Store(true)
	if f.closer == nil {
		return nil
	}
	if err := f.closer.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}

// countingReader counts bytes for Progress, and remembers an error of the file itself, so that it is not taken for
// broken compression.
type countingReader struct {
	src io.Reader
	n   atomic.Int64
	err error
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.src.Read(b)
	c.n.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}
