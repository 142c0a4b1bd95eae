package traffic

import (
	"slices"
	"time"

	"netlyra/internal/models"
)

// Family is a kind of attack, or of benign look-alike.
type Family struct {
	Name   string
	Attack bool
	// HeldOut families are never looked at while the detector is tuned: they are reported apart, as what to expect of
	// attacks that nobody has thought of.
	HeldOut    bool
	Categories []models.Category // of an attack: those of which an alert is right
	Length     time.Duration     // it is over after so long, at most

	run func(*play)
}

// play is one performance of a family.
type play struct {
	*proc
	w *world
}

// names says who an alert on this play must name: one address of each group.
func (a *play) names(groups ...[]*node) {
	for _, g := range groups {
		var texts []string
		for _, n := range g {
			texts = append(texts, n.addrs()...)
		}
		a.act.hosts = append(a.act.hosts, texts)
	}
}

func one(n *node) []*node { return []*node{n} }

// desk is a host of the office for somebody to act on: a workstation that is on.
func (a *play) desk() *host {
	h := pick(a.proc, a.w.of(workstation))
	h.off = false
	return h
}

// target is a server of the office.
func (a *play) target() *host {
	return a.w.one(pick(a.proc, []role{fileServer, webServer, nas}))
}

// stranger is somebody outside.
func (a *play) stranger(ports ...uint16) *node {
	n := a.w.outsider(a.rng)
	n.open = ports
	return n
}

// attacker is from outside, or a workstation.
func (a *play) attacker() *node {
	if a.chance(0.5) {
		return a.stranger()
	}
	return &a.desk().node
}

// lasts draws a duration, longer ones seldom.
func (a *play) lasts(least, most int64) int64 {
	u := a.rng.Float64()
	return least + int64(float64(most-least)*u*u)
}

// Families lists all families: attacks, then look-alikes. Those that are held out are a third of each, from most kinds.
func Families() []Family {
	return slices.Concat(scans(), floods(), guesses(), controls(), thefts(), insides(), lookalikes())
}

func kinds(c ...models.Category) []models.Category { return c }

func scans() []Family {
	ports, hosts := kinds(models.CategoryPortScan), kinds(models.CategoryHostSweep)
	return []Family{
		{Name: "scan_vertical_tcp", Attack: true, Categories: ports, Length: 4 * time.Minute, run: scanVertical},
		{Name: "scan_top100", Attack: true, Categories: ports, Length: time.Minute, run: scanTop100},
		{Name: "scan_horizontal_tcp", Attack: true, Categories: hosts, Length: 4 * time.Minute, run: scanHorizontal},
		{Name: "scan_udp", Attack: true, HeldOut: true, Categories: ports, Length: 6 * time.Minute, run: scanUDP},
		{Name: "scan_stealth", Attack: true, HeldOut: true, Categories: ports, Length: time.Minute, run: scanStealth},
		{Name: "scan_icmp_sweep", Attack: true, Categories: hosts, Length: 2 * time.Minute, run: sweepICMP},
		{Name: "scan_arp_sweep", Attack: true, Categories: hosts, Length: time.Minute, run: sweepARP},
		{Name: "scan_slow", Attack: true, Categories: append(ports, hosts...), Length: 76 * time.Minute, run: scanSlow},
	}
}

func floods() []Family {
	flood, amplification := kinds(models.CategoryFlood), kinds(models.CategoryAmplification, models.CategoryFlood)
	return []Family{
		{Name: "flood_syn", Attack: true, Categories: flood, Length: 2 * time.Minute, run: floodSYN},
		{Name: "flood_syn_spoofed", Attack: true, Categories: flood, Length: time.Minute, run: floodSpoofed},
		{Name: "flood_udp", Attack: true, Categories: flood, Length: time.Minute, run: floodUDP},
		{Name: "flood_http", Attack: true, Categories: flood, Length: 2 * time.Minute, run: floodHTTP},
		{Name: "flood_icmp", Attack: true, Categories: flood, Length: time.Minute, run: floodICMP},
		{Name: "flood_ipv6", Attack: true, HeldOut: true, Categories: flood, Length: time.Minute, run: floodIPv6},
		{Name: "amplification_dns", Attack: true, Categories: amplification, Length: time.Minute, run: amplifyDNS},
		{Name: "amplification_ntp", Attack: true, Categories: amplification, Length: time.Minute, run: amplifyNTP},
		{Name: "reflection_ssdp", Attack: true, HeldOut: true, Categories: amplification, Length: time.Minute, run: reflectSSDP},
	}
}

func guesses() []Family {
	brute := kinds(models.CategoryBruteForce)
	return []Family{
		{Name: "brute_ssh", Attack: true, Categories: brute, Length: 6 * time.Minute, run: bruteSSH},
		{Name: "brute_ftp", Attack: true, Categories: brute, Length: 6 * time.Minute, run: bruteFTP},
		{Name: "brute_kerberos", Attack: true, Categories: brute, Length: 6 * time.Minute, run: bruteKerberos},
		{Name: "brute_rdp", Attack: true, HeldOut: true, Categories: brute, Length: 6 * time.Minute, run: bruteRDP},
		{Name: "brute_database", Attack: true, HeldOut: true, Categories: brute, Length: 6 * time.Minute, run: bruteDatabase},
		{Name: "brute_http_login", Attack: true, Categories: brute, Length: 6 * time.Minute, run: bruteHTTP},
	}
}

