package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
)

func TestReadProgram(t *testing.T) {
	tests := []struct {
		name string
		text string
		want []bpf.RawInstruction
		err  string
	}{
		{
			"tcpdump's own", "4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n",
			[]bpf.RawInstruction{{Op: 40, K: 12}, {Op: 21, Jf: 1, K: 2048}, {Op: 6, K: 262144}, {Op: 6}},
			"",
		},
		{"carriage returns and blank lines", "1\r\n\r\n 6 0 0 5 \r\n\n", []bpf.RawInstruction{{Op: 6, K: 5}}, ""},
		{"metadata", "2\n48 0 0 4294963248\n6 0 0 1", []bpf.RawInstruction{{Op: 48, K: ancTagPresent}, {Op: 6, K: 1}}, ""},
		{"nothing", "", nil, "there is no program"},
		{"an expression", "tcp port 80\n", nil, `not "tcp port 80"`},
		{"no count", "6 0 0 0\n", nil, `not "6 0 0 0"`},
		{"count of 0", "0\n", nil, "1 to 4096"},
		{"too long", "4097\n", nil, "1 to 4096"},
		{"negative", "-1\n", nil, "1 to 4096"},
		{"too few", "2\n6 0 0 0\n", nil, "promises 2 instructions, but there are 1"},
		{"too many", "1\n6 0 0 0\n6 0 0 0\n", nil, "promises 1 instructions, but there are more"},
		{"three numbers", "1\n6 0 0\n", nil, "instruction 0: \"6 0 0\" is not four numbers"},
		{"a word", "1\n6 0 0 x\n", nil, "not a number of 32 bits"},
		{"a large jump", "1\n6 256 0 0\n", nil, "not a number of 8 bits"},
		{"a line without an end", "1\n" + strings.Repeat("6", 1<<20), nil, "read a program"},
		{"no return", "1\n0 0 0 1\n", nil, "does not end with a return"},
		{"jump out", "2\n21 1 0 1\n6 0 0 0\n", nil, "instruction 0: it jumps 1 instructions, out"},
		{"far jump out", "2\n5 0 0 4294967295\n6 0 0 0\n", nil, "out of the program"},
		{"unknown code", "2\n255 0 0 0\n6 0 0 0\n", nil, "code 255 is unknown"},
		{"scratch", "2\n2 0 0 16\n6 0 0 0\n", nil, "no word 16"},
		{"division by 0", "2\n52 0 0 0\n6 0 0 0\n", nil, "divides by 0"},
		{"shift", "2\n100 0 0 32\n6 0 0 0\n", nil, "31 bits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadProgram(strings.NewReader(tt.text))
			if tt.err == "" {
				if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
					t.Errorf("%v (-want +got)\n%s", err, diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
}

func TestNewMatcherMetadata(t *testing.T) {
	for _, k := range []uint32{ancillary + 4, ancillary, 0xfff00000, 0xffe00000, 1 << 31} {
		if _, err := NewMatcher([]bpf.RawInstruction{op(ld|octet|abs, k), op(ret, 1)}); err == nil || !strings.Contains(err.Error(), "only the kernel") {
			t.Errorf("%#x: %v", k, err)
		}
	}
}
