-- +goose Up

-- Alerts of which a revision is still to be published, in the order in which they were stored. A later revision takes the place of an
-- earlier one that was not, so there are at most as many as there are alerts.
CREATE TABLE outbox (
    seq   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- never used again
    alert TEXT    NOT NULL UNIQUE
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER outbox_delete AFTER DELETE ON alerts
BEGIN
    DELETE FROM outbox WHERE alert = old.id;
END;
-- +goose StatementEnd