func controls() []Family {
	beacon := kinds(models.CategoryBeacon)
	session := kinds(models.CategoryRemoteAccess, models.CategoryExfiltration)
	return []Family{
		{Name: "beacon_regular", Attack: true, Categories: beacon, Length: 40 * time.Minute, run: beaconRegular},
		{Name: "beacon_jittered", Attack: true, HeldOut: true, Categories: beacon, Length: 90 * time.Minute, run: beaconJittered},
		{Name: "beacon_slow", Attack: true, Categories: beacon, Length: 6 * time.Hour, run: beaconSlow},
		{Name: "rat_session", Attack: true, Categories: session, Length: 40 * time.Minute, run: rat},
		{
			Name: "worm", Attack: true, HeldOut: true, Categories: kinds(models.CategoryWorm, models.CategoryHostSweep, models.CategoryPortScan),
			Length: 6 * time.Minute, run: worm,
		},
	}
}

func thefts() []Family {
	tunnel, exfiltration := kinds(models.CategoryTunnel, models.CategoryExfiltration), kinds(models.CategoryExfiltration)
	return []Family{
		{Name: "dns_tunnel_txt", Attack: true, Categories: tunnel, Length: 10 * time.Minute, run: tunnelTXT},
		{Name: "dns_tunnel_cname", Attack: true, Categories: tunnel, Length: 10 * time.Minute, run: tunnelCNAME},
		{Name: "dns_tunnel_null", Attack: true, HeldOut: true, Categories: tunnel, Length: 10 * time.Minute, run: tunnelNULL},
		{Name: "dns_tunnel_a", Attack: true, Categories: tunnel, Length: 30 * time.Minute, run: tunnelA},
		{Name: "icmp_tunnel", Attack: true, HeldOut: true, Categories: tunnel, Length: 10 * time.Minute, run: tunnelICMP},
		{Name: "exfil_https_upload", Attack: true, Categories: exfiltration, Length: 14 * time.Minute, run: exfilHTTPS},
		{Name: "exfil_dns", Attack: true, Categories: tunnel, Length: 10 * time.Minute, run: exfilDNS},
		{Name: "exfil_ftp", Attack: true, HeldOut: true, Categories: exfiltration, Length: 12 * time.Minute, run: exfilFTP},
	}
}

func insides() []Family {
	return []Family{
		{Name: "arp_spoof", Attack: true, Categories: kinds(models.CategoryARPSpoofing), Length: 7 * time.Minute, run: spoofARP},
		{Name: "rogue_dhcp", Attack: true, Categories: kinds(models.CategoryNewService, models.CategoryARPSpoofing, models.CategoryAnomaly), Length: 15 * time.Minute, run: rogueDHCP},
		{Name: "new_device", Attack: true, HeldOut: true, Categories: kinds(models.CategoryNewDevice, models.CategoryRemoteAccess), Length: 20 * time.Minute, run: implant},
		{Name: "new_service", Attack: true, Categories: kinds(models.CategoryNewService), Length: 25 * time.Minute, run: newService},
		{
			Name: "slow_ramp", Attack: true, Categories: kinds(models.CategoryFlood, models.CategoryExfiltration),
			Length: 3*time.Hour + time.Minute, run: slowRamp,
		},
	}
}

func lookalikes() []Family {
	return []Family{
		{Name: "backup_upload", Length: 15 * time.Minute, run: backupUpload},
		{Name: "video_call", Length: 15 * time.Minute, run: videoCall},
		{Name: "software_update", Length: 15 * time.Minute, run: softwareUpdate},
		{Name: "doh", Length: 15 * time.Minute, run: doh},
		{Name: "cdn_burst", Length: 18 * time.Minute, run: cdnBurst},
		{Name: "port_knocking_admin", Length: 14 * time.Minute, run: portKnocking},
		{Name: "monitoring_probes", Length: 15 * time.Minute, run: monitoringProbes},
		{Name: "new_laptop", Length: 25 * time.Minute, run: newLaptop},
		{Name: "p2p", Length: 15 * time.Minute, run: peerToPeer},
		{Name: "vpn_udp", Length: 15 * time.Minute, run: vpn},
		{Name: "printer_discovery", Length: 5 * time.Minute, run: printerDiscovery},
		{Name: "server_crash", Length: 7 * time.Minute, run: serverCrash},
		{Name: "lease_change", Length: 13 * time.Minute, run: leaseChange},
		{Name: "antivirus_dns", Length: 11 * time.Minute, run: antivirusDNS},
		{Name: "http_polling", Length: 30 * time.Minute, run: polling},
		{Name: "speed_test", Length: 2 * time.Minute, run: speedTest},
		{Name: "stream_udp", Length: 10 * time.Minute, run: streamUDP},
		{Name: "game", HeldOut: true, Length: 15 * time.Minute, run: game},
		{Name: "failover_arp", HeldOut: true, Length: 10 * time.Minute, run: failover},
		{Name: "power_returns", HeldOut: true, Length: 10 * time.Minute, run: powerReturns},
		{Name: "resolver_outage", HeldOut: true, Length: 5 * time.Minute, run: resolverOutage},
		{Name: "crawler", HeldOut: true, Length: 10 * time.Minute, run: crawler},
		{Name: "remote_desktop", HeldOut: true, Length: 14 * time.Minute, run: remoteDesktop},
		{Name: "copy_files", HeldOut: true, Length: 5 * time.Minute, run: copyFiles},
	}
}

func family(name string) (Family, bool) {
	for _, f := range Families() {
		if f.Name == name {
			return f, true
		}
	}
	return Family{}, false
}
