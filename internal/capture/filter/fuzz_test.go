package filter

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"netlyra/internal/models"
)

// FuzzCompile: an expression is refused with a SyntaxError inside it, or gives programs that the machines accept, that
// come to an end, and that x/net's machine and the Matcher agree on; alone and in parentheses it means the same.
func FuzzCompile(f *testing.F) {
	for _, expr := range expressions() {
		f.Add(expr)
	}
	f.Add("host ::1 or (port 80-90) and \\tcp [ 1:2 ] << >= 0x 08")
	frames := map[models.LinkType][]models.Frame{}
	links := []models.LinkType{models.LinkEthernet, models.LinkRaw, models.LinkIPv4, models.LinkSLL, models.LinkSLL2, models.LinkNull}
	for _, link := range links {
		for i, fr := range framesOf(f, link) {
			if i%50 == 0 {
				fr.WireLen = uint32(len(fr.Data))
				frames[link] = append(frames[link], fr)
			}
		}
	}
	f.Fuzz(func(t *testing.T, expr string) {
		e, err := Parse(expr)
		if err != nil {
			checkError(t, expr, err)
			return
		}
		for _, link := range links {
			program, err := e.Compile(link, Options{})
			if err != nil {
				checkError(t, expr, err)
				continue
			}
			if len(program) > MaxInstructions {
				t.Fatalf("%d instructions", len(program))
			}
			m, err := NewMatcher(program)
			if err != nil {
				t.Fatal(err)
			}
			vm := newVM(t, program)
			again, err := matcher(t, "("+expr+")", link, Options{})
			if err != nil && strings.TrimSpace(expr) != "" && !strings.Contains(err.Error(), "inside each other") && len(expr) < maxExpr-2 {
				t.Fatalf("in parentheses: %v", err)
			}
			for i := range frames[link] {
				fr := &frames[link][i]
				n, err := vm.Run(fr.Data)
				if got := m.Match(fr); err != nil || got != (n > 0) {
					t.Fatalf("%v, want %v, %v: % x", got, n > 0, err, fr.Data)
				} else if again != nil && again.Match(fr) != got {
					t.Fatalf("in parentheses: %v, want %v: % x", !got, got, fr.Data)
				}
			}
		}
		if program, err := e.Compile(models.LinkEthernet, Options{Live: true}); err != nil {
			checkError(t, expr, err)
		} else if _, err := NewMatcher(program); err != nil {
			t.Fatalf("live: %v", err)
		}
	})
}

func checkError(t *testing.T, expr string, err error) {
	t.Helper()
	syntax, ok := errors.AsType[*SyntaxError](err)
	if !ok {
		t.Fatalf("%v is not a SyntaxError", err)
	}
	if syntax.Offset < 0 || syntax.Offset > len(expr) || syntax.Reason == "" || strings.ContainsAny(syntax.Error(), "\x1b\x00\r") {
		t.Fatalf("%+v", syntax)
	}
}

// FuzzReadProgram: a program is refused, or runs to its end on any frame.
func FuzzReadProgram(f *testing.F) {
	f.Add([]byte("4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n"), []byte("0123456789ab\x08\x00"))
	f.Add([]byte("2\n48 0 0 4294963248\n6 0 0 1"), []byte{})
	f.Fuzz(func(t *testing.T, text, data []byte) {
		program, err := ReadProgram(bytes.NewReader(text))
		if err != nil {
			return
		}
		if m, err := NewMatcher(program); err == nil {
			m.Match(&models.Frame{Data: data, WireLen: uint32(len(data))})
		}
	})
}

// TestRandomExpressions joins the table's expressions at random; nothing of what each means alone may be lost.
func TestRandomExpressions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var plain []string
	for _, expr := range expressions() {
		if !strings.Contains(expr, "vlan") { // which changes what stands behind it
			plain = append(plain, expr)
		}
	}
	var frames []models.Frame
	for i, f := range framesOf(t, models.LinkEthernet) {
		if len(f.Data) >= 62 && i%7 == 0 { // no load of a plain expression is beyond the end
			f.Data = append(slices.Clip(f.Data), make([]byte, 300)...)
			frames = append(frames, f)
		}
	}
	parts := map[string]*Matcher{}
	for _, expr := range plain {
		m, err := matcher(t, expr, models.LinkEthernet, Options{})
		if err != nil {
			t.Fatal(err)
		}
		parts[expr] = m
	}
	for range 300 {
		a, b, c := plain[rnd.IntN(len(plain))], plain[rnd.IntN(len(plain))], plain[rnd.IntN(len(plain))]
		expr := fmt.Sprintf("(%s) and not ((%s) or not (%s)) or (%s) and (%s)", a, b, c, b, a)
		m, err := matcher(t, expr, models.LinkEthernet, Options{})
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		for i := range frames {
			f := &frames[i]
			inA, inB, inC := parts[a].Match(f), parts[b].Match(f), parts[c].Match(f)
			want := (inA && (!inB && inC) || inB) && inA
			if got := m.Match(f); got != want && !loadsFar(a, b, c) {
				t.Fatalf("%s: %v, want %v: % x", expr, got, want, f.Data)
			}
		}
	}
}

// loadsFar says that an expression may reject a frame by a load or a division, and not by its condition.
func loadsFar(exprs ...string) bool {
	for _, expr := range exprs {
		if strings.Contains(expr, "len - ") || strings.Contains(expr, "/ ip[") || strings.Contains(expr, "% ip[") || strings.Contains(expr, "- 60]") ||
			strings.Contains(expr, "- 7]") {
			return true
		}
	}
	return false
}
