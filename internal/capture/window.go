package capture

import "io"

const (
	windowBytes = 1 << 20 // of a file's read buffer, half of which a record may fill

	// fillBytes is how far the buffer is usually filled: large enough that the system calls vanish, so small that what is read stays in the
	// processor's second cache level until it has been analysed.
	fillBytes = 256 << 10
)

// window is a sliding view of a stream. Parsers take records from buf[r:w] without copying; only fill moves bytes, so
// what was handed out stays valid until then.
type window struct {
	src  io.Reader
	buf  []byte
	r, w int
	base int64 // stream offset of buf[0]
	skip int64 // bytes of the record at mark that are still to be thrown away
	mark int64
}

func newWindow(src io.Reader) *window {
	return &window{src: src, buf: make([]byte, windowBytes)}
}

// rest is what has been read and not been taken.
func (w *window) rest() []byte { return w.buf[w.r:w.w] }

// take moves on by n bytes of rest.
func (w *window) take(n int) { w.r += n }

// drop moves on by a record of n bytes, of which rest may hold only a part.
func (w *window) drop(n int64) {
	w.mark = w.offset()
	have := min(n, int64(w.w-w.r))
	w.r += int(have)
	w.skip = n - have
}

// offset is where in the stream the record starts that is being read.
func (w *window) offset() int64 {
	if w.skip > 0 {
		return w.mark
	}
	return w.base + int64(w.r)
}

// clean tells whether the stream stands between two records.
func (w *window) clean() bool { return w.skip == 0 && w.r == w.w }

// fill reads until rest has need bytes, at most half of windowBytes, and what was skipped is gone. It reads no more
// often than it must, so that a pipe's records arrive when they are written.
func (w *window) fill(need int) error {
	w.base += int64(w.r)
	w.w = copy(w.buf, w.buf[w.r:w.w])
	w.r = 0
	for empty := 0; w.w < need || w.skip > 0; {
		n, err := w.src.Read(w.buf[w.w:max(need, fillBytes)])
		w.w += n
		w.discard()
		if w.skip == 0 && w.w >= need {
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty == 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// discard throws away what is to be skipped: nothing but that is in the buffer while skip is above 0.
func (w *window) discard() {
	if w.skip == 0 {
		return
	}
	n := min(w.skip, int64(w.w))
	w.skip -= n
	w.base += n
	w.w = copy(w.buf, w.buf[n:w.w])
}
