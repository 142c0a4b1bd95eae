-- +goose Up

CREATE TABLE exceptions (
    id       TEXT    NOT NULL PRIMARY KEY,
    created  INTEGER NOT NULL,
    host     TEXT    NOT NULL,
    peer     TEXT    NOT NULL,
    port     INTEGER NOT NULL,
    proto    TEXT    NOT NULL,
    category TEXT    NOT NULL,
    sensor   TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    expires  INTEGER NOT NULL,
    hits     INTEGER NOT NULL
) STRICT;

-- triage is what holds; decided is what a person has said, which comes back when an exception ends.
ALTER TABLE alerts ADD COLUMN hidden_by  TEXT    NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN decided    TEXT    NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN decided_at INTEGER NOT NULL DEFAULT 0;

UPDATE alerts SET decided = triage WHERE triage <> 'new';

-- The list of alerts as it is mostly asked for: its pages do not read what exceptions hide, however much that is.
CREATE INDEX alerts_listed    ON alerts (ts, id) WHERE triage <> 'hidden';
CREATE INDEX alerts_hidden_by ON alerts (hidden_by) WHERE hidden_by <> '';
