package telemetry

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func lostLine(n uint64) []byte { return fmt.Appendf(nil, "lost %d\n", n) }

// start runs d until the returned function is called, which waits for its end.
func start(t *testing.T, d *Detached) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestDetachedKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	d := NewDetached(DetachedOptions{Output: &out, Lost: lostLine})
	want := ""
	for i := range 5000 {
		line := fmt.Sprintf("line %d\n", i)
		want += line
		if n, err := d.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	start(t, d)()
	if out.String() != want {
		t.Errorf("%d bytes arrived of %d, or in another order", out.Len(), len(want))
	}
}

// A pipe that nobody reads: no write waits, the end is bounded, what is lost is counted, and said when the reader is back.
func TestDetachedFromAPipeThatNobodyReads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := NewDetached(DetachedOptions{Output: w, Bytes: 64 << 10, Drain: 50 * time.Millisecond, Lost: lostLine})
	stop := start(t, d)
	const lines = 4000
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range lines {
		_, _ = d.Write(line)
	}
	for d.Problem() == "" {
		time.Sleep(10 * time.Millisecond)
	}
	if got := d.Problem(); !strings.Contains(got, "nobody reads") {
		t.Errorf("problem: %q", got)
	}
	lost := d.Lost()
	if lost < lines/2 || lost >= lines {
		t.Errorf("%d lines lost of %d", lost, lines)
	}
	var note atomic.Uint64
	read := make(chan uint64)
	go func() {
		n := uint64(0)
		for s := bufio.NewScanner(r); s.Scan(); {
			if rest, ok := strings.CutPrefix(s.Text(), "lost "); ok {
				var said uint64
				_, _ = fmt.Sscan(rest, &said)
				note.Add(said)
				continue
			}
			n++
		}
		read <- n
	}()
	for note.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	_ = w.Close()
	got := <-read
	if got+note.Load() != lines || note.Load() != lost {
		t.Errorf("%d lines read, %d said to be lost, %d lost, of %d", got, note.Load(), lost, lines)
	}
	if p := d.Problem(); p != "" {
		t.Errorf("problem afterwards: %q", p)
	}
	_ = r.Close()
}

// The end does not wait for a reader that does not read.
func TestDetachedEndsBesideAWriteThatWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := NewDetached(DetachedOptions{Output: w, Drain: 20 * time.Millisecond})
	for range 1000 {
		_, _ = d.Write(bytes.Repeat([]byte("x\n"), 500))
	}
	start(t, d)()
	_ = r.Close() // lets the write that was left behind return
	_ = w.Close()
}

func TestDetachedFromAReaderThatHasEnded(t *testing.T) {
	out := &failing{err: &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}
	var gone atomic.Int32
	d := NewDetached(DetachedOptions{Output: out, Lost: lostLine, Gone: func() { gone.Add(1) }})
	stop := start(t, d)
	for range 10 {
		_, _ = d.Write([]byte("line\n"))
	}
	for gone.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_, _ = d.Write([]byte("line\n"))
	stop()
	if gone.Load() != 1 || d.Lost() != 11 || !strings.Contains(d.Problem(), "ended") {
		t.Errorf("gone %d, lost %d, problem %q", gone.Load(), d.Lost(), d.Problem())
	}
}

// A full disk under the log: what cannot be written is counted, and the log goes on when there is room.
func TestDetachedGoesOnAfterAnError(t *testing.T) {
	out := &failing{err: syscall.ENOSPC}
	d := NewDetached(DetachedOptions{Output: out, Lost: lostLine})
	stop := start(t, d)
	_, _ = d.Write([]byte("one\n"))
	for d.Problem() == "" {
		time.Sleep(time.Millisecond)
	}
	out.fail(nil)
	_, _ = d.Write([]byte("two\n"))
	stop()
	if got := out.String(); got != "two\nlost 1\n" || d.Problem() != "" {
		t.Errorf("%q, problem %q", got, d.Problem())
	}
}

// failing is a writer that fails while it has an error.
type failing struct {
	mu  sync.Mutex
	err error
	bytes.Buffer
}

func (f *failing) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *failing) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return 0, f.err
	}
	return f.Buffer.Write(p)
}

func TestLimiterCountsWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, err := Logger(&out, "info", "text")
		if err != nil {
			t.Fatal(err)
		}
		l := NewLimiter(time.Minute)
		for range 90 {
			l.Log(t.Context(), log, slog.LevelError, "again", slog.Any("error", errors.New("x")))
			time.Sleep(time.Second)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || strings.Contains(lines[0], "repeated") || !strings.Contains(lines[1], "repeated=59") {
			t.Errorf("%s", out.String())
		}
	})
}
