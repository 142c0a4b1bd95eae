package models

// Name is a member of a closed list: what a value is called in alerts, its unit and its meaning. docs/wire-format.md has the lists.
type Name struct{ Name, Unit, Meaning string }

// FeatureNames lists the features of alerts and of their reasons. The first eight are measured of every host and second, and are always in an
// alert's features; the others are the values that have limits.
func FeatureNames() []Name {
	return []Name{
		{"byte_rate", "bytes/s", "bytes sent and received within a second"},
		{"entropy", "bit/byte", "mean entropy of the payload"},
		{"failed_share", "", "share of new connections that were not accepted, 0 to 1"},
		{"open_rate", "connections/s", "new connections"},
		{"packet_rate", "packets/s", "packets sent and received"},
		{"peers", "hosts", "different hosts within 20 s"},
		{"ports", "ports", "different ports within 20 s"},
		{"reply_share", "", "share of packets that came back, 0 to 1"},
		{"hst_score", "", "raw score of the Half-Space Trees; in features only"},

		{"answer_size_variation", "of the mean", "coefficient of variation of the sizes of answers"},
		{"bytes_in_data_records", "bytes", "bytes of answers in DNS records that carry data"},
		{"calls", "connections", "connections at regular times"},
		{"changed_echoes", "echoes", "ICMP echo replies that differ from their request"},
		{"claiming_macs", "hardware addresses", "hardware addresses that claim one IP address"},
		{"connections", "connections", "new connections within 20 s"},
		{"devices_known", "devices", "devices known before this one"},
		{"dhcp_servers", "servers", "hosts that answer DHCP requests"},
		{"failed_connections", "connections", "connections that were not accepted within 20 s"},
		{"failed_hosts", "hosts", "hosts on which attempts failed within an hour"},
		{"failed_ports", "ports", "ports on which attempts failed within an hour"},
		{"failed_targets", "ports of hosts", "ports of local hosts on which attempts failed within an hour"},
		{"hosts_using_peer", "hosts", "local hosts that use the same peer"},
		{"hosts_using_port", "hosts", "local hosts that use the same port"},
		{"icmp_packets", "packets/s", "ICMP packets received"},
		{"incidents", "incidents", "incidents open at the same time"},
		{"interval", "s", "median time between two calls"},
		{"interval_spread", "of the interval", "interquartile range of the times between calls"},
		{"name_bytes", "bytes", "bytes in new names under a domain"},
		{"name_length", "bytes before the domain", "mean length of new names"},
		{"names_in_an_hour", "names", "new names under a domain within an hour"},
		{"names_with_data_records", "names", "new names whose DNS records carry data"},
		{"new_names", "names in 1 to 2 min", "new names under a domain"},
		{"request_size_variation", "of the mean", "coefficient of variation of the sizes of requests"},
		{"services_known", "services", "services known before this one"},
		{"session_seconds", "s", "length of a session"},
		{"short_connections", "connections", "short connections of a client with a service"},
		{"sources", "hosts", "different sources within 20 s"},
		{"tls_hellos", "hellos", "TLS ClientHellos in the session"},
		{"unanswered_packets", "packets/s", "packets received that were not answered"},
		{"unasked_bytes", "bytes", "bytes of unsolicited answers within 20 s"},
		{"upload_ratio", "bytes sent per byte received", "how much more was sent than received"},
		{"uploaded", "bytes", "bytes sent within 20 min"},
	}
}

// FactNames lists the facts of alerts. Beside these, a fact is named after the feature that crossed its limit, with "_seen" behind it.
func FactNames() []Name {
	return []Name{
		{"accepted", "", "\"new normal\": it has gone on for so long that it is learned"},
		{"domain", "", "the domain under which names were asked for"},
		{"dst_ip", "", "the target, as dst_ip"},
		{"mac", "", "a hardware address"},
		{"other_mac", "", "another hardware address for the same IP address"},
		{"other_sources", "hosts", "other hosts that do the same"},
		{"peers", "hosts", "different hosts on the other side"},
		{"ports", "ports", "different ports"},
		{"seconds", "s", "time from the first evidence beyond the limit to the last"},
		{"since", "", "time of the first call (RFC 3339)"},
		{"sources", "hosts", "different sources"},
		{"src_ip", "", "the source, as src_ip"},
		{"targets", "hosts", "different targets"},
	}
}
