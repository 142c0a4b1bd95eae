-- +goose Up

-- What a run that was killed has left open.
CREATE INDEX connections_open ON connections (id) WHERE "end" = '';

-- As connections_unanswered, of hosts.
CREATE INDEX hosts_silent ON hosts (inserted_at) WHERE packets_recv = 0;

-- Lists are searched in blocks: columns of some 2,048 rows that follow each other by id or ts, from lo to hi (blocks.go). What has
-- changed in a block since it was written stands in the table of changes.
CREATE TABLE connection_blocks (
    lo   INTEGER NOT NULL PRIMARY KEY,
    hi   INTEGER NOT NULL,
    rows INTEGER NOT NULL
) STRICT;

CREATE TABLE connection_columns (
    block INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    data  BLOB    NOT NULL,
    PRIMARY KEY (block, name) -- with rowids: a search among keys would read all of the data beside them
) STRICT;

CREATE TABLE connection_changes (
    block   INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (block, changed)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_blocks (
    lo   INTEGER NOT NULL PRIMARY KEY,
    hi   INTEGER NOT NULL,
    rows INTEGER NOT NULL
) STRICT;

CREATE TABLE alert_columns (
    block INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    data  BLOB    NOT NULL,
    PRIMARY KEY (block, name) -- with rowids: a search among keys would read all of the data beside them
) STRICT;

CREATE TABLE alert_changes (
    block   INTEGER NOT NULL,
    changed TEXT    NOT NULL,
    PRIMARY KEY (block, changed)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER connections_insert AFTER INSERT ON connections
    WHEN new.id <= (SELECT hi FROM connection_blocks ORDER BY lo DESC LIMIT 1)
BEGIN
    INSERT INTO connection_changes (block, changed)
        SELECT lo, new.id FROM (SELECT lo, hi FROM connection_blocks WHERE lo <= new.id ORDER BY lo DESC LIMIT 1) WHERE hi >= new.id ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER connections_update AFTER UPDATE ON connections
    WHEN new.id <= (SELECT hi FROM connection_blocks ORDER BY lo DESC LIMIT 1)
BEGIN
    INSERT INTO connection_changes (block, changed)
        SELECT lo, new.id FROM (SELECT lo, hi FROM connection_blocks WHERE lo <= new.id ORDER BY lo DESC LIMIT 1) WHERE hi >= new.id ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER connections_delete AFTER DELETE ON connections
    WHEN old.id <= (SELECT hi FROM connection_blocks ORDER BY lo DESC LIMIT 1)
BEGIN
    INSERT INTO connection_changes (block, changed)
        SELECT lo, old.id FROM (SELECT lo, hi FROM connection_blocks WHERE lo <= old.id ORDER BY lo DESC LIMIT 1) WHERE hi >= old.id ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alerts_insert AFTER INSERT ON alerts
    WHEN new.ts <= (SELECT hi FROM alert_blocks ORDER BY lo DESC LIMIT 1)
BEGIN
    INSERT INTO alert_changes (block, changed)
        SELECT lo, new.id FROM (SELECT lo, hi FROM alert_blocks WHERE lo <= new.ts ORDER BY lo DESC LIMIT 1) WHERE hi >= new.ts ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alerts_update AFTER UPDATE ON alerts
    WHEN old.ts <= (SELECT hi FROM alert_blocks ORDER BY lo DESC LIMIT 1) OR new.ts <= (SELECT hi FROM alert_blocks ORDER BY lo DESC LIMIT 1)
BEGIN
    INSERT INTO alert_changes (block, changed)
        SELECT lo, old.id FROM (SELECT lo, hi FROM alert_blocks WHERE lo <= old.ts ORDER BY lo DESC LIMIT 1) WHERE hi >= old.ts ON CONFLICT DO NOTHING;
    INSERT INTO alert_changes (block, changed)
        SELECT lo, new.id FROM (SELECT lo, hi FROM alert_blocks WHERE lo <= new.ts ORDER BY lo DESC LIMIT 1) WHERE hi >= new.ts ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER alerts_delete AFTER DELETE ON alerts
    WHEN old.ts <= (SELECT hi FROM alert_blocks ORDER BY lo DESC LIMIT 1)
BEGIN
    INSERT INTO alert_changes (block, changed)
        SELECT lo, old.id FROM (SELECT lo, hi FROM alert_blocks WHERE lo <= old.ts ORDER BY lo DESC LIMIT 1) WHERE hi >= old.ts ON CONFLICT DO NOTHING;
END;
-- +goose StatementEnd

-- Blocks answer what these were for.
DROP INDEX IF EXISTS connections_src_ip;
DROP INDEX IF EXISTS connections_dst_ip;
DROP INDEX IF EXISTS alerts_src_ip;
DROP INDEX IF EXISTS alerts_dst_ip;
DROP INDEX IF EXISTS alerts_src_port;
DROP INDEX IF EXISTS alerts_dst_port;
DROP INDEX IF EXISTS alerts_proto;
DROP INDEX IF EXISTS alerts_state;
DROP INDEX IF EXISTS alerts_category;
DROP INDEX IF EXISTS alerts_triage;
DROP INDEX IF EXISTS alerts_listed;
