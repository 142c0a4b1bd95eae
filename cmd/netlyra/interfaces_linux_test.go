package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/capture"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// listedDevices asks the program in a namespace.
func listedDevices(t *testing.T, ns *nettest.Namespace) map[string]device {
	t.Helper()
	status, said := start(t, ns, nil, []string{"interfaces", "--format", "json"})
	var all []device
	if err := json.Unmarshal([]byte(said), &all); err != nil || status != exitOK {
		t.Fatalf("exit status %d, %v: %s", status, err, said)
	}
	byName := map[string]device{}
	for _, d := range all {
		byName[d.Name] = d
	}
	return byName
}

// The list says what run watches, and why; run says so, too, where it had to choose.
func TestInterfaces(t *testing.T) {
	ns := nettest.New(t)
	ns.Veth("va", "vb")
	ns.IP("link", "add", "name", "off", "type", "veth", "peer", "name", "off2")
	all := listedDevices(t, ns)
	for name, want := range map[string]device{
		"lo": {Name: "lo", State: "up", Watchable: true, Default: true}, "va": {Name: "va", State: "up", Watchable: true, Default: true},
		"off": {Name: "off", State: "down", Watchable: true},
	} {
		got := all[name]
		got.Addresses = nil
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
	if _, said := start(t, ns, nil, []string{"interfaces"}); !strings.Contains(said, "there is no default route: run watches every interface that is up") {
		t.Errorf("without a default route:\n%s", said)
	}
	p := startRun(t, ns, filepath.Join(t.TempDir(), "netlyra.db"), "--interface=")
	if said := p.said(); !strings.Contains(said, "no interface is given and there is no default route") || !strings.Contains(said, `"interfaces":["lo","vb","va"]`) {
		t.Errorf("run does not say what it watches:\n%s", said)
	}
	p.terminate()

	ns.IP("addr", "add", "10.9.0.1/24", "dev", "vb")
	ns.IP("route", "add", "default", "via", "10.9.0.2", "dev", "vb")
	all = listedDevices(t, ns)
	if !all["vb"].Default || all["va"].Default || all["lo"].Default || len(all["vb"].Addresses) != 1 || all["vb"].Addresses[0] != "10.9.0.1/24" {
		t.Errorf("with a default route: %+v", all)
	}
	if _, said := start(t, ns, nil, []string{"interfaces"}); !strings.Contains(said, "interface of the default route") {
		t.Errorf("with a default route:\n%s", said)
	}
}

// A comma separates names; the name of an interface may have one all the same.
func TestAnInterfaceWithAComma(t *testing.T) {
	ns := nettest.New(t)
	ns.IP("link", "add", "name", "a,b", "type", "veth", "peer", "name", "c")
	ns.IP("link", "set", "dev", "a,b", "up")
	args := []string{"config", "check", "--database", publicDir(t) + "/netlyra.db", "--state", "off", "--listen", "127.0.0.1:0", "--ws-listen", "off", "--interface"}
	if status, said := start(t, ns, nil, append(args, "a,b")); status != exitUsage || !strings.Contains(said, `--interface 'a\,b'`) {
		t.Errorf("exit status %d: %s", status, said)
	}
	if status, said := start(t, ns, nil, append(args, `a\,b`)); status != exitOK {
		t.Errorf("exit status %d: %s", status, said)
	}
}

// What a filter refuses of a file has been received all the same.
func TestAFileIsReceivedWhole(t *testing.T) {
	p := startRun(t, nil, filepath.Join(t.TempDir(), "netlyra.db"), "--read", sample, "--speed", "max", "--filter", "icmp")
	var s models.Stats
	p.await("the end of the file", func() bool {
		p.get("api/v1/stats", &s)
		return len(s.Interfaces) == 1 && s.Interfaces[0].Link == "ended"
	})
	whole := 0
	f, err := capture.OpenFile(sample, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for b := new(models.Batch); ; whole += len(b.Frames) {
		if err := f.Read(b); err != nil {
			whole += len(b.Frames)
			break
		}
	}
	if got := s.Interfaces[0].Received; got != uint64(whole) || s.Packets >= got || s.Packets == 0 {
		t.Errorf("%d received of %d, %d packets passed the filter", got, whole, s.Packets)
	}
	p.terminate()
}
