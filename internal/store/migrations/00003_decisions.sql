-- +goose Up

-- Who has decided about an alert; decided_at says when.
ALTER TABLE alerts ADD COLUMN decided_by TEXT NOT NULL DEFAULT '';

-- On which side of an incident its peers are; '' in rows of before.
ALTER TABLE alerts ADD COLUMN role TEXT NOT NULL DEFAULT '';

-- Every decision of a person: who, whence, when, what.
CREATE TABLE decisions (
    id     INTEGER NOT NULL PRIMARY KEY,
    ts     INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    whence TEXT    NOT NULL,
    action TEXT    NOT NULL,
    object TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;

CREATE INDEX decisions_object ON decisions (object, id);

-- What gives way first when the database is full.
CREATE INDEX connections_unanswered ON connections (inserted_at) WHERE packets_down = 0;

-- The incident that a connection belongs to.
ALTER TABLE connections ADD COLUMN alert TEXT NOT NULL DEFAULT '';
