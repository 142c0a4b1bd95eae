-- +goose Up

-- Who has decided about an alert; decided_at says when.
ALTER TABLE alerts ADD COLUMN decided_by TEXT NOT NULL DEFAULT '';

-- On which side of an incident its peers are; '' in rows of before.
ALTER TABLE alerts ADD COLUMN role TEXT NOT NULL DEFAULT '';

-- The incident that a connection belongs to.
ALTER TABLE connections ADD COLUMN alert TEXT NOT NULL DEFAULT '';
