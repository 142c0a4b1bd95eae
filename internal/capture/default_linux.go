package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// Route flags (linux/route.h).
const (
	routeUp     = 0x1
	routeReject = 0x200
)

// DefaultInterfaces names the interface of the default route, of IPv4 if there is one, else of IPv6. Without a default
// route, which noRoute says, it names every interface that is up and can be watched, loopback included.
func DefaultInterfaces() (names []string, noRoute bool, err error) {
	for _, table := range []struct {
		path  string
		parse func(io.Reader) string
	}{
		{"/proc/thread-self/net/route", defaultRoute4},
		{"/proc/thread-self/net/ipv6_route", defaultRoute6},
	} {
		f, err := os.Open(table.path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, false, fmt.Errorf("capture: look for the default route: %w", err)
		}
		name := table.parse(f)
		if err := f.Close(); err != nil {
			return nil, false, fmt.Errorf("capture: look for the default route: %w", err)
		}
		if name != "" {
			return []string{name}, false, nil
		}
	}
	names, err = upInterfaces()
	return names, true, err
}

func upInterfaces() ([]string, error) {
	all, err := Devices()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range all {
		if d.Up && d.Watchable {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("capture: no interface is up; name one, or bring one up with: ip link set NAME up")
	}
	return names, nil
}

// Devices lists the interfaces of this machine, in the kernel's order.
func Devices() ([]Device, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("capture: list the interfaces: %w", err)
	}
	devices := make([]Device, 0, len(all))
	for _, i := range all {
		typ, err := hardwareType(i.Name)
		_, known := hardwareOf(typ)
		d := Device{Name: i.Name, Up: i.Flags&net.FlagUp != 0, Carrier: i.Flags&net.FlagRunning != 0, Watchable: err == nil && known, HardwareType: typ}
		if addresses, err := i.Addrs(); err == nil { // it may have gone meanwhile
			for _, a := range addresses {
				d.Addresses = append(d.Addresses, a.String())
			}
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// defaultRoute4 finds the default route of least metric in /proc/net/route.
// Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
func defaultRoute4(r io.Reader) string {
	return leastMetric(r, func(f []string) (string, string, string, int, bool) {
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			return "", "", "", 0, false
		}
		return f[0], f[3], f[6], 10, true
	})
}

// defaultRoute6 finds it in /proc/net/ipv6_route.
// destination length source length next-hop metric references use flags interface
func defaultRoute6(r io.Reader) string {
	return leastMetric(r, func(f []string) (string, string, string, int, bool) {
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || f[9] == "lo" {
			return "", "", "", 0, false
		}
		return f[9], f[8], f[5], 16, true
	})
}

// leastMetric picks among a table's default routes. fields takes interface, flags (hexadecimal) and metric of a line.
func leastMetric(r io.Reader, fields func([]string) (name, flags, metric string, base int, ok bool)) string {
	best, least := "", uint64(0)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, flags, metric, base, ok := fields(strings.Fields(lines.Text()))
		if !ok {
			continue
		}
		bits, err1 := strconv.ParseUint(flags, 16, 32)
		m, err2 := strconv.ParseUint(metric, base, 32)
		if err1 != nil || err2 != nil || bits&(routeUp|routeReject) != routeUp {
			continue
		}
		if best == "" || m < least {
			best, least = name, m
		}
	}
	return best
}
