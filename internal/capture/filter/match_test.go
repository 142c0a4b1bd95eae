package filter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"netlyra/internal/models"
)

// TestMatcherAgainstVM compares with x/net's machine, which takes the captured length for the packet's and knows no metadata.
func TestMatcherAgainstVM(t *testing.T) {
	var frames []models.Frame
	for i, f := range framesOf(t, models.LinkEthernet) {
		if i%4 == 0 {
			f.WireLen = uint32(len(f.Data))
			frames = append(frames, f)
		}
	}
	for _, expr := range expressions() {
		program, err := Compile(expr, models.LinkEthernet, Options{})
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		m, err := NewMatcher(program)
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		vm := newVM(t, program)
		for i := range frames {
			f := &frames[i]
			n, err := vm.Run(f.Data)
			if err != nil {
				t.Fatalf("%s: %v", expr, err)
			}
			if got, want := m.Match(f), n > 0; got != want {
				t.Errorf("%s: %v, want %v: % x", expr, got, want, f.Data)
				break
			}
		}
	}
}

func newVM(t testing.TB, program []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	decoded, ok := bpf.Disassemble(program)
	if !ok {
		t.Fatalf("x/net does not know an instruction: %v", program)
	}
	vm, err := bpf.NewVM(decoded)
	if err != nil {
		t.Fatalf("x/net refuses the program: %v", err)
	}
	return vm
}

// TestMatcherAgainstLibpcap has tcpdump filter a file with frames that are cut short, and compares which it passes on.
func TestMatcherAgainstLibpcap(t *testing.T) {
	needTcpdump(t)
	dir := t.TempDir()
	frames := framesOf(t, models.LinkEthernet)
	file := filepath.Join(dir, "in.pcap")
	writePcap(t, file, frames)
	for i, expr := range []string{
		"tcp port 80", "len > 100", "greater 60 and less 100", "ether[len - 1] = 0", "ip[8] << ip[9] = 4096", "ip[8] >> ip[9] != 0",
		"ip[9] / ip[1] = 1", "-ip[8] = 0xffffffc0", "ip[ip[8] - 64] = 0x45", "not ip[8] = 64", "vlan and vlan and ip", "ip[8] % ip[9] = 4",
		"ether[ip[8]:4] > 0x10000",
	} {
		t.Run(expr, func(t *testing.T) {
			out := filepath.Join(dir, fmt.Sprint(i, ".pcap"))
			if text, err := exec.CommandContext(t.Context(), "tcpdump", "-r", file, "-w", out, "--", expr).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			passed := readStamps(t, out)
			program, err := Compile(expr, models.LinkEthernet, Options{})
			if err != nil {
				t.Fatal(err)
			}
			m, err := NewMatcher(program)
			if err != nil {
				t.Fatal(err)
			}
			accepted := 0
			for i := range frames {
				got := m.Match(&frames[i])
				if got != passed[uint32(i)] {
					t.Fatalf("frame %d: %v, tcpdump %v: %d of % x", i, got, !got, frames[i].WireLen, frames[i].Data)
				}
				if got {
					accepted++
				}
			}
			if accepted == 0 || accepted == len(frames) {
				t.Errorf("%d of %d frames: the test says nothing", accepted, len(frames))
			}
		})
	}
}

// writePcap writes frames in the classic format. The time of each is its number, in seconds.
func writePcap(t *testing.T, path string, frames []models.Frame) {
	t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	for i, f := range frames {
		for _, n := range []uint32{uint32(i), 0, uint32(len(f.Data)), f.WireLen} {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
		b = append(b, f.Data...)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readStamps reads the times of a file of writePcap's format.
func readStamps(t *testing.T, path string) map[uint32]bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stamps := map[uint32]bool{}
	for b = b[24:]; len(b) >= 16; b = b[16+binary.LittleEndian.Uint32(b[8:]):] {
		stamps[binary.LittleEndian.Uint32(b)] = true
	}
	return stamps
}

// TestMatcherArithmetic runs every operator on numbers from the frame, by both machines, with a number and with X.
func TestMatcherArithmetic(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, o := range arithmetics() {
		for range 200 {
			a, b := rnd.Uint32(), rnd.Uint32()>>rnd.IntN(32)
			if (o == lsh || o == rsh) && b > 31 {
				b &= 31
			}
			data := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, a), b)
			programs := [][]bpf.RawInstruction{{op(ld|word|abs, 4), op(misc|tax, 0), op(ld|word|abs, 0), op(alu|o|withX, 0), op(ret|retA, 0)}}
			if b != 0 {
				programs = append(programs, []bpf.RawInstruction{op(ld|word|abs, 0), op(alu|o, b), op(ret|retA, 0)})
			}
			for _, program := range programs {
				n, err := newVM(t, program).Run(data)
				if err != nil {
					t.Fatal(err)
				}
				m, err := NewMatcher(program)
				if err != nil {
					t.Fatal(err)
				}
				if got := m.Match(&models.Frame{Data: data}); got != (n != 0) {
					t.Errorf("%#x: %d, %d: %v, want %v", o, a, b, got, n != 0)
				}
			}
		}
	}
}

