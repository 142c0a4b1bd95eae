package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"netlyra/internal/models"
	"netlyra/internal/nettest"

	"github.com/google/go-cmp/cmp"
)

// readAll reads every frame of a file, copied, until something ends it.
func readAll(f *File) ([]models.Frame, error) {
	var all []models.Frame
	var b models.Batch
	for {
		err := f.Read(&b)
		for _, fr := range b.Frames {
			fr.Data = bytes.Clone(fr.Data)
			all = append(all, fr)
		}
		if err != nil {
			return all, err
		}
		if len(b.Frames) == 0 || len(b.Frames) > maxBatch {
			return all, errors.New("a batch of 0 or too many frames")
		}
	}
}

// sameBytes compares frames' bytes as a whole, nil being as good as empty.
func sameBytes() cmp.Option { return cmp.Comparer(bytes.Equal) }

func sameFrame(a, b models.Frame) bool { return cmp.Equal(a, b, sameBytes()) }

// readBytes reads a file's content.
func readBytes(b []byte) ([]models.Frame, error) {
	f, err := OpenFile("-", FileOptions{Stdin: bytes.NewReader(b)})
	if err != nil {
		return nil, err
	}
	return readAll(f)
}

func TestFileFormats(t *testing.T) {
	want := sample()
	micro := pcapFile(binary.LittleEndian, pcapMicro, 1, want)
	tests := []struct {
		name string
		file []byte
	}{
		{"pcap", micro},
		{"pcap swapped", pcapFile(binary.BigEndian, pcapMicro, 1, want)},
		{"pcap nano", pcapFile(binary.LittleEndian, pcapNano, 1, want)},
		{"pcap nano swapped", pcapFile(binary.BigEndian, pcapNano, 1, want)},
		{"pcap patched", pcapFile(binary.LittleEndian, pcapPatched, 1, want)},
		{"pcap with FCS length in the link type", pcapFile(binary.LittleEndian, pcapMicro, 0x24000001, want)},
		{"pcapng", ngOf(binary.LittleEndian, want)},
		{"pcapng big-endian", ngOf(binary.BigEndian, want)},
		{"pcap gzip", gzipped(t, micro)},
		{"pcap gzip in two members", slices.Concat(gzipped(t, micro[:1000]), gzipped(t, micro[1000:]))},
		{"pcap zstd", zstded(t, micro)},
		{"pcapng gzip", gzipped(t, ngOf(binary.LittleEndian, want))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readBytes(tt.file)
			if !errors.Is(err, io.EOF) {
				t.Fatalf("ended by %v, want io.EOF", err)
			}
			if diff := cmp.Diff(want, got, sameBytes()); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
		})
		t.Run(tt.name+" byte by byte", func(t *testing.T) {
			f, err := OpenFile("-", FileOptions{Stdin: iotest.OneByteReader(bytes.NewReader(tt.file))})
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(f)
			if !errors.Is(err, io.EOF) || !cmp.Equal(want, got, sameBytes()) {
				t.Errorf("%d frames, ended by %v; want %d and io.EOF", len(got), err, len(want))
			}
		})
	}
}

// TestFileConversions reads one file as Wireshark's tools write it in other formats.
func TestFileConversions(t *testing.T) {
	editcap, err := exec.LookPath("editcap")
	if err != nil {
		nettest.Unavailable(t, "editcap is not installed: apt-get install wireshark-common")
	}
	want := sample()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.pcap")
	if err := os.WriteFile(in, pcapFile(binary.LittleEndian, pcapMicro, 1, want), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"pcap", "nsecpcap", "pcapng", "modpcap"} {
		t.Run(format, func(t *testing.T) {
			out := filepath.Join(dir, format)
			if msg, err := exec.CommandContext(t.Context(), editcap, "-F", format, in, out).CombinedOutput(); err != nil {
				t.Fatalf("editcap: %v: %s", err, msg)
			}
			f, err := OpenFile(out, FileOptions{})
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, f)
			got, err := readAll(f)
			if !errors.Is(err, io.EOF) {
				t.Errorf("ended by %v, want io.EOF", err)
			}
			if diff := cmp.Diff(want, got, sameBytes()); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
		})
	}
}

