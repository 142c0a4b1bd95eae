package traffic

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// site is a name and who answers for it.
type site struct {
	name  string
	zone  string
	chain []string // canonical names on the way
	nodes []*node
	ttl   int // seconds
	app   int // variant of its clients' hello
	quic  bool
}

// answers are the records for one type: the chain, and the addresses.
func (s *site) answers(qtype uint16) []record {
	var all []record
	owner := ""
	for _, c := range s.chain {
		all = append(all, record{owner, typeCNAME, uint32(s.ttl), appendName(nil, c)})
		owner = c
	}
	for _, n := range s.nodes {
		switch {
		case qtype == typeA:
			all = append(all, record{owner, typeA, uint32(s.ttl), n.v4[:]})
		case n.six:
			all = append(all, record{owner, typeAAAA, uint32(s.ttl), n.v6[:]})
		}
	}
	return all
}

// node picks one of the addresses.
func (s *site) node(p *proc) *node { return pick(p, s.nodes) }

// word makes a pronounceable name.
func word(rng *rand.Rand, syllables int) string {
	onsets := []string{"b", "br", "c", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr", "v", "w", "z"}
	vowels := []string{"a", "e", "i", "o", "u", "ai", "ea", "io"}
	codas := []string{"", "", "", "n", "r", "s", "l", "x"}
	var b strings.Builder
	for range syllables {
		b.WriteString(onsets[rng.IntN(len(onsets))] + vowels[rng.IntN(len(vowels))] + codas[rng.IntN(len(codas))])
	}
	return b.String()
}

const (
	hexAlphabet    = "0123456789abcdef"
	base32Alphabet = "abcdefghijklmnopqrstuvwxyz234567"
)

// token is a string of random letters of an alphabet.
func token(rng *rand.Rand, n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

// zone makes a registered domain.
func zone(rng *rand.Rand) string {
	tld := []string{"example", "example", "example", "test", "co.example"}
	return word(rng, 2+rng.IntN(2)) + "." + tld[rng.IntN(len(tld))]
}

// reverseName is the name under which an IPv4 address is looked up.
func reverseName(n *node) string {
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", n.v4[3], n.v4[2], n.v4[1], n.v4[0])
}
