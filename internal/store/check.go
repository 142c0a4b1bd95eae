package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"netlyra/internal/dir"
)

// Check says whether New would open the database, and leaves everything as it is: nothing is made, changed or set aside. The error is that
// of New. The file is read as it stands: what only its write-ahead log holds is not seen.
func Check(ctx context.Context, o Options) (err error) {
	o = o.withDefaults()
	if o.Temporary {
		if err := dir.Writable(os.TempDir()); err != nil {
			return fmt.Errorf("store: temporary database: %w: set TMPDIR, or name a file with --database", err)
		}
		return nil
	}
	s := &Store{opts: o, log: o.Log}
	if s.opts.Path, err = filepath.Abs(o.Path); err != nil {
		return fmt.Errorf("store: database %s: %w", o.Path, err)
	}
	if err := roomFor(s.opts.Path); err != nil {
		return err
	}
	info, err := lookAt(s.opts.Path)
	if err != nil || info == nil {
		return err
	}
	f, err := openLocked(s.opts.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	switch err := s.readHeader(f); {
	case errors.Is(err, errSetAside): // New does so, and goes on
		return nil
	case err != nil || s.fresh:
		return err
	}
	return s.checkSchema(ctx)
}

// checkSchema says whether the schema is ours, and not too new.
func (s *Store) checkSchema(ctx context.Context) (err error) {
	db, err := sql.Open("sqlite", s.dsn("ro", url.Values{"immutable": {"1"}, "_pragma": {"temp_store(MEMORY)"}}))
	if err != nil {
		return fmt.Errorf("store: database %s: %w", s.opts.Path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = s.recognize(ctx, db)
	switch {
	case damaged(err) && s.ours: // New sets it aside
		return nil
	case damaged(err):
		return s.unknownDamage(err)
	case err != nil:
		return err
	}
	_, err = s.wantedVersion()
	return err
}
