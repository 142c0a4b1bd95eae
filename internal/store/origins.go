package store

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"

	"netlyra/internal/models"
)

// Origins reads which connections of sensors elsewhere are stored, only what tells them apart: at most open that have not ended, and of those that
// have, at most ended of the newest.
func (s *Store) Origins(ctx context.Context, open, ended int) (cs []models.Connection, err error) {
	err = s.query(ctx, func(db *gorm.DB) error {
		return db.Raw(`SELECT * FROM (SELECT id, sensor, boot, origin, "end" FROM connections INDEXED BY connections_open WHERE "end" = '' AND origin <> 0 ORDER BY id DESC LIMIT ?)
			UNION ALL SELECT * FROM (SELECT id, sensor, boot, origin, "end" FROM connections WHERE "end" <> '' AND origin <> 0 ORDER BY id DESC LIMIT ?)`, open, ended).Scan(&cs).Error
	})
	return cs, err
}

// CutOff ends the connections that are open of a sensor's earlier starts: nobody will tell their end.
func (s *Store) CutOff(ctx context.Context, sensor string, boot int64) error {
	err := s.queue.do(ctx, 0, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE connections SET "end" = ? WHERE id IN
			(SELECT id FROM connections INDEXED BY connections_open WHERE "end" = '' AND sensor = ? AND boot <> ? AND origin <> 0)`, models.ConnCutOff, sensor, boot)
		if err != nil {
			return fmt.Errorf("store: close what %s has left open: %w", sensor, err)
		}
		return nil
	})
	return s.explain(err)
}
