package main

import (
	"path/filepath"
	"testing"

	"netlyra/internal/bus/kafka/kafkatest"
	"netlyra/internal/models"
)

// fleetSensors are the states of a console's sensors by name.
func (p *process) fleetSensors() map[string]models.SensorState {
	p.t.Helper()
	var page models.Page[models.SensorState]
	p.get("api/v1/sensors", &page)
	all := map[string]models.SensorState{}
	for _, s := range page.Items {
		all[s.Name] = s
	}
	return all
}

// alertsBySensor are what two detectors must agree on of all alerts, by sensor.
func (p *process) alertsBySensor() map[string]lastOf {
	p.t.Helper()
	all := map[string]lastOf{}
	for query := "api/v1/alerts?triage=all&limit=500"; ; {
		var page models.Page[models.Alert]
		p.get(query, &page)
		for i := range page.Items {
			a := &page.Items[i]
			if all[a.Sensor] == nil {
				all[a.Sensor] = lastOf{}
			}
			all[a.Sensor].add(a)
		}
		if page.Next == "" {
			return all
		}
		query = "api/v1/alerts?triage=all&limit=500&cursor=" + string(page.Next)
	}
}

// connectionsOf counts a sensor's stored connections, and those of them that are open.
func (p *process) connectionsOf(sensor string) (all, open int) {
	p.t.Helper()
	for query := "api/v1/connections?limit=500&sensor=" + sensor; ; {
		var page models.Page[struct {
			Sensor string         `json:"sensor"`
			End    models.ConnEnd `json:"end"`
		}]
		p.get(query, &page)
		for _, c := range page.Items {
			all++
			if c.End == models.ConnOpen {
				open++
			}
		}
		if page.Next == "" {
			return all, open
		}
		query = "api/v1/connections?limit=500&sensor=" + sensor + "&cursor=" + string(page.Next)
	}
}

// One console has what two sensors see, each by its name: alerts as they say themselves, every connection once, hosts, traffic. Killed and started anew, it goes on; a
// sensor that ends is silent.
func TestAConsoleOfAFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka: run without -short")
	}
	broker := kafkatest.Start(t)
	dir := t.TempDir()
	serve := func() *process {
		return startCommand(t, nil, []string{"serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--ws-listen", "off", "--database", filepath.Join(dir, "console.db"), "--console", "c", "--brokers", broker.Addr})
	}
	console := serve()
	want := map[string]lastOf{}
	sensors := map[string]*process{}
	for _, name := range []string{"hall", "yard"} {
		want[name] = analyzed(t, "--sensor", name, sample)
		sensors[name] = startRun(t, nil, filepath.Join(dir, name+".db"), "--read", sample, "--speed", "max", "--keep-time", "--sensor", name, "--brokers", broker.Addr)
	}
	same := func() bool {
		got := console.alertsBySensor()
		for name, alerts := range want {
			if len(got[name]) != len(alerts) {
				return false
			}
			for id, last := range alerts {
				if got[name][id] != last {
					return false
				}
			}
		}
		return len(got) == len(want)
	}
	until(t, "alerts of both sensors", same)
	console.kill()
	console = serve()
	opened := sensors["hall"].stats().Connections.Opened
	for name := range sensors {
		until(t, "connections of "+name, func() bool {
			all, open := console.connectionsOf(name)
			return uint64(all) == opened && open == 0
		})
	}
	if !same() {
		t.Errorf("after a restart: %v, want %v", console.alertsBySensor(), want)
	}
	until(t, "signs of life", func() bool {
		all := console.fleetSensors()
		return len(all) == 2 && all["hall"].Status == models.SensorOK && all["hall"].Detector != "" && all["yard"].Packets == sensors["yard"].stats().Packets
	})
	var hosts models.Page[models.Host]
	console.get("api/v1/hosts?sensor=yard&host=10.77.0.10", &hosts)
	if len(hosts.Items) != 1 || hosts.Items[0].Sensor != "yard" {
		t.Errorf("%+v", hosts)
	}
	sensors["yard"].terminate()
	until(t, "silence", func() bool { return console.fleetSensors()["yard"].Status == models.SensorSilent })
	console.terminate()
}
