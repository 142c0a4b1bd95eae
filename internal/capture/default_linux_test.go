package capture

import (
	"strings"
	"testing"
)

func TestDefaultRoute(t *testing.T) {
	const header4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	tests := []struct {
		name   string
		parse  func(string) string
		table  string
		expect string
	}{
		{"v4 none", route4, header4, ""},
		{"v4 least metric", route4, header4 +
			"wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n" +
			"eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n" +
			"eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", "eth0"},
		{"v4 half of all addresses is not all", route4, header4 + "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", ""},
		{"v4 rejected", route4, header4 + "*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n", ""},
		{"v4 garbage", route4, "eth0 00000000\n\nx 00000000 0 zz 0 0 0 00000000", ""},
		{"v6", route6, "fd000000000000000000000000000000 40 " + zeros + " 00 " + zeros + " 00000100 00000001 00000000 00000001     eth1\n" +
			zeros + " 00 " + zeros + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n" +
			zeros + " 00 " + zeros + " 00 " + zeros + " ffffffff 00000001 00000000 00200200       lo\n", "eth0"},
		{"v6 unreachable", route6, zeros + " 00 " + zeros + " 00 " + zeros + " ffffffff 00000001 00000000 00200200       lo\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.parse(tt.table); got != tt.expect {
				t.Errorf("%q, want %q", got, tt.expect)
			}
		})
	}
}

const zeros = "00000000000000000000000000000000"

func route4(s string) string { return defaultRoute4(strings.NewReader(s)) }
func route6(s string) string { return defaultRoute6(strings.NewReader(s)) }
