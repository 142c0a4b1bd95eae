-- +goose Up

-- Hosts and series are those of a sensor: a console has several. What is there is of the one that has written last.

CREATE TABLE hosts_of_sensors (
    sensor       TEXT    NOT NULL,
    ip           TEXT    NOT NULL,
    mac          TEXT    NOT NULL,
    first_ts     INTEGER NOT NULL,
    last_ts      INTEGER NOT NULL,
    packets_sent INTEGER NOT NULL,
    packets_recv INTEGER NOT NULL,
    bytes_sent   INTEGER NOT NULL,
    bytes_recv   INTEGER NOT NULL,
    inserted_at  INTEGER NOT NULL,
    PRIMARY KEY (ip, sensor) -- addresses are looked up and sorted without a sensor, too
) STRICT;
INSERT INTO hosts_of_sensors (sensor, ip, mac, first_ts, last_ts, packets_sent, packets_recv, bytes_sent, bytes_recv, inserted_at)
    SELECT coalesce((SELECT sensor FROM connections ORDER BY id DESC LIMIT 1), ''), ip, mac, first_ts, last_ts, packets_sent, packets_recv, bytes_sent,
        bytes_recv, inserted_at FROM hosts;
DROP TABLE hosts;
ALTER TABLE hosts_of_sensors RENAME TO hosts;
CREATE INDEX hosts_inserted ON hosts (inserted_at);
CREATE INDEX hosts_silent ON hosts (inserted_at) WHERE packets_recv = 0;

CREATE TABLE series_of_sensors (
    sensor      TEXT    NOT NULL,
    step        INTEGER NOT NULL,
    ts          INTEGER NOT NULL,
    packets     INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    tcp_bytes   INTEGER NOT NULL,
    udp_bytes   INTEGER NOT NULL,
    other_bytes INTEGER NOT NULL,
    connections INTEGER NOT NULL,
    drops       INTEGER NOT NULL,
    PRIMARY KEY (step, ts, sensor)
) STRICT, WITHOUT ROWID;
INSERT INTO series_of_sensors (sensor, step, ts, packets, bytes, tcp_bytes, udp_bytes, other_bytes, connections, drops)
    SELECT coalesce((SELECT sensor FROM connections ORDER BY id DESC LIMIT 1), ''), step, ts, packets, bytes, tcp_bytes, udp_bytes, other_bytes,
        connections, drops FROM series_points;
DROP TABLE series_points;
ALTER TABLE series_of_sensors RENAME TO series_points;
