"""Read a stream of slots with PyArrow and ask DuckDB about it; print what both see as JSON.

Usage: slots.py FILE. FILE holds what `netlyra analyze --emit slots` has written.
"""

import io
import json
import sys

import duckdb
import pyarrow as pa


def slots(path):
    """Yield the metadata, a dict of texts, and the table of each record."""
    stream = io.BytesIO(pa.input_stream(path, compression="zstd").read())
    while stream.tell() < len(stream.getbuffer()):
        reader = pa.ipc.open_stream(stream)
        table = reader.read_all()
        table.validate(full=True)
        yield {k.decode(): v.decode() for k, v in reader.schema.metadata.items()}, table


def main(path):
    """Print one JSON object: counts and sums, by PyArrow's tables or by DuckDB's SQL."""
    tables = {"connections": [], "dns": [], "arp": []}
    seqs, closed = [], 0
    for meta, table in slots(path):
        tables[meta["kind"]].append(table.replace_schema_metadata())
        seqs.append(int(meta["seq"]))
        closed += meta["kind"] == "connections" and int(meta["part"]) == int(meta["parts"]) - 1
    conns, dns, arp = (pa.concat_tables(tables[k]) for k in ("connections", "dns", "arp"))
    sums = duckdb.sql(
        """
        SELECT count(*), count(*) FILTER (conn_new), count(*) FILTER (conn_established), count(*) FILTER (failed),
               count(DISTINCT orig_ip), sum(up_bytes::HUGEINT + down_bytes)::VARCHAR, sum(up_entropy_sum)::VARCHAR,
               count(before), sum(epoch_us(start)::HUGEINT)::VARCHAR
        FROM conns
        """
    ).fetchall()[0]
    names = duckdb.sql("SELECT sum(octet_length(name))::BIGINT, count(*) FILTER (answer) FROM dns").fetchall()[0]
    json.dump(
        {
            "seqs": seqs == list(range(len(seqs))),
            "slots": closed,
            "rows": [conns.num_rows, dns.num_rows, arp.num_rows],
            "conns": sums,
            "dns": names,
            "macs": sorted({m.hex(":") for m in arp["mac"].to_pylist()}),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(sys.argv[1])
