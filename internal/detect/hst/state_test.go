package hst

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// stream is a row of points of three features, of which the second is strange now and then.
func stream(n int) [][]float64 {
	rng := rand.New(rand.NewPCG(7, 7))
	xs := make([][]float64, n)
	for i := range xs {
		xs[i] = []float64{rng.NormFloat64(), 20 * rng.ExpFloat64(), float64(i % 7)}
		if i%97 == 0 {
			xs[i][1] += 5000
		}
	}
	return xs
}

// chain is what a detector has: scaler, trees and guard.
type chain struct {
	scaler *Scaler
	trees  *Trees
	guard  *Guard
	scaled []float64
	n      int64
}

func newChain(t testing.TB) *chain {
	t.Helper()
	scaler, err := NewScaler(ScalerOptions{Features: 3, Sample: 64, Memory: 512, Logs: []bool{false, true, false}, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	trees, err := New(Options{Trees: 5, Height: 4, Window: 128, Features: 3, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := NewGuard(GuardOptions{Epoch: 100})
	if err != nil {
		t.Fatal(err)
	}
	return &chain{scaler: scaler, trees: trees, guard: guard, scaled: make([]float64, 3)}
}

// outcome is all that a step of the chain tells.
type outcome struct {
	score, surprise float64
	learn, released bool
}

func (c *chain) step(x []float64) (o outcome) {
	c.scaler.Scale(x, c.scaled)
	o.score, o.surprise = c.trees.See(c.scaled)
	o.learn = true
	if c.trees.Progress() == 1 {
		o.learn, o.released = c.guard.Admit(o.surprise, c.n)
	}
	if o.learn {
		c.trees.LearnSeen()
	}
	c.scaler.Learn(x)
	c.n++
	return o
}

func (c *chain) state() []byte {
	return c.guard.AppendState(c.trees.AppendState(c.scaler.AppendState(nil)))
}

func (c *chain) load(b []byte) (rest []byte, err error) {
	for _, load := range []func([]byte) ([]byte, error){c.scaler.LoadState, c.trees.LoadState, c.guard.LoadState} {
		if b, err = load(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func TestLoadedGoesOnAsIfNeverStopped(t *testing.T) {
	xs := stream(4000)
	for _, stop := range []int{0, 1, 63, 100, 128, 129, 700, 2500} {
		whole, first := newChain(t), newChain(t)
		for _, x := range xs[:stop] {
			whole.step(x)
			first.step(x)
		}
		second := newChain(t)
		for _, x := range xs[3000:] {
			second.step(x) // it has known something else
		}
		rest, err := second.load(append(first.state(), "rest"...))
		if err != nil || string(rest) != "rest" {
			t.Fatalf("stopped at %d: %v, rest %q", stop, err, rest)
		}
		second.n = first.n
		refused := 0
		for i, x := range xs[stop:] {
			want, got := whole.step(x), second.step(x)
			if want != got {
				t.Fatalf("stopped at %d: %d later %+v, want %+v", stop, i, got, want)
			}
			if !got.learn {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("stopped at %d: the guard has refused nothing, so its state was not tested", stop)
		}
		if !bytes.Equal(whole.state(), second.state()) {
			t.Errorf("stopped at %d: the states at the end differ", stop)
		}
	}
}

func TestDamagedStatesAreRefusedAndChangeNothing(t *testing.T) {
	c := newChain(t)
	for _, x := range stream(1000) {
		c.step(x)
	}
	scaler, trees, guard := c.scaler.AppendState(nil), c.trees.AppendState(nil), c.guard.AppendState(nil)
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
	}
	const nan = 0x7ff8_0000_0000_0001
	for _, tc := range []struct {
		name   string
		state  []byte
		load   func([]byte) ([]byte, error)
		damage func([]byte) []byte
	}{
		{"trees: empty", trees, c.trees.LoadState, func([]byte) []byte { return nil }},
		{"trees: cut", trees, c.trees.LoadState, func(b []byte) []byte { return b[:len(b)-1] }},
		{"trees: of something else", trees, c.trees.LoadState, func([]byte) []byte { return scaler }},
		{"trees: version", trees, c.trees.LoadState, func(b []byte) []byte { b[1]++; return b }},
		{"trees: other options", trees, c.trees.LoadState, put64(2, 1)},
		{"trees: not a truth value", trees, c.trees.LoadState, func(b []byte) []byte { b[10] = 2; return b }},
		{"trees: count beyond the window", trees, c.trees.LoadState, put32(11, 128)},
		{"trees: count that the masses do not have", trees, c.trees.LoadState, put32(11, binary.LittleEndian.Uint32(trees[11:])+1)},
		{"trees: reference mass", trees, c.trees.LoadState, put32(15, 1000)},
		{"trees: latest mass", trees, c.trees.LoadState, put32(19, 1<<31)},
		{"trees: masses without a reference", trees, c.trees.LoadState, func(b []byte) []byte { b[10] = 0; return b }},
		{"scaler: empty", scaler, c.scaler.LoadState, func([]byte) []byte { return nil }},
		{"scaler: cut", scaler, c.scaler.LoadState, func(b []byte) []byte { return b[:len(b)-1] }},
		{"scaler: other options", scaler, c.scaler.LoadState, put64(2, 1)},
		{"scaler: count", scaler, c.scaler.LoadState, put64(10, 1<<63)},
		{"scaler: fewer than are held", scaler, c.scaler.LoadState, put64(10, 5)},
		{"scaler: refit in the past", scaler, c.scaler.LoadState, put64(18, 1000)},
		{"scaler: refit too late", scaler, c.scaler.LoadState, put64(18, 5000)},
		{"scaler: held more than its sample", scaler, c.scaler.LoadState, put32(34, 1<<31)},
		{"scaler: range is no number", scaler, c.scaler.LoadState, put64(38, nan)},
		{"scaler: empty range", scaler, c.scaler.LoadState, func(b []byte) []byte { copy(b[38:46], b[46:54]); return b }},
		{"scaler: infinite value", scaler, c.scaler.LoadState, put32(38+3*16, 0x7f80_0000)},
		{"guard: empty", guard, c.guard.LoadState, func([]byte) []byte { return nil }},
		{"guard: cut", guard, c.guard.LoadState, func(b []byte) []byte { return b[:len(b)-1] }},
		{"guard: other options", guard, c.guard.LoadState, put64(2, 1)},
		{"guard: refused more than seen", guard, c.guard.LoadState, put64(34, 1<<40)},
		{"guard: seen more than there are scores", guard, c.guard.LoadState, put64(26, 1<<40)},
		{"guard: scores before the first", guard, c.guard.LoadState, func(b []byte) []byte { b[50] = 0; return b }},
		{"guard: lines", guard, c.guard.LoadState, func(b []byte) []byte { b[51] = guardEpochs + 1; return b }},
		{"guard: line is no number", guard, c.guard.LoadState, put64(52, nan)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := c.state()
			rest, err := tc.load(tc.damage(bytes.Clone(tc.state)))
			if !errors.Is(err, ErrState) || rest != nil {
				t.Errorf("%v, want an ErrState", err)
			}
			if !bytes.Equal(before, c.state()) {
				t.Error("something was changed")
			}
		})
	}
}

func TestStateOfOtherOptionsIsRefused(t *testing.T) {
	trees := newChain(t).trees.AppendState(nil)
	for _, o := range []Options{
		{Trees: 5, Height: 4, Window: 128, Features: 3, Seed: 4},
		{Trees: 5, Height: 4, Window: 127, Features: 3, Seed: 3},
		{Trees: 5, Height: 4, Window: 128, Features: 4, Seed: 3},
		{Trees: 5, Height: 4, Window: 128, Features: 3, Seed: 3, Limits: [][2]float64{{0, 2}, {0, 1}, {0, 1}}},
	} {
		other, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.LoadState(trees); !errors.Is(err, ErrState) {
			t.Errorf("%+v: %v, want an ErrState", o, err)
		}
	}
	scaler := newChain(t).scaler.AppendState(nil)
	for _, o := range []ScalerOptions{
		{Features: 3, Sample: 64, Memory: 512},
		{Features: 3, Sample: 65, Memory: 512, Logs: []bool{false, true, false}},
		{Features: 3, Sample: 64, Memory: 512, Logs: []bool{false, true, false}, Floors: []float64{0, 0, 1}},
	} {
		other, err := NewScaler(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.LoadState(scaler); !errors.Is(err, ErrState) {
			t.Errorf("%+v: %v, want an ErrState", o, err)
		}
	}
	guard := newChain(t).guard.AppendState(nil)
	for _, o := range []GuardOptions{{Epoch: 101}, {Epoch: 100, MinAge: 7}, {Epoch: 100, Accept: .9}} {
		other, err := NewGuard(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.LoadState(guard); !errors.Is(err, ErrState) {
			t.Errorf("%+v: %v, want an ErrState", o, err)
		}
	}
}

// Whatever bytes are loaded: either they are refused and nothing changes, or saving gives the same bytes again, and scores stay scores.
func FuzzLoadState(f *testing.F) {
	for _, n := range []int{0, 1, 100, 400} {
		c := newChain(f)
		for _, x := range stream(n) {
			c.step(x)
		}
		f.Add(c.scaler.AppendState(nil))
		f.Add(c.trees.AppendState(nil))
		f.Add(c.guard.AppendState(nil))
	}
	xs := stream(300)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newChain(t)
		for _, part := range []struct {
			load func([]byte) ([]byte, error)
			save func([]byte) []byte
		}{{c.scaler.LoadState, c.scaler.AppendState}, {c.trees.LoadState, c.trees.AppendState}, {c.guard.LoadState, c.guard.AppendState}} {
			before := part.save(nil)
			rest, err := part.load(b)
			after := part.save(nil)
			switch {
			case err != nil && (!errors.Is(err, ErrState) || !bytes.Equal(before, after)):
				t.Fatalf("%v: not an ErrState, or something has changed", err)
			case err == nil && !bytes.Equal(b, append(after, rest...)):
				t.Fatal("what was saved is not what was loaded")
			}
		}
		for _, x := range xs {
			o := c.step(x)
			if !(o.score >= 0 && o.score <= 1) || !(o.surprise >= -4 && o.surprise <= 8) {
				t.Fatalf("%+v", o)
			}
		}
	})
}
