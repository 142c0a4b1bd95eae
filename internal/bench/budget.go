package bench

import (
	"context"
	"time"

	"netlyra/internal/traffic"
)

// BudgetOptions say how the alert budget is put to the test: on an office without attacks.
type BudgetOptions struct {
	Seed     uint64
	Duration time.Duration
	Hosts    int
	Changing bool
	Budget   float64  // alerts a day by what has been learned
	Without  []string // parts of the detector to leave out
}

// BudgetResult is what came of it.
type BudgetResult struct {
	Seed         uint64         `json:"seed"`
	Hours        float64        `json:"hours"`
	Packets      uint64         `json:"packets"`
	Budget       float64        `json:"budget_per_day"`
	ActualPerDay float64        `json:"actual_per_day"` // by what has been learned, as the detector counts it
	Ratio        float64        `json:"ratio"`          // of the two
	Learned      uint64         `json:"learned_alerts"`
	Limits       uint64         `json:"limit_alerts"` // by absolute limits: they come on top
	Categories   map[string]int `json:"categories"`
}

// Budget has the detector watch an office at work.
func Budget(ctx context.Context, o BudgetOptions) (BudgetResult, error) {
	r := BudgetResult{Seed: o.Seed, Hours: o.Duration.Hours(), Budget: o.Budget, Categories: map[string]int{}}
	s, err := traffic.New(traffic.Options{Seed: o.Seed, Duration: o.Duration, Hosts: o.Hosts, Changing: o.Changing})
	if err != nil {
		return r, err
	}
	alerts, stats, err := judge(ctx, s, o.Budget, o.Without)
	if err != nil {
		return r, err
	}
	r.Packets, r.ActualPerDay = stats.Packets, stats.Detector.ActualPerDay
	r.Learned, r.Limits = stats.Detector.LearnedAlerts, stats.Detector.LimitAlerts
	r.Ratio = r.ActualPerDay / o.Budget
	for i := range alerts {
		r.Categories[string(alerts[i].Category)]++
	}
	return r, nil
}
