-- +goose Up

-- What a run that was killed has left open.
CREATE INDEX connections_open ON connections (id) WHERE "end" = '';

-- As connections_unanswered, of hosts.
CREATE INDEX hosts_silent ON hosts (inserted_at) WHERE packets_recv = 0;
