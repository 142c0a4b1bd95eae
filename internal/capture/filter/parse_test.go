package filter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// TestSyntaxErrors holds every refusal to the word that it is about, marked in the table by a leading ~, and to what it says.
func TestSyntaxErrors(t *testing.T) {
	tests := []struct {
		marked string
		want   string
	}{
		// What nothing says.
		{"~foo", "is unknown; what a filter can say is: host, net"},
		{"tcp and ~foo port 80", "is unknown"},
		{"~IP", "write ip"},
		{"~TCP port 80", "write tcp"},
		{"~Host 10.0.0.1", "write host"},
		{"~ipv6", "write ip6"},
		{"~ICMPv6", "write icmp6"},
		{"~$", "nothing begins with this character"},
		{"ip ~é", "nothing begins with this character"},
		{"~10.0.0.1", "write host, net, port or portrange"},
		{"~80 or port 80", "write host, net, port or portrange"},
		{"ip and ~10.0.0.1", "write host, net, port or portrange"},
		{"port 80 and tcp or ~443", "write host, net, port or portrange"},
		{"(port 80) or ~443", "write host, net, port or portrange"},
		{"vlan 5 or ~6", "write host, net, port or portrange"},
		{"less 5 or ~6", "write host, net, port or portrange"},
		{"~ether", "an EtherType or an address"},
		// What tcpdump has beyond.
		{"~mpls 5", "--filter-bpf"},
		{"~pppoes and tcp", "--filter-bpf"},
		{"~gateway router", "--filter-bpf"},
		{"~inbound", "--filter-bpf"},
		{"~geneve", "--filter-bpf"},
		{"ip ~protochain 6", "--filter-bpf"},
		{"~carp", "--filter-bpf"},
		{"~type mgt", "--filter-bpf"},
		// Names.
		{"host ~example.com", "names are not resolved"},
		{"host ~localhost", "names are not resolved"},
		{`host ~\ip`, "names are not resolved"},
		{"port ~http", "names are not resolved"},
		{"tcp port ~https or 80", "names are not resolved"},
		{"portrange ~http-https", "names are not resolved"},
		{"portrange ~80-https", "names are not resolved"},
		{"port 80 or (443 and ~tcp)", "names are not resolved"},
		{"src ~tcp port 80", "names are not resolved"},
		// Structure.
		{"ip and~", "the end stands where a condition belongs"},
		{"ip ~ip", "joins two parts"},
		{"not~", "the end stands where a condition belongs"},
		{"~(ip", "not closed"},
		{"ip~)", "no parenthesis that this one could close"},
		{"(~)", "where a condition belongs"},
		{"ip ~]", "joins two parts"},
		{"ip ~10.0.0.1", "joins two parts"},
		{"port 80 ~host 10.0.0.1", "joins two parts"},
		{"host~", "the end stands where an address belongs"},
		{"port ~and", "names are not resolved"},
		{"port~", "where a port number belongs"},
		{"src or dst ~and", "not an address"},
		{"ip and ~& tcp", "where a condition belongs"},
		// Addresses.
		{"host ~10.0.0.256", "0 to 255"},
		{"host ~1.2.3.4.5", "0 to 255"},
		{"host ~1.2.3.04", "leading 0"},
		{"host ~10.1", "write net 10.1, or all four"},
		{"src ~10", "write port 10"},
		{"tcp src ~80", "write port 80"},
		{"host 10.0.0.0~/8", "a host has no mask"},
		{"host 10.0.0.0 ~mask 255.0.0.0", "a host has no mask"},
		{"net ~10.1.2.3/8", "begins at 10.0.0.0"},
		{"net ~10.1.0.0 mask 255.0.0.0", "begins at 10.0.0.0"},
		{"net ~10/8", "write net 10.0"},
		{"net ~300", "at most 255"},
		{"net 10.0.0.0/~33", "0 to 32"},
		{"net 10.0.0.0/~x", "0 to 32"},
		{"net 10.0.0.0 mask ~8", "255.255.255.0"},
		{"net ~2001:db8::1/32", "write net 2001:db8::/32"},
		{"net 2001:db8::/~129", "0 to 128"},
		{"host 2001:db8::~/32", "a host has no mask"},
		{"host ~1:2:3", "neither an IPv6 nor an Ethernet address"},
		{"host ~02:00:00:00:00:01", "write ether before"},
		{"ether host ~10.0.0.1", "needs an Ethernet address"},
		{"ether net ~02:00:00:00:00:01", "no nets"},
		{"ether host ~nobody", "needs an Ethernet address"},
		{"tcp host ~10.0.0.1", "tcp and host 10.0.0.1"},
		{"ip6 host ~10.0.0.1", "no IPv4 addresses"},
		{"ip host ~::1", "no IPv6 addresses"},
		{"arp host ~::1", "no IPv6 addresses"},
		// Ports and protocols.
		{"port ~65536", "0 to 65535"},
		{"port ~80-90", "write portrange"},
		{"portrange ~1-65536", "0 to 65535"},
		{"portrange ~0x50-0x60", "not a range"},
		{"ip port ~80", "has no ports"},
		{"icmp port ~80", "has no ports"},
		{"port ~08", "32 bits"},
		{"port ~4294967296", "32 bits"},
		{"port ~0x", "32 bits"},
		{"ip proto ~tcp", `written \tcp`},
		{`ip proto ~\nothing`, "0 to 255"},
		{"ip proto ~256", "0 to 255"},
		{"tcp proto ~6", "means nothing"},
		{"src ~proto 6", "no src or dst"},
		{"ether proto ~ip", `written \ip`},
		{"ether proto ~1500", "802.2"},
		{"ether proto ~70000", "1501 to 65535"},
		{"ether proto ~0x809b", "AppleTalk"},
		{`ether proto ~\lat`, "EtherType"},
		{"tcp ~multicast", "means nothing"},
		{"ip ~broadcast", "ether broadcast"},
		{"vlan ~4096", "0 to 4095"},
		{"vlan (5 ~or 6)", `where ")" belongs`},
		{"less ~tcp", "number of bytes"},
		{"greater~", "number of bytes"},
		// Arithmetic.
		{"tcp[13]~", "where a comparison belongs"},
		{"tcp[13] & 2~", "where a comparison belongs"},
		{"len > 5 ~> 3", "only two values"},
		{"tcp[13 ~= 2", `where "]" belongs`},
		{"tcp[~] = 2", "where a number"},
		{"ether[0:~3] = 1", "1, 2 or 4 bytes"},
		{"ether[0:~len] = 1", "1, 2 or 4 bytes"},
		{"~esp[0] = 1", "no byte access"},
		{"ip[~300000] = 1", "no packet has a byte 300000"},
		{"ip[~-1] = 1", "no packet has a byte -1"},
		{"ip[0] ~/ 0 = 1", "divided by 0"},
		{"ip[0] ~% (1 - 1) = 1", "divided by 0"},
		{"ip[0] ~<< 32 = 0", "31 at most"},
		{"ip[8] % 3 ~+ 1 = 2", "parentheses"},
		{"1 + ip[8] ~% 3 = 2", "parentheses"},
		{"ip[8] ^ 3 ~^ 1 = 2", "parentheses"},
		{"ip[~12-2] = 1", "blank before it"},
		{"~len-5 > 3", "is unknown"},
		{"ip[0] = ~foo", "where a number"},
		{"ip[0] = ~ip", "where a number"},
	}
	for _, tt := range tests {
		t.Run(tt.marked, func(t *testing.T) {
			expr := strings.Replace(tt.marked, "~", "", 1)
			offset := max(strings.Index(tt.marked, "~"), 0)
			_, err := Parse(expr)
			syntax, ok := errors.AsType[*SyntaxError](err)
			if !ok {
				t.Fatalf("%v is not a SyntaxError", err)
			}
			if syntax.Offset != offset || syntax.Expr != expr || !strings.Contains(syntax.Reason, tt.want) {
				t.Errorf("%d, %q, want %d, %q", syntax.Offset, syntax.Reason, offset, tt.want)
			}
		})
	}
}

