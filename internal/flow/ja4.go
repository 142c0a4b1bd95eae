package flow

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// TLS extension numbers (IANA "TLS ExtensionType Values").
const (
	extServerName       = 0
	extSignatureAlgs    = 13
	extALPN             = 16
	extSupportedVersion = 43
)

// clientHello is a ClientHello (RFC 8446, section 4.1.2) without GREASE values (RFC 8701).
type clientHello struct {
	version    uint16 // the highest that is offered
	ciphers    []uint16
	extensions []uint16
	signatures []uint16
	sni        []byte
	hasSNI     bool
	alpn       []byte // the first protocol
}

func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// cursor reads a byte string from the front; once it has run out, ok is false and everything reads as zero.
type cursor struct {
	b  []byte
	ok bool
}

func (c *cursor) take(n int) []byte {
	if !c.ok || n > len(c.b) {
		c.ok = false
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) number(bytes int) int {
	n := 0
	for _, v := range c.take(bytes) {
		n = n<<8 | int(v)
	}
	return n
}

// vector reads a variable-length vector (RFC 8446, section 3.4) whose length takes lengthBytes.
func (c *cursor) vector(lengthBytes int) cursor {
	n := c.number(lengthBytes)
	b := c.take(n)
	return cursor{b, c.ok}
}

// numbers reads two-byte values to the end, GREASE left out.
func (c cursor) numbers() []uint16 {
	var vs []uint16
	for len(c.b) >= 2 {
		if v := uint16(c.number(2)); !isGREASE(v) {
			vs = append(vs, v)
		}
	}
	return vs
}

func readClientHello(body []byte) (clientHello, bool) {
	c := cursor{body, true}
	h := clientHello{version: uint16(c.number(2))}
	c.take(32)  // random
	c.vector(1) // legacy session id
	ciphers := c.vector(2)
	h.ciphers = ciphers.numbers()
	c.vector(1) // legacy compression methods
	if !c.ok {
		return h, false
	}
	if len(c.b) == 0 {
		return h, true // TLS 1.2 and older need no extensions
	}
	ext := c.vector(2)
	if !c.ok {
		return h, false
	}
	for len(ext.b) > 0 {
		id := uint16(ext.number(2))
		data := ext.vector(2)
		if !ext.ok {
			return h, false
		}
		if !isGREASE(id) {
			h.extensions = append(h.extensions, id)
		}
		h.extension(id, data)
	}
	return h, true
}

func (h *clientHello) extension(id uint16, data cursor) {
	switch id {
	case extServerName:
		h.hasSNI = true
		list := data.vector(2)
		if list.number(1) == 0 { // host_name
			name := list.vector(2)
			h.sni = name.b
		}
	case extALPN:
		list := data.vector(2)
		first := list.vector(1)
		h.alpn = first.b
	case extSignatureAlgs:
		list := data.vector(2)
		h.signatures = list.numbers()
	case extSupportedVersion:
		list := data.vector(1)
		if vs := list.numbers(); len(vs) > 0 {
			h.version = slices.Max(vs)
		}
	}
}

// serverName is the SNI with everything that is not printable ASCII replaced: it comes from a stranger.
func (h *clientHello) serverName() string {
	const longest = 255
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(h.sni[:min(len(h.sni), longest)]))
}

// ja4 is the JA4 client fingerprint of a hello over TCP: "t13d1516h2_8daaf6152771_e5627efa2ab1" (FoxIO, JA4 technical
// details): protocol, version, SNI, counts and ALPN; sorted ciphers hashed; sorted extensions and signature algorithms hashed.
func (h *clientHello) ja4() string {
	b := make([]byte, 0, 36)
	b = append(b, 't')
	b = append(b, versionText(h.version)...)
	if h.hasSNI {
		b = append(b, 'd')
	} else {
		b = append(b, 'i')
	}
	b = appendTwoDigits(b, len(h.ciphers))
	b = appendTwoDigits(b, len(h.extensions))
	b = append(b, alpnText(h.alpn)...)
	b = append(b, '_')
	b = append(b, shortHash(hexList(sorted(h.ciphers)))...)
	b = append(b, '_')
	exts := slices.DeleteFunc(sorted(h.extensions), func(v uint16) bool { return v == extServerName || v == extALPN })
	text := hexList(exts)
	if len(h.signatures) > 0 {
		text += "_" + hexList(h.signatures)
	}
	if len(h.extensions) == 0 {
		text = ""
	}
	return string(append(b, shortHash(text)...))
}

func versionText(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

func appendTwoDigits(b []byte, n int) []byte {
	n = min(n, 99)
	return append(b, byte('0'+n/10), byte('0'+n%10))
}

// alpnText is the first and the last character of the first protocol; if one of them is not alphanumeric, of its hex form.
func alpnText(alpn []byte) string {
	if len(alpn) == 0 {
		return "00"
	}
	first, last := alpn[0], alpn[len(alpn)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		text := hex.EncodeToString(alpn)
		first, last = text[0], text[len(text)-1]
	}
	return string([]byte{first, last})
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func sorted(vs []uint16) []uint16 {
	return slices.SortedFunc(slices.Values(vs), cmp.Compare[uint16])
}

func hexList(vs []uint16) string {
	var b strings.Builder
	for i, v := range vs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(hex.EncodeToString([]byte{byte(v >> 8), byte(v)}))
	}
	return b.String()
}

func shortHash(text string) string {
	if text == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}
