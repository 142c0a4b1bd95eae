package models

import (
	"encoding/binary"
	"net/netip"
)

// Addr is an IPv6 address, or an IPv4 address mapped into ::ffff:0:0/96 (RFC 4291, section 2.5.5.2), as two big-endian
// words. It is comparable, has no pointers and is all a flow key needs. The zero Addr is "::" and stands for "none".
type Addr struct{ Hi, Lo uint64 }

const v4Mapped = 0x0000_ffff_0000_0000

// AddrFrom4 maps an IPv4 address in network order.
func AddrFrom4(b []byte) Addr {
	return Addr{Lo: v4Mapped | uint64(binary.BigEndian.Uint32(b))}
}

// AddrFrom16 reads an IPv6 address in network order.
func AddrFrom16(b []byte) Addr {
	return Addr{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

// AddrFromNetip is the inverse of Netip; the invalid netip.Addr becomes the zero Addr.
func AddrFromNetip(a netip.Addr) Addr {
	if !a.IsValid() {
		return Addr{}
	}
	b := a.As16()
	return AddrFrom16(b[:])
}

// Is4 says whether a stands for an IPv4 address.
func (a Addr) Is4() bool { return a.Hi == 0 && a.Lo>>32 == 0xffff }

// Less orders addresses as their bytes, IPv4 before most of IPv6.
func (a Addr) Less(b Addr) bool { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }

// Netip converts to the standard library's form; IPv4 comes out unmapped.
func (a Addr) Netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b).Unmap()
}

// IsMulticast says whether a is a group or the IPv4 limited broadcast address.
func (a Addr) IsMulticast() bool {
	if a.Is4() {
		v := uint32(a.Lo)
		return v>>28 == 0xe || v == 0xffffffff
	}
	return a.Hi>>56 == 0xff
}

// String is the canonical text: dotted for IPv4, RFC 5952 for IPv6.
func (a Addr) String() string { return a.Netip().String() }

// MAC is an EUI-48 address; the zero MAC stands for "none".
type MAC [6]byte

const hexDigits = "0123456789abcdef"

// Append adds the colon-separated text to b.
func (m MAC) Append(b []byte) []byte {
	for i, v := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hexDigits[v>>4], hexDigits[v&15])
	}
	return b
}

// String is the colon-separated text.
func (m MAC) String() string { return string(m.Append(make([]byte, 0, 17))) }
