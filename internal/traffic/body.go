package traffic

import "math/rand/v2"

// kind is what a payload is made of; it decides its entropy.
type kind byte

const (
	random  kind = iota // encrypted or compressed: 8 bits a byte
	tls                 // the same in TLS records, one a segment (RFC 8446, section 5.1)
	text                // markup and prose: about 4.5 bits
	structs             // structures with small numbers in them: about 4 bits
	zeros
)

const bodyBytes = 128 << 10

// bodies are pools that payloads are cut out of: random bytes made anew for each packet would cost more than all else.
type bodies struct{ random, text, structs []byte }

func newBodies(rng *rand.Rand) bodies {
	b := bodies{make([]byte, bodyBytes), make([]byte, 0, bodyBytes+64), make([]byte, bodyBytes)}
	for i := range b.random {
		b.random[i] = byte(rng.Uint32())
	}
	words := []string{
		"the ", "report", " of ", "<div class=\"", "\">", "</div>\n", "value", "=", "\"", "office", " and ", "meeting ", "{\"id\":", ", ", "true", "null",
		"function ", "return ", "(x)", "; ", "order ", "2026-", "price ", "<td>", "</td>", "href=\"/", "image", ".png", "list", "item ", "for ", "status ",
	}
	for len(b.text) < bodyBytes {
		b.text = append(b.text, words[rng.IntN(len(words))]...)
		if rng.IntN(6) == 0 {
			b.text = append(b.text, byte('0'+rng.IntN(10)), byte('0'+rng.IntN(10)))
		}
	}
	for i := range b.structs {
		switch rng.IntN(4) {
		case 0, 1:
		case 2:
			b.structs[i] = byte(rng.IntN(16))
		default:
			b.structs[i] = byte(rng.Uint32())
		}
	}
	return b
}

// fill writes a payload of a kind; records of TLS are the caller's business.
func (b *bodies) fill(rng *rand.Rand, dst []byte, k kind) {
	pool := b.random
	switch k {
	case text:
		pool = b.text
	case structs:
		pool = b.structs
	case zeros:
		clear(dst)
		return
	case random, tls:
	}
	for len(dst) > 0 {
		at := rng.IntN(bodyBytes / 2)
		dst = dst[copy(dst, pool[at:]):]
	}
}