func closeLater(t *testing.T, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestPcapng(t *testing.T) {
	data := []byte("0123456789")
	f := newNgFile(binary.LittleEndian)
	f.iface(uint32(models.LinkEthernet), 0, ngOption{2, []byte("eth0")}, ngOption{ngOptTSResol, []byte{9}})
	f.iface(uint32(models.LinkRaw), 4, ngOption{ngOptTSResol, []byte{0x80 | 10}},
		ngOption{ngOptTSOffset, binary.LittleEndian.AppendUint64(nil, 1000)})
	f.iface(147, 0) // user-defined: not supported
	f.packet(0, 1_005_000_001_999, 10, data)
	f.packet(1, 3<<10|512, 0, data)
	f.block(0x0bad, make([]byte, 3*windowBytes)) // unknown, longer than the buffer
	f.packet(2, 1_004_000_001, 10, data)
	f.simple(99, data)
	f.oldPacket(1, 1<<10, 11, data)
	f.order = binary.BigEndian
	f.section()
	f.iface(uint32(models.LinkSLL), 4)
	f.simple(99, data[:4])
	f.packet(0, 1_002_000_007, 10, data)

	file, err := OpenFile("-", FileOptions{Stdin: bytes.NewReader(f.b)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(file)
	if !errors.Is(err, io.EOF) {
		t.Errorf("ended by %v, want io.EOF", err)
	}
	want := []models.Frame{
		{TS: 1_005_000_001, Data: data, WireLen: 10, Link: models.LinkEthernet},
		{TS: 1_003_500_000, Data: data, Link: models.LinkRaw, Iface: 1},
		{TS: 1_004_000_001, Data: data, WireLen: 99, Link: models.LinkEthernet},
		{TS: 1_001_000_000, Data: data, WireLen: 11, Link: models.LinkRaw, Iface: 1},
		{TS: 1_001_000_000, Data: data[:4], WireLen: 99, Link: models.LinkSLL, Iface: 3},
		{TS: 1_002_000_007, Data: data, WireLen: 10, Link: models.LinkSLL, Iface: 3},
	}
	// The padding of a simple packet cannot be told from its bytes.
	want[2].Data = append(slices.Clone(data), 0, 0)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	wantStats := Stats{Received: 7, Frames: 6, Bytes: 10 + 0 + 99 + 11 + 99 + 10, Skipped: 1}
	if diff := cmp.Diff(wantStats, file.Stats()); diff != "" {
		t.Errorf("Stats (-want +got):\n%s", diff)
	}
}

func TestNgClock(t *testing.T) {
	tests := []struct {
		name  string
		clock ngClock
		stamp uint64
		want  int64
	}{
		{"default", ngClock{resol: 6}, 1_700_000_000_123_456, 1_700_000_000_123_456},
		{"nanoseconds are cut", ngClock{resol: 9}, 1_999, 1},
		{"seconds", ngClock{resol: 0}, 12, 12_000_000},
		{"milliseconds", ngClock{resol: 3}, 12, 12_000},
		{"10^-127 s", ngClock{resol: 127}, 1 << 63, 0},
		{"2^-32 s", ngClock{resol: 0x80 | 32}, 5<<32 | 1<<31, 5_500_000},
		{"2^-127 s", ngClock{resol: 0xff}, 1 << 63, 0},
		{"2^-64 s", ngClock{resol: 0x80 | 64}, 1 << 63, 500_000},
		{"2^0 s", ngClock{resol: 0x80}, 3, 3_000_000},
		{"before the epoch", ngClock{resol: 0, offset: -5}, 3, -2_000_000},
		{"beyond the year 9999", ngClock{resol: 0}, 1 << 60, maxTS},
		{"2^-1 s beyond 9999", ngClock{resol: 0x81}, 1 << 63, maxTS},
		{"offset beyond 9999", ngClock{resol: 6, offset: 1 << 62}, 0, maxTS},
		{"offset before the year 1", ngClock{resol: 6, offset: -1 << 63}, 0, minTS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.clock.micros(tt.stamp); got != tt.want {
				t.Errorf("micros(%d) = %d, want %d", tt.stamp, got, tt.want)
			}
		})
	}
}

// The length on the wire is what the record claims, as in every other tool, however little sense the claim makes.
func TestWireLen(t *testing.T) {
	data := make([]byte, 10)
	for _, orig := range []uint32{0, 3, 10} {
		frames := []models.Frame{{Data: data, WireLen: orig}}
		for name, file := range map[string][]byte{
			"pcap":   pcapFile(binary.LittleEndian, pcapMicro, 1, frames),
			"pcapng": ngOf(binary.LittleEndian, frames),
		} {
			got, err := readBytes(file)
			if !errors.Is(err, io.EOF) || len(got) != 1 || got[0].WireLen != orig {
				t.Errorf("%s with an original length of %d: %+v, %v", name, orig, got, err)
			}
		}
	}
}

// borders of the records in small files of both formats, by which a cut file's damage is known.
func smallFiles() map[string]struct {
	file    []byte
	borders []int
} {
	type cut = struct {
		file    []byte
		borders []int
	}
	frames := []models.Frame{{TS: 1, Data: []byte("abc"), WireLen: 3}, {TS: 2, WireLen: 9}, {TS: 3, Data: []byte("defgh"), WireLen: 5}}
	ng := newNgFile(binary.BigEndian)
	borders := []int{0, len(ng.b)}
	add := func() { borders = append(borders, len(ng.b)) }
	ng.iface(1, 0)
	add()
	ng.packet(0, 1, 3, []byte("abc"))
	add()
	ng.block(5, make([]byte, 40)) // statistics: skipped
	add()
	ng.simple(3, []byte("abc"))
	add()
	return map[string]cut{
		"pcap":   {pcapFile(binary.LittleEndian, pcapMicro, 1, frames), []int{0, 24, 24 + 19, 24 + 19 + 16, 24 + 19 + 16 + 21}},
		"pcapng": {ng.b, borders},
	}
}

func TestFileCutAtEveryByte(t *testing.T) {
	for name, small := range smallFiles() {
		t.Run(name, func(t *testing.T) {
			whole, err := readBytes(small.file)
			if !errors.Is(err, io.EOF) {
				t.Fatalf("whole file: %v", err)
			}
			for n := range small.file {
				got, err := readBytes(small.file[:n])
				if len(got) > len(whole) || !slices.EqualFunc(got, whole[:len(got)], sameFrame) {
					t.Fatalf("cut at %d: %d frames that the whole file does not start with", n, len(got))
				}
				if slices.Contains(small.borders[1:], n) {
					if !errors.Is(err, io.EOF) {
						t.Errorf("cut at %d, between records: %v, want io.EOF", n, err)
					}
					continue
				}
				start := slices.MaxFunc(small.borders, func(a, b int) int { return below(a, n) - below(b, n) })
				var damage *DamageError
				if !errors.As(err, &damage) || damage.Offset != int64(start) {
					t.Errorf("cut at %d: %v, want damage at byte %d", n, err, start)
				}
			}
		})
	}
}

// below orders the borders that are not above n before all others.
func below(border, n int) int {
	if border > n {
		return -1
	}
	return border
}

func TestCompressedFileCutAtEveryByte(t *testing.T) {
	plain := pcapFile(binary.LittleEndian, pcapMicro, 1, sample()[:9])
	for name, file := range map[string][]byte{"gzip": gzipped(t, plain), "zstd": zstded(t, plain)} {
		t.Run(name, func(t *testing.T) {
			for n := range file {
				frames, err := readBytes(file[:n])
				var damage *DamageError
				if !errors.As(err, &damage) {
					t.Fatalf("cut at %d of %d: %v, want damage", n, len(file), err)
				}
				end := 24
				if len(frames) == 0 && damage.Offset == 0 {
					continue // the file's own header was cut
				}
				for _, f := range frames {
					end += pcapRecordBytes + len(f.Data)
				}
				if damage.Offset != int64(end) {
					t.Errorf("cut at %d: damage at byte %d, want %d, where the frames delivered end", n, damage.Offset, end)
				}
			}
		})
	}
}

// A gzip file is its members, one after the other; what follows them is not data (gzip(1) ignores it, with a warning).
func TestBehindTheEndOfGzip(t *testing.T) {
	plain := pcapFile(binary.LittleEndian, pcapMicro, 1, sample()[:9])
	whole := gzipped(t, plain)
	two := append(gzipped(t, plain[:100]), gzipped(t, plain[100:])...)
	for _, tc := range []struct {
		name     string
		file     []byte
		trailing bool
		damaged  bool
	}{
		{"nothing", whole, false, false},
		{"text", append(slices.Clone(whole), "x\n"...), true, false},
		{"a byte", append(slices.Clone(whole), 0x1f), true, false},
		{"zeros", append(slices.Clone(whole), make([]byte, 512)...), true, false},
		{"two members", two, false, false},
		{"two members and text", append(slices.Clone(two), "x\n"...), true, false},
		{"a member that is cut short", two[:len(two)-1], false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.gz")
			if err := os.WriteFile(path, tc.file, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := OpenFile(path, FileOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			frames, err := readAll(f)
			if _, damaged := errors.AsType[*DamageError](err); damaged != tc.damaged {
				t.Errorf("%v", err)
			}
			if len(frames) != 9 && !tc.damaged {
				t.Errorf("%d frames, want 9", len(frames))
			}
			if f.Trailing() != tc.trailing {
				t.Errorf("bytes behind the end: %v", f.Trailing())
			}
		})
	}
}

func TestFileDamage(t *testing.T) {
	frames := []models.Frame{{TS: 1, Data: []byte("abcd"), WireLen: 4}}
	pcap := pcapFile(binary.LittleEndian, pcapMicro, 1, frames)
	le := binary.LittleEndian
	long := slices.Concat(pcap, make([]byte, 8), le.AppendUint32(nil, maxFrame+1), make([]byte, 400_000))
	ng := ngOf(le, frames)
	ngWith := func(typ uint32, body []byte) []byte {
		f := &ngFile{order: le, b: slices.Clone(ng)}
		f.block(typ, body)
		return f.b
	}
	brokenGzip := gzipped(t, pcap)
	brokenGzip[len(brokenGzip)-5] ^= 1 // its checksum
	end := slices.Clone(ng)
	end[len(end)-4]++
	tests := []struct {
		name   string
		file   []byte
		offset int
		reason string
		frames int
	}{
		{"empty", nil, 0, "empty", 0},
		{"frame too long", long, len(pcap), "262145 bytes", 1},
		{"gzip checksum", brokenGzip, len(pcap), "compressed data is broken", 1},
		{"block too short", slices.Concat(ng, le.AppendUint32(le.AppendUint32(nil, 5), 8), make([]byte, 8)), len(ng), "8 bytes", 1},
		{"block not padded", slices.Concat(ng, le.AppendUint32(le.AppendUint32(nil, 5), 17), make([]byte, 20)), len(ng), "17 bytes", 1},
		{"block too long", slices.Concat(ng, le.AppendUint32(le.AppendUint32(nil, ngEnhanced), 0xfffffff0), make([]byte, 20)), len(ng), "claims", 1},
		{"skipped block past the end", slices.Concat(ng, le.AppendUint32(le.AppendUint32(nil, 5), 0xfffffff0), make([]byte, 20)), len(ng), "ends inside", 1},
		{"lengths differ", end, len(ng) - ngBlockBytes - 24 - 4, "at its end", 0},
		{"packet block too short", ngWith(ngEnhanced, make([]byte, 16)), len(ng), "too short", 1},
		{"simple block too short", ngWith(ngSimple, nil), len(ng), "too short", 1},
		{"interface block too short", ngWith(ngInterface, make([]byte, 4)), len(ng), "too short", 1},
		{"interface option too long", ngWith(ngInterface, le.AppendUint32(make([]byte, 8), 9|8<<16)), len(ng), "option", 1},
		{"section too short", ngWith(ngSection, le.AppendUint32(nil, ngByteOrder)), len(ng), "too short", 1},
		{"section without order", ngWith(ngSection, make([]byte, 16)), len(ng), "byte order", 1},
		{"version 2", ngWith(ngSection, le.AppendUint64(le.AppendUint64(nil, ngByteOrder|2<<32), 0)), len(ng), "version 2", 1},
		{"unknown interface", ngWith(ngEnhanced, le.AppendUint32(nil, 1<<31)[:4:4]), len(ng), "too short", 1},
		{"interface not described", ngWith(ngEnhanced, append(le.AppendUint32(nil, 1<<31), make([]byte, 16)...)), len(ng), "interface 2147483648", 1},
		{"frame past its block", ngWith(ngEnhanced, le.AppendUint32(le.AppendUint32(make([]byte, 12), 1), 1)), len(ng), "does not fit", 1},
		{"simple packet before its interface", slices.Concat(newNgFile(le).b, ngWith(ngSimple, make([]byte, 4))[len(ng):]), 28, "interface 0", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frames, err := readBytes(tt.file)
			var damage *DamageError
			if !errors.As(err, &damage) {
				t.Fatalf("%v, want a DamageError", err)
			}
			if damage.Offset != int64(tt.offset) || !strings.Contains(damage.Reason, tt.reason) {
				t.Errorf("%v; want offset %d and %q", err, tt.offset, tt.reason)
			}
			if len(frames) != tt.frames {
				t.Errorf("%d frames before the damage, want %d", len(frames), tt.frames)
			}
		})
	}
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	only := newNgFile(binary.LittleEndian)
	only.iface(147, 0)
	only.packet(0, 1, 1, []byte{1})
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, path string
		want       []string
	}{
		{"missing", filepath.Join(dir, "none.pcap"), []string{"none.pcap", "no such file"}},
		{"directory", dir, []string{"is a directory"}},
		{"text", write("notes.txt", []byte("hello, world")), []string{"notes.txt is not a capture file"}},
		{"two bytes of text", write("hi", []byte("hi")), []string{"is not a capture file"}},
		{"gzip of text", write("t.gz", gzipped(t, []byte("hello, world"))), []string{"is not a capture file"}},
		{"xz", write("x.xz", []byte("\xfd7zXZ\x00...")), []string{"x.xz is compressed with xz", "xz -dc"}},
		{"bzip2", write("x.bz2", []byte("BZh91AY&SY")), []string{"x.bz2 is compressed with bzip2", "bzip2 -dc"}},
		{"lz4", write("x.lz4", []byte("\x04\x22\x4d\x18...")), []string{"x.lz4 is compressed with lz4", "lz4 -dc"}},
		{"link type with a name", write("ppp.pcap", pcapFile(binary.LittleEndian, pcapMicro, 9, nil)), []string{"ppp.pcap", "9 (PPP)"}},
		{"link type without a name", write("y.pcap", pcapFile(binary.LittleEndian, pcapMicro, 999, nil)), []string{"y.pcap", "999 (without a name here)"}},
		{"pcap link type", write("x.pcap", pcapFile(binary.LittleEndian, pcapMicro, 147, nil)), []string{"x.pcap", "147", "1 (Ethernet)", "276"}},
		{"pcapng link type", write("x.pcapng", only.b), []string{"x.pcapng", "147", "1 (Ethernet)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := OpenFile(tt.path, FileOptions{})
			if err == nil {
				_, err = readAll(f)
			}
			if _, ok := errors.AsType[*DamageError](err); ok {
				t.Errorf("%v is a DamageError", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestFileReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	pcap := pcapFile(binary.LittleEndian, pcapMicro, 1, sample()[:1])
	for name, b := range map[string][]byte{"plain": pcap, "gzip": gzipped(t, pcap)[:60]} {
		f, err := OpenFile("-", FileOptions{Stdin: io.MultiReader(bytes.NewReader(b), iotest.ErrReader(broken))})
		if err == nil {
			_, err = readAll(f)
		}
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v, want the reader's own error", name, err)
		}
	}
}

func TestFileProgress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap.gz")
	b := gzipped(t, pcapFile(binary.LittleEndian, pcapMicro, 1, sample()))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	if _, err := readAll(f); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if read, total := f.Progress(); read != int64(len(b)) || total != read {
		t.Errorf("Progress() = %d of %d, want %d of %[3]d", read, total, len(b))
	}
}

// TestFilePipe holds that what a writer has written is delivered before it writes more, and that Close ends a Read
// that waits, for the header too.
func TestFilePipe(t *testing.T) {
	frames := sample()[:4]
	for name, written := range map[string][]byte{"nothing written": nil, "frames written": pcapFile(binary.LittleEndian, pcapMicro, 1, frames)} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			closeLater(t, w)
			if _, err := w.Write(written); err != nil {
				t.Fatal(err)
			}
			f, err := OpenFile("-", FileOptions{Stdin: r})
			if err != nil {
				t.Fatal(err)
			}
			var b models.Batch
			if len(written) > 0 {
				if err := f.Read(&b); err != nil || len(b.Frames) != len(frames) {
					t.Fatalf("%d frames, %v; want %d", len(b.Frames), err, len(frames))
				}
			}
			ended := make(chan error)
			go func() { ended <- f.Read(&b) }()
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("Read after Close: %v, want io.EOF", err)
			}
		})
	}
}

