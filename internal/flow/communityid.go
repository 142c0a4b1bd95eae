package flow

import (
	"crypto/sha1" //nolint:gosec // the Community ID specification prescribes it; nothing is secured by it
	"encoding/base64"
	"encoding/binary"

	"netlyra/internal/models"
)

// CommunityID is the version 1 Community ID of a connection with seed 0 (github.com/corelight/community-id-spec), by which other
// tools name the same connection. For ICMP the ports are those of icmpPorts; for protocols without ports they are left out.
func CommunityID(src, dst models.Addr, srcPort, dstPort uint16, proto models.Proto) string {
	hasPorts := proto.HasPorts() || proto == models.ProtoICMP || proto == models.ProtoICMPv6
	if !hasPorts {
		srcPort, dstPort = 0, 0
	}
	oneWay := false
	if proto == models.ProtoICMP || proto == models.ProtoICMPv6 {
		_, _, paired := icmpAnswer(proto, uint8(srcPort))
		oneWay = !paired
	}
	if !oneWay && (dst.Less(src) || dst == src && dstPort < srcPort) {
		src, dst, srcPort, dstPort = dst, src, dstPort, srcPort
	}
	var b [40]byte
	n := 2 // the seed
	for _, a := range [2]models.Addr{src, dst} {
		n += copy(b[n:], a.Netip().AsSlice())
	}
	b[n] = byte(proto)
	n += 2
	if hasPorts {
		binary.BigEndian.PutUint16(b[n:], srcPort)
		binary.BigEndian.PutUint16(b[n+2:], dstPort)
		n += 4
	}
	sum := sha1.Sum(b[:n]) //nolint:gosec // see the import
	return "1:" + base64.StdEncoding.EncodeToString(sum[:])
}
