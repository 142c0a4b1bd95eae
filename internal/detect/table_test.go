package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestTable(t *testing.T) {
	tab := newTable[int, string](3)
	for k, v := range []string{"zero", "one", "two"} {
		got, fresh := tab.get(k)
		if !fresh || *got != "" {
			t.Fatalf("%d: %q, fresh %v", k, *got, fresh)
		}
		*got = v
	}
	if got, fresh := tab.get(1); fresh || *got != "one" {
		t.Errorf("1 is %q, fresh %v", *got, fresh)
	}
	if tab.find(7) != nil || *tab.find(2) != "two" || tab.evicted != 0 {
		t.Errorf("%+v", tab)
	}
	for k := 10; k < 1000; k++ {
		if got, fresh := tab.get(k); !fresh || *got != "" {
			t.Fatalf("%d: %q, fresh %v", k, *got, fresh)
		}
		if len(tab.cells) != 3 || known(&tab) != 3 {
			t.Fatalf("%d cells, %d known", len(tab.cells), known(&tab))
		}
	}
	if tab.evicted != 990 {
		t.Errorf("%d evicted", tab.evicted)
	}
	tab.clear()
	if got, fresh := tab.get(1); !fresh || *got != "" || tab.find(999) != nil || len(tab.cells) != 1 {
		t.Errorf("after clear: %q, fresh %v, %d cells", *got, fresh, len(tab.cells))
	}
}

// What is used goes on living while others come and go; finding is no use.
func TestTheTableKeepsWhatIsUsed(t *testing.T) {
	const room = 100
	tab := newTable[int, int](room)
	for k := range room {
		tab.get(k)
	}
	for k := room; k < 100*room; k++ {
		tab.get(k)
		if _, fresh := tab.get(5); fresh {
			t.Fatalf("5 was gone after %d others", k)
		}
		tab.find(6)
	}
	if tab.find(6) != nil {
		t.Error("6 was only looked for, and is still there")
	}
}

// The table is a map with at most room entries, of which those that are there have the value that was put there last.
func TestTheTableIsAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	tab := newTable[int, int](64)
	last := map[int]int{}
	for i := range 100_000 {
		k := rng.IntN(200)
		v, fresh := tab.get(k)
		if want := last[k]; !fresh && *v != want || fresh && *v != 0 {
			t.Fatalf("%d is %d, want %d, fresh %v", k, *v, want, fresh)
		}
		*v = i
		last[k] = i
		if i%7 == 0 {
			tab.drop(k)
			delete(last, k)
		}
		if len(tab.cells) > 64 || known(&tab) != len(tab.cells) {
			t.Fatalf("%d cells, %d known", len(tab.cells), known(&tab))
		}
	}
	for i := range tab.cells {
		if c := &tab.cells[i]; tab.find(c.key) != &c.value {
			t.Fatalf("%d is not found at its place", c.key)
		}
	}
}

// known is how many cells the index names.
func known[K comparable, V any](t *table[K, V]) (n int) {
	for _, s := range t.index {
		if s != 0 {
			n++
		}
	}
	return n
}

// Entities are a map, too: by open addressing, with deletion.
func TestEntitiesAreAMap(t *testing.T) {
	const room = 64
	rng := rand.New(rand.NewPCG(1, 1))
	es := newEntities(room)
	for turn := range int64(20_000) {
		a := spoofed(rng.IntN(500))
		i := es.get(a, hashAddr(a), turn)
		if i == noEntity || es.slab[i].addr != a {
			t.Fatalf("%v is %d", a, i)
		}
		es.slab[i].recent, es.slab[i].slot = true, turn
		if es.live > room || es.find(a) != &es.slab[i] {
			t.Fatalf("%d are live", es.live)
		}
	}
	known := 0
	for n := range 500 {
		if es.find(spoofed(n)) != nil {
			known++
		}
	}
	if known != es.live || es.live != room || es.evicted == 0 {
		t.Errorf("%d are known, %d live, %d evicted", known, es.live, es.evicted)
	}
}

