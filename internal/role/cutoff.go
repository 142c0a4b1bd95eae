package role

import (
	"context"

	"netlyra/internal/models"
	"netlyra/internal/store"
)

// cutOff are the alerts of a sensor that are open in the database but that nobody goes on with: the program ended before it could save
// what it knew. They come closed, at their own time.
func cutOff(ctx context.Context, s *store.Store, sensor string, goOn []string) (alerts []*models.Alert, err error) {
	going := map[string]bool{}
	for _, id := range goOn {
		going[id] = true
	}
	q := models.AlertQuery{State: models.AlertOpen, Triage: models.TriageAll, Limit: models.MaxPageLimit}
	for {
		page, err := s.Alerts(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			a := &page.Items[i]
			if a.Sensor != sensor || going[a.ID] {
				continue
			}
			a.Rev++
			a.State = models.AlertClosed
			a.Summary += " It is not known how this went on: the program ended."
			alerts = append(alerts, a)
		}
		if page.Next == "" {
			return alerts, nil
		}
		q.Cursor = page.Next
	}
}