// A terminal is no capture: whoever forgot the pipe would wait for good.
func TestTerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal to be had here: %v", err)
	}
	if _, err := OpenFile("-", FileOptions{Stdin: terminal}); err == nil || !strings.Contains(err.Error(), "standard input is a terminal: name a file") {
		t.Errorf("%v", err)
	}
}

func TestFilePipeOfText(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("hello, world"); err != nil {
		t.Fatal(err)
	}
	closeLater(t, w)
	f, err := OpenFile("-", FileOptions{Stdin: r})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, f)
	for range 2 {
		if err := f.Read(&models.Batch{}); err == nil || !strings.Contains(err.Error(), "standard input is not a capture file") {
			t.Errorf("%v, want that it is not a capture file", err)
		}
	}
}

func TestFileAllocations(t *testing.T) {
	frames := slices.Repeat(sample()[3:7], 2000)
	for name, file := range map[string][]byte{
		"pcap":   pcapFile(binary.LittleEndian, pcapMicro, 1, frames),
		"pcapng": ngOf(binary.LittleEndian, frames),
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OpenFile("-", FileOptions{Stdin: bytes.NewReader(file)})
			if err != nil {
				t.Fatal(err)
			}
			b := models.Batch{Frames: make([]models.Frame, 0, maxBatch)}
			read := func() {
				if err := f.Read(&b); err != nil {
					t.Fatal(err)
				}
			}
			if n := testing.AllocsPerRun(20, read); n != 0 {
				t.Errorf("%v allocations a batch, want 0", n)
			}
		})
	}
}