// Those that move in one turn, and those in an incident, are never evicted: who finds no room is refused, and counted.
func TestEntitiesInUseStay(t *testing.T) {
	const room = 32
	es := newEntities(room)
	for n := range room {
		i := es.get(spoofed(n), hashAddr(spoofed(n)), 1)
		es.slab[i].slot = 1
		if n%2 == 0 {
			es.slab[i].incidents = 1
		}
	}
	if es.get(spoofed(room), hashAddr(spoofed(room)), 1) != noEntity || es.refused != 1 {
		t.Errorf("a turn moved more than there is room for; %d refused", es.refused)
	}
	for n := range 10 * room {
		a := spoofed(100 + n)
		es.get(a, hashAddr(a), 2+int64(n))
	}
	for n := range room {
		if gone := es.find(spoofed(n)) == nil; gone != (n%2 == 1) {
			t.Errorf("%d: gone is %v", n, gone)
		}
	}
	es.forget()
	if es.live != 0 || es.find(spoofed(0)) != nil {
		t.Error("after forget somebody is left")
	}
}

// What tops knows of a set does not depend on the order in which its members came.
func TestTopsDoNotDependOnOrder(t *testing.T) {
	type seen struct {
		total int
		about bool
		most  string
	}
	look := func(order []int) seen {
		tops := tops[int]{room: 64}
		for _, k := range order {
			tops.add(k, hashAddr(spoofed(k)), uint64(1+k%3))
			if k%97 == 0 {
				tops.total() // looking makes no difference
			}
		}
		text := ""
		for _, c := range tops.most(func(a, b int) int { return a - b }, func(k int) string { return string(rune(k)) }) {
			text += c.Name + string(rune(c.Count))
		}
		return seen{tops.total(), tops.about(), text}
	}
	for _, n := range []int{1, 10, 63, 64, 65, 500, 5000} {
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		var all []int
		for k := range n {
			for range 1 + k%4 {
				all = append(all, k)
			}
		}
		want := look(all)
		if off := math.Abs(float64(want.total-n)) / float64(n); n <= 64 && off > 0 || off > 0.3 {
			t.Errorf("%d members are counted as %d", n, want.total)
		}
		for range 5 {
			shuffled := slices.Clone(all)
			rng.Shuffle(len(shuffled), func(i, k int) { shuffled[i], shuffled[k] = shuffled[k], shuffled[i] })
			if got := look(shuffled); got != want {
				t.Errorf("%d members: %+v, in another order %+v", n, want, got)
			}
		}
	}
}

// A window's sketch hands on to tops what it has seen, exactly or as a bitmap; new members count on top, known ones do not.
func TestTopsGoOnFromASketch(t *testing.T) {
	for _, n := range []int{0, 5, 100, 1000, 5000} {
		var p blocks
		var halves [2]sketch
		for i := range n {
			halves[i%2].add(&p, hashAddr(spoofed(i)))
		}
		tops := tops[int]{}
		tops.seed(&halves, &p)
		if got := tops.total(); math.Abs(float64(got-n)) > 0.03*float64(n) {
			t.Errorf("%d before the incident are counted as %d", n, got)
		}
		for i := range 2 * n {
			tops.add(i, hashAddr(spoofed(i)), 1)
		}
		if got := tops.total(); math.Abs(float64(got-2*n)) > 0.06*float64(2*n) {
			t.Errorf("%d before and as many new ones are counted as %d", n, got)
		}
	}
}

func TestSketchesKnowTheirMembers(t *testing.T) {
	var p blocks
	for _, n := range []int{1, 8, 9, 150, 191, 193, 2000} {
		var s sketch
		for i := range n {
			s.add(&p, hashAddr(spoofed(i)))
			if !s.has(&p, hashAddr(spoofed(i))) {
				t.Fatalf("of %d, %d is not known", n, i)
			}
		}
		wrong := 0
		for i := range 1000 {
			if s.has(&p, hashAddr(spoofed(1_000_000+i))) {
				wrong++
			}
		}
		if n < exactValues && wrong > 0 || wrong > 300 {
			t.Errorf("of %d, %d in 1000 strangers are taken for members", n, wrong)
		}
		s.reset(&p)
	}
}

// Without blocks, a sketch counts no further than it can, and that is counted.
func TestSketchesRunOutOfBlocks(t *testing.T) {
	p := blocks{all: make([]block, maxSketch)}
	var s sketch
	for i := range 100 {
		s.add(&p, hashAddr(spoofed(i)))
	}
	var none sketch
	if got := s.union(&none, &p); got != fewValues || p.full == 0 {
		t.Errorf("%d are counted, %d times there was no block", got, p.full)
	}
}
