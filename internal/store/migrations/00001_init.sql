-- +goose Up

CREATE TABLE alerts (
    id                 TEXT    NOT NULL PRIMARY KEY,
    ts                 INTEGER NOT NULL,
    src_ip             TEXT    NOT NULL,
    dst_ip             TEXT    NOT NULL,
    src_port           INTEGER NOT NULL,
    dst_port           INTEGER NOT NULL,
    proto              TEXT    NOT NULL,
    score              REAL    NOT NULL,
    features           TEXT,
    rev                INTEGER NOT NULL,
    last_ts            INTEGER NOT NULL,
    count              INTEGER NOT NULL,
    state              TEXT    NOT NULL,
    sensor             TEXT    NOT NULL,
    category           TEXT    NOT NULL,
    severity           TEXT    NOT NULL,
    summary            TEXT    NOT NULL,
    facts              TEXT,
    reasons            TEXT,
    counterfactual     TEXT    NOT NULL,
    peers              TEXT,
    ports              TEXT,
    community_id       TEXT    NOT NULL,
    detector           TEXT,
    capture_confidence REAL    NOT NULL,
    triage             TEXT    NOT NULL,
    inserted_at        INTEGER NOT NULL
) STRICT;

-- One index for each filter, in the order of the pages, so that a filtered page reads only its own rows.
CREATE INDEX alerts_ts       ON alerts (ts, id);
CREATE INDEX alerts_src_ip   ON alerts (src_ip, ts, id);
CREATE INDEX alerts_dst_ip   ON alerts (dst_ip, ts, id);
CREATE INDEX alerts_src_port ON alerts (src_port, ts, id);
CREATE INDEX alerts_dst_port ON alerts (dst_port, ts, id);
CREATE INDEX alerts_proto    ON alerts (proto, ts, id);
CREATE INDEX alerts_state    ON alerts (state, ts, id);
CREATE INDEX alerts_category ON alerts (category, ts, id);
CREATE INDEX alerts_triage   ON alerts (triage, ts, id);
CREATE INDEX alerts_inserted ON alerts (inserted_at);

-- Nothing that a flush updates is indexed here: that would double its cost.
CREATE TABLE connections (
    id           INTEGER NOT NULL PRIMARY KEY,
    sensor       TEXT    NOT NULL,
    src_ip       TEXT    NOT NULL,
    dst_ip       TEXT    NOT NULL,
    src_port     INTEGER NOT NULL,
    dst_port     INTEGER NOT NULL,
    proto        TEXT    NOT NULL,
    vlan         INTEGER NOT NULL,
    src_mac      TEXT    NOT NULL,
    dst_mac      TEXT    NOT NULL,
    icmp_type    INTEGER,
    icmp_code    INTEGER,
    community_id TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    "end"        TEXT    NOT NULL,
    first_ts     INTEGER NOT NULL,
    last_ts      INTEGER NOT NULL,
    packets_up   INTEGER NOT NULL,
    packets_down INTEGER NOT NULL,
    bytes_up     INTEGER NOT NULL,
    bytes_down   INTEGER NOT NULL,
    flags_up     TEXT    NOT NULL,
    flags_down   TEXT    NOT NULL,
    entropy      REAL    NOT NULL,
    sni          TEXT    NOT NULL,
    ja4          TEXT    NOT NULL,
    score        REAL    NOT NULL,
    inserted_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX connections_src_ip   ON connections (src_ip, id);
CREATE INDEX connections_dst_ip   ON connections (dst_ip, id);
CREATE INDEX connections_inserted ON connections (inserted_at);

CREATE TABLE hosts (
    ip           TEXT    NOT NULL PRIMARY KEY,
    mac          TEXT    NOT NULL,
    first_ts     INTEGER NOT NULL,
    last_ts      INTEGER NOT NULL,
    packets_sent INTEGER NOT NULL,
    packets_recv INTEGER NOT NULL,
    bytes_sent   INTEGER NOT NULL,
    bytes_recv   INTEGER NOT NULL,
    inserted_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX hosts_inserted ON hosts (inserted_at);

CREATE TABLE series_points (
    step        INTEGER NOT NULL,
    ts          INTEGER NOT NULL,
    packets     INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    tcp_bytes   INTEGER NOT NULL,
    udp_bytes   INTEGER NOT NULL,
    other_bytes INTEGER NOT NULL,
    connections INTEGER NOT NULL,
    drops       INTEGER NOT NULL,
    PRIMARY KEY (step, ts)
) STRICT, WITHOUT ROWID;