// TestDecompressionBomb reads 64 MiB that were compressed to next to nothing: they stream.
func TestDecompressionBomb(t *testing.T) {
	const n = 256
	plain := pcapFile(binary.LittleEndian, pcapMicro, 1, slices.Repeat([]models.Frame{{Data: make([]byte, maxFrame)}}, n))
	for name, file := range map[string][]byte{"gzip": gzipped(t, plain), "zstd": zstded(t, plain)} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := OpenFile("-", FileOptions{Stdin: bytes.NewReader(file)})
			var b models.Batch
			for err == nil {
				err = f.Read(&b)
			}
			runtime.ReadMemStats(&after)
			if !errors.Is(err, io.EOF) || f.Stats().Frames != n {
				t.Fatalf("%d frames, ended by %v", f.Stats().Frames, err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
				t.Errorf("%d bytes allocated to read %d from %d", got, len(plain), len(file))
			}
		})
	}
}

// FuzzFile holds what must be true of any input: reading ends, without a panic; there are no more frames and bytes than
// input can hold; damage is named within the input.
func FuzzFile(f *testing.F) {
	for _, small := range smallFiles() {
		f.Add(small.file)
	}
	pcap := pcapFile(binary.BigEndian, pcapNano, 113, sample()[:2])
	f.Add(pcap)
	f.Add(gzipped(f, pcap))
	f.Add(zstded(f, pcap))
	f.Add([]byte("not a capture"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := OpenFile("-", FileOptions{Stdin: bytes.NewReader(b)})
		var damage *DamageError
		if err != nil {
			if errors.As(err, &damage) && damage.Offset != 0 {
				t.Errorf("damage at %d in the header", damage.Offset)
			}
			return
		}
		frames, err := readAll(file)
		size := file.win.base + int64(file.win.w)
		var bytes int64
		for _, fr := range frames {
			bytes += int64(len(fr.Data))
			if fr.TS < minTS || fr.TS > maxTS {
				t.Errorf("frame %+v", fr)
			}
		}
		if int64(len(frames))*16+bytes > size {
			t.Errorf("%d frames of %d bytes in a stream of %d", len(frames), bytes, size)
		}
		if errors.As(err, &damage) && (damage.Offset < 0 || damage.Offset > size) {
			t.Errorf("damage at %d in a stream of %d bytes", damage.Offset, size)
		}
		if s := file.Stats(); s.Frames != uint64(len(frames)) || s.Received != s.Frames+s.Skipped {
			t.Errorf("Stats %+v after %d frames", s, len(frames))
		}
	})
}

