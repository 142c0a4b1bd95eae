package decode

import "netlyra/internal/models"

const maxDNSName = 255 // RFC 1035, section 2.3.4

// dns takes the first question and, of an answer, its code (RFC 1035, section 4.1). What is no DNS message leaves p as it
// is: the port alone promises nothing.
func (d *Decoder) dns(b []byte, p *models.Packet) {
	if len(b) < 17 || be16(b[4:]) == 0 { // a header and the shortest question
		return
	}
	name, n, ok := d.dnsName(b[12:])
	if !ok || 12+n+4 > len(b) {
		d.Arena = d.Arena[:name.Off]
		return
	}
	p.DNSQuestion = name
	p.DNSQType = be16(b[12+n:])
	const response = 0x80
	if b[2]&response != 0 {
		p.DNSAnswer = true
		p.DNSRcode = b[3] & 0x0f
	}
}

// dnsName copies an uncompressed name into the arena, lower case with dots, and says how many bytes it took. A question
// comes first in its message: there is nothing before it that a pointer could point to.
func (d *Decoder) dnsName(b []byte) (models.Text, int, bool) {
	t := models.Text{Off: uint32(len(d.Arena))}
	for at := 0; at < len(b) && at < maxDNSName; {
		n := int(b[at])
		if n == 0 {
			t.Len = uint16(len(d.Arena) - int(t.Off))
			return t, at + 1, true
		}
		if n > 63 || at+1+n > len(b) {
			return t, 0, false
		}
		if at > 0 {
			d.Arena = append(d.Arena, '.')
		}
		for _, c := range b[at+1 : at+1+n] {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			d.Arena = append(d.Arena, c)
		}
		at += n + 1
	}
	return t, 0, false
}