func TestLinkErrors(t *testing.T) {
	tests := []struct {
		expr   string
		link   models.LinkType
		offset int
		want   string
	}{
		{"tcp and vlan 5", models.LinkRaw, 8, "no VLAN tags on raw IP"},
		{"vlan", models.LinkSLL2, 0, "no VLAN tags on Linux cooked v2"},
		{"ether host 02:00:00:00:00:01", models.LinkSLL, 11, "no Ethernet addresses on Linux cooked v1"},
		{"ether broadcast", models.LinkNull, 6, "no Ethernet addresses on BSD loopback"},
		{"multicast", models.LinkIPv4, 0, "no Ethernet addresses on raw IP"},
		{"tcp", models.LinkRadiotap, 0, "radiotap cannot be filtered"},
		{"", models.LinkRadiotap, 0, "radiotap cannot be filtered"},
		{"tcp", 147, 0, "link type 147"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.expr, " on ", tt.link), func(t *testing.T) {
			_, err := Compile(tt.expr, tt.link, Options{})
			syntax, ok := errors.AsType[*SyntaxError](err)
			if !ok {
				t.Fatalf("%v is not a SyntaxError", err)
			}
			if syntax.Offset != tt.offset || !strings.Contains(syntax.Reason, tt.want) {
				t.Errorf("%d, %q, want %d, %q", syntax.Offset, syntax.Reason, tt.offset, tt.want)
			}
		})
	}
}