// benchmarkFile is as IMIX would be: 64, 570 and 1518 bytes at 7:4:1, without their check sequences.
func benchmarkFile(write func([]models.Frame) []byte) (file []byte, frames int) {
	var mix []models.Frame
	for i := range 12 * 12_000 {
		n := 60
		switch {
		case i%12 >= 11:
			n = 1514
		case i%12 >= 7:
			n = 566
		}
		mix = append(mix, models.Frame{TS: int64(i), Data: make([]byte, n), WireLen: uint32(n)})
	}
	return write(mix), len(mix)
}

func BenchmarkFileRead(b *testing.B) {
	for _, bm := range []struct {
		name  string
		write func([]models.Frame) []byte
	}{
		{"pcap", func(f []models.Frame) []byte { return pcapFile(binary.LittleEndian, pcapMicro, 1, f) }},
		{"pcap-nano-swapped", func(f []models.Frame) []byte { return pcapFile(binary.BigEndian, pcapNano, 1, f) }},
		{"pcapng", func(f []models.Frame) []byte { return ngOf(binary.LittleEndian, f) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			content, n := benchmarkFile(bm.write)
			path := filepath.Join(b.TempDir(), "imix")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			var batch models.Batch
			for b.Loop() {
				f, err := OpenFile(path, FileOptions{})
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					err = f.Read(&batch)
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/packet")
		})
	}
}
