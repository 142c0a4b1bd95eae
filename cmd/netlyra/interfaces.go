package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"netlyra/internal/capture"
	"netlyra/internal/config"
)

// device is an interface as it is printed.
type device struct {
	Name      string   `json:"name"`
	State     string   `json:"state"` // up, no link, down
	Addresses []string `json:"addresses"`
	Watchable bool     `json:"watchable"`
	Default   bool     `json:"default"` // run watches it unless told otherwise
}

// interfaces lists the interfaces of this machine, and what run would watch.
func (p *program) interfaces(c *config.Interfaces) error {
	all, err := capture.Devices()
	if err != nil {
		return err
	}
	watched, noRoute, err := capture.DefaultInterfaces()
	why := "run watches the interface of the default route; -i NAME another one"
	switch {
	case err != nil:
		why = "run has nothing to watch: " + err.Error()
	case noRoute:
		why = "there is no default route: run watches every interface that is up; -i NAME only that one"
	}
	devices := make([]device, 0, len(all))
	for _, d := range all {
		devices = append(devices, device{
			Name: d.Name, State: stateOf(d), Addresses: append([]string{}, d.Addresses...), Watchable: d.Watchable, Default: slices.Contains(watched, d.Name),
		})
	}
	if c.Format == "json" {
		return writeJSON(p.stdout, devices)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "INTERFACE\tSTATE\tRUN WATCHES IT\tADDRESSES") // Flush reports it
	for i, d := range devices {
		says := map[bool]string{true: "yes", false: "-"}[d.Default]
		if !d.Watchable {
			says = fmt.Sprintf("cannot be decoded (hardware type %d)", all[i].HardwareType)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", plain(d.Name), d.State, says, strings.Join(d.Addresses, " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, why)
	return err
}

func stateOf(d capture.Device) string {
	switch {
	case !d.Up:
		return "down"
	case !d.Carrier:
		return "no link"
	}
	return "up"
}
