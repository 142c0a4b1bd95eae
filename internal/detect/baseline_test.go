package detect

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// seenHosts is a state of a small network: three clients with hardware addresses, of which the first alone has a peer outside.
func seenHosts(t *testing.T) *State {
	t.Helper()
	j := judgeOf(t, Options{})
	visit := func(client int, server models.Addr, port uint16) func(int) models.ConnSlot {
		return func(int) models.ConnSlot {
			s := attemptAt(hostN(client), server, port, true)
			s.OrigMAC = models.MAC{2, 0, 0, 0, 0, byte(client)}
			s.Up.Packets, s.Up.Bytes = 5, 500
			return s
		}
	}
	play(j, firstSlot, together(
		over(400, 700, visit(1, hostN(1000), 443)), over(400, 10, visit(1, addr("203.0.113.7"), 8443)),
		over(400, 700, visit(2, hostN(1000), 443)), over(400, 700, visit(3, hostN(1000), 443)),
	))
	s, err := ReadState(j.AppendState(nil, true), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *Baseline) host(name string) *KnownHost {
	i := slices.IndexFunc(b.Hosts, func(h KnownHost) bool { return h.Host == name })
	if i < 0 {
		return nil
	}
	return &b.Hosts[i]
}

func TestBaseline(t *testing.T) {
	s := seenHosts(t)
	b := s.Baseline()
	if b.Sensor != "test" || b.Watched < 399 || b.Watched > 401 || b.Known["conversations"] != 4 || b.Learning <= 0 {
		t.Errorf("%+v", b)
	}
	var hosts []string
	for _, h := range b.Hosts {
		hosts = append(hosts, h.Host)
	}
	if d := cmp.Diff([]string{"10.0.4.1", "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"}, hosts); d != "" {
		t.Errorf("hosts (-want +got)\n%s", d)
	}
	h := b.host("02:00:00:00:00:01")
	if d := cmp.Diff([]string{"10.0.4.1", "203.0.113.7"}, h.Peers); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"443/TCP", "8443/TCP"}, h.Ports); d != "" {
		t.Error(d)
	}
	if len(h.Usual["source"]) != int(numFeatures) || h.Addresses[0] != "10.0.0.2" || h.First == 0 {
		t.Errorf("%+v", h)
	}
	if server := b.host(hostN(1000).String()); !slices.Equal(server.Services, []string{"443/TCP"}) {
		t.Errorf("%+v", server)
	}
}

func TestForgetAHost(t *testing.T) {
	for _, name := range []string{"02:00:00:00:00:01", "10.0.0.2"} {
		s := seenHosts(t)
		h, err := s.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Forget(h)
		b := s.Baseline()
		if b.host("02:00:00:00:00:01") != nil || len(b.Hosts) != 3 || b.Known["conversations"] != 2 {
			t.Errorf("%s: %+v", name, b)
		}
		if s.peers.find(network(addr("203.0.113.7"))) != nil || s.peers.find(network(hostN(1000))) == nil {
			t.Errorf("%s: what it alone knew is still known, or what others know no more", name)
		}
		if j := judgeOf(t, Options{}); j.LoadState(s.Append(nil)) != nil {
			t.Errorf("%s: what is left cannot be loaded", name)
		}
		if _, err := s.Host(name); !errors.Is(err, ErrUnknownHost) {
			t.Errorf("%s: %v, want ErrUnknownHost", name, err)
		}
	}
}

// What is taken of one host, and given back where it was forgotten, is as it was.
func TestOneHostGoesFromStateToState(t *testing.T) {
	from := seenHosts(t)
	want := from.Baseline()
	h, err := from.Host("10.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	one, err := ReadState(from.Only(h).Append(nil), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b := one.Baseline(); len(b.Hosts) != 2 || b.Host != "02:00:00:00:00:01" { // with the server that it talks to
		t.Errorf("%+v", b)
	}
	if err := judgeOf(t, Options{}).LoadState(one.Append(nil)); !errors.Is(err, ErrStateOther) {
		t.Errorf("loaded as a whole network: %v, want ErrStateOther", err)
	}
	to := seenHosts(t)
	to.Forget(h)
	if err := to.Adopt(one); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, to.Baseline()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if r := to.peers.find(network(addr("203.0.113.7"))); r == nil || r.n != 1 {
		t.Errorf("its peer: %+v", r)
	}
}

func TestHostNames(t *testing.T) {
	s := seenHosts(t)
	for _, name := range []string{"", "router", "10.0.0", "02:00:00:00:00", "02:00:00:00:00:01:02"} {
		if _, err := s.Host(name); err == nil || errors.Is(err, ErrUnknownHost) {
			t.Errorf("%q: %v, want an error that says what a host is", name, err)
		}
	}
	for _, name := range []string{"10.9.9.9", "02:00:00:00:00:99", "203.0.113.7"} {
		if _, err := s.Host(name); !errors.Is(err, ErrUnknownHost) {
			t.Errorf("%q: %v, want ErrUnknownHost", name, err)
		}
	}
}

// A host without an address yet sends from "::" (RFC 4291, section 2.5.2): it is learned like any other.
func TestTheUnspecifiedAddressHasAHabit(t *testing.T) {
	quiet := over(10, 100, func(int) models.ConnSlot { return attemptAt(models.Addr{}, hostN(2), 443, true) })
	if alerts := (scene{slots: quiet}).judge(t, 1); len(alerts) > 0 {
		t.Errorf("%d alerts", len(alerts))
	}
}
