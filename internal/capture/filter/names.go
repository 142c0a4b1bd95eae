package filter

// EtherTypes (IEEE Registration Authority).
const (
	etherIPv4       = 0x0800
	etherARP        = 0x0806
	etherRARP       = 0x8035
	etherAppleTalk  = 0x809b
	etherAARP       = 0x80f3
	etherVLAN       = 0x8100
	etherIPv6       = 0x86dd
	etherQinQ       = 0x88a8
	etherQinQLegacy = 0x9100
)

// Protocol numbers (IANA "Assigned Internet Protocol Numbers").
const (
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoFragment = 44 // IPv6's fragment header
	protoESP      = 50
	protoAH       = 51
	protoICMPv6   = 58
	protoPIM      = 103
	protoVRRP     = 112
	protoSCTP     = 132
)

// protocolNames lists the protocols that are a condition by themselves.
func protocolNames() []string {
	return []string{"ether", "ip", "ip6", "arp", "rarp", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "pim", "ah", "esp"}
}

func isProtocol(word string) bool {
	switch word {
	case "ether", "link", "ip", "ip6", "arp", "rarp", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "pim", "ah", "esp":
		return true
	}
	return false
}

// protocolNumbers are the names that proto takes behind a backslash.
func protocolNumbers() map[string]uint8 {
	return map[string]uint8{
		"icmp": protoICMP, "igmp": protoIGMP, "tcp": protoTCP, "udp": protoUDP, "esp": protoESP, "ah": protoAH,
		"icmp6": protoICMPv6, "ipv6-icmp": protoICMPv6, "pim": protoPIM, "vrrp": protoVRRP, "sctp": protoSCTP,
	}
}

// namedNumber knows the names of offsets and values: RFC 9293, section 3.1; RFC 792; RFC 4443; RFC 4861.
func namedNumber(word string) (uint32, bool) {
	n, ok := map[string]uint32{
		"tcpflags": 13, "icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1,
		"tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
		"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8, "icmp-routeradvert": 9,
		"icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13, "icmp-tstampreply": 14, "icmp-ireq": 15,
		"icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,
		"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4, "icmp6-echo": 128,
		"icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
		"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
		"icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	}[word]
	return n, ok
}
