package bench

import "time"

// LatencyOptions describe one run of Latency.
type LatencyOptions struct {
	Rate     int // packets per second
	Duration time.Duration
	Program  []string // the command that watches, to which flags are added
	Dir      string   // for the database
}

// LatencyResult is the time from sending a packet to a WebSocket client having read `stats` that count it.
type LatencyResult struct {
	Rate       int     `json:"rate"` // packets per second, asked for
	Packets    uint64  `json:"packets"`
	Lost       uint64  `json:"lost"` // never counted
	Offered    float64 `json:"offered_pps"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Updates    int     `json:"updates"` // `stats` messages that counted something new
	CPUSeconds float64 `json:"program_cpu_seconds"`
	// Analysed is the program's own figure for its first part, up to the worker having counted the packet: p50 and p99, ms.
	Analysed [2]float64 `json:"analysed_ms"`
}