func TestSyntaxErrorText(t *testing.T) {
	tests := []struct {
		name string
		err  SyntaxError
		want string
	}{
		{"short", SyntaxError{"port http", 5, "no"}, "at character 6: no\n  port http\n       ^"},
		{"at the end", SyntaxError{"ip and", 6, "no"}, "at character 7: no\n  ip and\n        ^"},
		{"escapes", SyntaxError{"é\x1b[2J\nx", 7, "no"}, "at character 7: no\n  é·[2J·x\n        ^"},
		{
			"long",
			SyntaxError{strings.Repeat("a", 100) + "b" + strings.Repeat("c", 100), 100, "no"},
			"at character 101: no\n  …" + strings.Repeat("a", 48) + "b" + strings.Repeat("c", 23) + "…\n  " + strings.Repeat(" ", 49) + "^",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestBounds compiles what is long or deep.
func TestBounds(t *testing.T) {
	tests := []struct {
		name string
		expr string
		want string // in the error; "" is none
	}{
		{"deepest", strings.Repeat("(", maxDepth) + "ip" + strings.Repeat(")", maxDepth), ""},
		{"too deep", strings.Repeat("(", maxDepth+1) + "ip" + strings.Repeat(")", maxDepth+1), "inside each other"},
		{"negations", strings.Repeat("not ", maxDepth+1) + "ip", "inside each other"},
		{"bangs", strings.Repeat("!", 30_000) + "ip", "inside each other"},
		{"parentheses around nothing", strings.Repeat("(", 30_000), "not closed"},
		{"identifiers", "port " + strings.Repeat("(", maxDepth+1) + "80" + strings.Repeat(")", maxDepth+1), "inside each other"},
		{"arithmetic", "len = " + strings.Repeat("(", maxDepth+1) + "1" + strings.Repeat(")", maxDepth+1), "inside each other"},
		{"minus", "len = " + strings.Repeat("- ", maxDepth+1) + "1", "inside each other"},
		{"indices", strings.Repeat("ip[", maxDepth+1) + "0" + strings.Repeat("]", maxDepth+1) + " = 1", "inside each other"},
		{"indices that the registers hold", strings.Repeat("ip[", 100) + "0" + strings.Repeat("]", 100) + " = 1", ""},
		{"registers", strings.Repeat("(ip[0] - ", 14) + "ip[1]" + strings.Repeat(")", 14) + " = 1", ""},
		{"no more registers", strings.Repeat("(ip[0] - ", 15) + "ip[1]" + strings.Repeat(")", 15) + " = 1", "too many parentheses"},
		{"a long sum", "len = ip[0]" + strings.Repeat(" + ip[0]", 500), ""},
		{"long jumps", strings.Repeat("host 10.0.0.1 or ", 80) + "tcp", ""},
		{"too many instructions", strings.Repeat("host 10.0.0.1 and port 7 or ", 500) + "tcp", "4096 instructions"},
		{"far too many", strings.Repeat("src 1.1.1.1 or ", 4000) + "ip", "4096 instructions"},
		{"a long sum, too long", "len = ip[0]" + strings.Repeat(" + ip[0]", 5000), "4096 instructions"},
		{"too long", strings.Repeat(" ", maxExpr) + "ip", "65538 bytes"},
		{"longest", strings.Repeat(" ", maxExpr-2) + "ip", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, o := range []Options{{}, {Live: true}} {
				program, err := Compile(tt.expr, models.LinkEthernet, o)
				switch {
				case tt.want == "" && err != nil:
					t.Fatal(err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Fatalf("%v, want %q", err, tt.want)
				case err == nil:
					if _, err := NewMatcher(program); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
