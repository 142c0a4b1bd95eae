package flow

import "netlyra/internal/models"

// ICMP has no ports. Requests and replies find each other as the Community ID specification (version 1) pairs them: the type
// stands for the source port, the type of the answer for the destination port. Types without an answer have their
// code there, and belong to one direction only.

// icmpAnswer returns the type that answers t, or is answered by it, and whether t is the answer.
func icmpAnswer(proto models.Proto, t uint8) (other uint8, reply, paired bool) {
	pairs := icmpV4Pairs()
	if proto == models.ProtoICMPv6 {
		pairs = icmpV6Pairs()
	}
	for _, p := range pairs {
		switch t {
		case p[0]:
			return p[1], false, true
		case p[1]:
			return p[0], true, true
		}
	}
	return 0, false, false
}

// icmpV4Pairs: echo, router solicitation and advertisement, timestamp, information, address mask (IANA "ICMP Parameters").
func icmpV4Pairs() [6][2]uint8 {
	return [6][2]uint8{{8, 0}, {10, 9}, {13, 14}, {15, 16}, {17, 18}}
}

// icmpV6Pairs: echo, multicast listener, router, neighbour, node information, home agent discovery (IANA "ICMPv6 Parameters").
func icmpV6Pairs() [6][2]uint8 {
	return [6][2]uint8{{128, 129}, {130, 131}, {133, 134}, {135, 136}, {139, 140}, {144, 145}}
}

func icmpPorts(proto models.Proto, t, code uint8) (src, dst uint16) {
	if o, _, ok := icmpAnswer(proto, t); ok {
		return uint16(t), uint16(o)
	}
	return uint16(t), uint16(code)
}

func icmpIsReply(proto models.Proto, t uint8) bool {
	_, reply, _ := icmpAnswer(proto, t)
	return reply
}
