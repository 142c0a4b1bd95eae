package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"netlyra/internal/models"
)

// maxTalkers bounds the addresses whose traffic is added up: those that are seen first. A flood from spoofed addresses makes millions.
const maxTalkers = 1 << 16

// talkers adds up what each address has sent and received.
type talkers struct {
	bytes map[string]*models.Host
	full  bool // further addresses were not added up
}

// add takes what addresses have done since it was last called.
func (t *talkers) add(hosts []models.Host) {
	for i := range hosts {
		h := &hosts[i]
		sum := t.bytes[h.IP]
		if sum == nil {
			if len(t.bytes) == maxTalkers {
				t.full = true
				continue
			}
			sum = &models.Host{IP: h.IP}
			t.bytes[h.IP] = sum
		}
		sum.BytesSent += h.BytesSent
		sum.BytesRecv += h.BytesRecv
	}
}

// talker is one address of the summary.
type talker struct {
	IP            string `json:"ip"`
	BytesSent     uint64 `json:"bytes_sent"`
	BytesReceived uint64 `json:"bytes_received"`
}

func (t talker) total() uint64 { return t.BytesSent + t.BytesReceived }

// top lists the n addresses with most bytes, most first.
func (t *talkers) top(n int) []talker {
	all := make([]talker, 0, len(t.bytes))
	for ip, h := range t.bytes {
		all = append(all, talker{IP: ip, BytesSent: h.BytesSent, BytesReceived: h.BytesRecv})
	}
	slices.SortFunc(all, func(a, b talker) int { return cmp.Or(cmp.Compare(b.total(), a.total()), cmp.Compare(a.IP, b.IP)) })
	return slices.Clone(all[:min(n, len(all))])
}

// protocols are the shares of the transport protocols, most bytes first.
func protocols(by map[string]models.Volume) string {
	names := make([]string, 0, len(by))
	total := uint64(0)
	for name, v := range by {
		names = append(names, name)
		total += v.Bytes
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b].Bytes, by[a].Bytes), cmp.Compare(a, b))
	})
	for i, name := range names {
		share := fmt.Sprintf("%.0f %%", 100*float64(by[name].Bytes)/float64(max(total, 1)))
		if share == "0 %" {
			share = "under 1 %"
		}
		names[i] = fmt.Sprintf("%s %s (%s)", strings.ReplaceAll(name, "_", " "), humanize.Bytes(by[name].Bytes), share)
	}
	return strings.Join(names, ", ")
}
