package store

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"

	"netlyra/internal/models"
)

// Outgoing is an alert of which a revision is still to be published, as it stands now.
type Outgoing struct {
	models.Alert
	seq int64
}

// Outbox reads up to limit alerts that are to be published, in the order in which their last revision was stored. An alert is marked for
// it in the transaction that stores a revision (Options.Outbox), and stays so until Published says that this revision has been.
func (s *Store) Outbox(ctx context.Context, limit int) ([]Outgoing, error) {
	var rows []struct {
		models.Alert
		Seq int64
	}
	err := s.query(ctx, func(db *gorm.DB) error {
		return db.Table("outbox").Select("alerts.*, outbox.seq").Joins("JOIN alerts ON alerts.id = outbox.alert").
			Order("outbox.seq").Limit(limit).Scan(&rows).Error
	})
	if err != nil {
		return nil, err
	}
	out := make([]Outgoing, len(rows))
	for i := range rows {
		out[i] = Outgoing{rows[i].Alert, rows[i].Seq}
	}
	return out, nil
}

// Waiting counts the alerts that are to be published.
func (s *Store) Waiting(ctx context.Context) (n int64, err error) {
	err = s.query(ctx, func(db *gorm.DB) error { return db.Table("outbox").Count(&n).Error })
	return n, err
}

// Published records that alerts have been published as Outbox gave them. One that has been stored again since stays in the outbox.
func (s *Store) Published(ctx context.Context, sent []Outgoing) error {
	err := s.queue.do(ctx, 0, func(ctx context.Context, tx *sql.Tx) error {
		for i := range sent { // by both: after the file was replaced, numbers begin anew
			if _, err := tx.ExecContext(ctx, "DELETE FROM outbox WHERE seq = ? AND alert = ?", sent[i].seq, sent[i].ID); err != nil {
				return fmt.Errorf("store: outbox: %w", err)
			}
		}
		return nil
	})
	return s.explain(err)
}