// TestMatcherRegisters covers the instructions that our compiler does not write.
func TestMatcherRegisters(t *testing.T) {
	f := &models.Frame{Data: []byte{0x45, 1, 2, 3}, WireLen: 64, TPID: 0x88a8, TCI: 0x6005}
	tests := []struct {
		name    string
		program []bpf.RawInstruction
		want    bool
	}{
		{"length in X", []bpf.RawInstruction{op(ldx|length, 0), op(misc|txa, 0), {Op: jmp | jeq, K: 60, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"scratch by X", []bpf.RawInstruction{op(ldx|imm, 7), op(stx, 15), op(ld|mem, 15), {Op: jmp | jeq, K: 7, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"negation", []bpf.RawInstruction{op(ld|imm, 1), op(alu|neg, 0), {Op: jmp | jeq, K: 0xffffffff, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"bits of X", []bpf.RawInstruction{op(ld|imm, 6), op(ldx|imm, 4), {Op: jmp | jset | withX, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"at least X", []bpf.RawInstruction{op(ld|imm, 6), op(ldx|imm, 7), {Op: jmp | jge | withX, Jf: 1}, op(ret, 1), op(ret, 0)}, false},
		{"greater than X", []bpf.RawInstruction{op(ld|imm, 6), op(ldx|imm, 5), {Op: jmp | jgt | withX, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"the tag's type", []bpf.RawInstruction{op(ld|half|abs, ancTagType), {Op: jmp | jeq, K: 0x88a8, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"the tag", []bpf.RawInstruction{op(ld|half|abs, ancTag), {Op: jmp | jeq, K: 0x6005, Jf: 1}, op(ret, 1), op(ret, 0)}, true},
		{"beyond the end", []bpf.RawInstruction{op(ld|word|abs, 1), op(ret, 1)}, false},
		{"up to the end", []bpf.RawInstruction{op(ld|word|abs, 0), op(ret, 1)}, true},
		{"two bytes beyond the end", []bpf.RawInstruction{op(ld|half|abs, 3), op(ret, 1)}, false},
		{"a byte beyond the end", []bpf.RawInstruction{op(ld|octet|abs, 4), op(ret, 1)}, false},
		{"a header beyond the end", []bpf.RawInstruction{op(ldx|octet|msh, 4), op(ret, 1)}, false},
		{"X beyond 32 bits", []bpf.RawInstruction{op(ldx|imm, 0xffffffff), op(ld|octet|ind, 2), op(ret, 1)}, false},
		{"division by X of 0", []bpf.RawInstruction{op(ld|imm, 1), op(alu|div|withX, 0), op(ret, 1)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := NewMatcher(tt.program)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Match(f); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestMatcherAllocations(t *testing.T) {
	m, err := matcher(t, "tcp port 80 or ip[ip[0] & 0xf] = 1", models.LinkEthernet, Options{})
	if err != nil {
		t.Fatal(err)
	}
	frames := framesOf(t, models.LinkEthernet)[:500]
	if n := testing.AllocsPerRun(10, func() {
		for i := range frames {
			m.Match(&frames[i])
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// BenchmarkMatch filters TCP packets with a usual expression.
func BenchmarkMatch(b *testing.B) {
	for _, expr := range []string{"tcp", "tcp port 80", "not port 22", "host 10.1.2.3 and (port 80 or 443)"} {
		b.Run(strings.ReplaceAll(expr, " ", "_"), func(b *testing.B) {
			m, err := matcher(b, expr, models.LinkEthernet, Options{})
			if err != nil {
				b.Fatal(err)
			}
			f := &framesOf(b, models.LinkEthernet)[0]
			b.ReportAllocs()
			for b.Loop() {
				m.Match(f)
			}
		})
	}
}
