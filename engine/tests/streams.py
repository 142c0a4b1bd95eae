"""Makes streams of records: an office of clients, one of which goes astray, as packets and as slots."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from engine.features import ROW, SECOND, SLOT
from engine.producer import PROTOCOLS, when
from pyarrow import ipc

START = 1_700_000_000 * SECOND // SLOT  # number of the first slot
arrow: Any = pa
arrow_ipc: Any = ipc
Row = list[Any]
Slots = list[tuple[int, list[Row]]]


def office(seconds: int, clients: int = 24, odd: tuple[int, ...] = (), seed: int = 3) -> Slots:
    """Slots of connections, up to three slots a second; in the odd seconds one client opens 40 connections."""
    rng, slots = random.Random(seed), Slots()
    for second in range(seconds):
        parts: list[list[Row]] = [[], [], []]
        for client in range(clients):
            out, new = rng.randint(3, 30), rng.random() < 0.3
            size, server = out * rng.randint(60, 400), f"10.0.1.{client % 5 + 1}"
            row = [f"10.0.0.{client + 1}", server, 40_000 + client, 443, 6, new, new, out, out - 2]
            rng.choice(parts).append([*row, size, out * 500, out * rng.randint(20_000, 60_000), out])
        if second in odd:
            parts[2] += [
                ["10.0.0.1", f"2001:db8::{i:x}", 50_000 + i, 7000 + i, 17, True, False, 3, 0, 9000, 0, 240_000, 3]
                for i in range(1, 41)
            ]
        slots += [(START + second * 25 + at, rows) for at, rows in zip((0, 7, 20), parts, strict=True)]
    return slots


def packets(slots: Slots, sensor: str = "s") -> bytes:
    """The slots as packets and watermarks, a JSON object a line."""
    lines: list[dict[str, Any]] = []
    received = 0
    for number, rows in slots:
        for orig, resp, orig_port, resp_port, proto, new, through, *counts in rows:
            up, down, up_bytes, down_bytes, entropy, measured = counts
            received += up + down
            for i in range(up + down):
                sent = i < up
                of, at, size = (up, i, up_bytes) if sent else (down, i - up, down_bytes)
                ends = [(orig, orig_port), (resp, resp_port)][:: 1 if sent else -1]
                with_payload = sent and i < measured
                bits = entropy // measured + (entropy % measured if i == 0 else 0) if with_payload else 0
                lines.append(
                    {"ts": when(number * SLOT), "src_ip": ends[0][0], "dst_ip": ends[1][0], "src_port": ends[0][1]}
                    | {"dst_port": ends[1][1], "proto": PROTOCOLS[proto], "payload_len": 10 if with_payload else 0}
                    | {"tcp_flags": "", "entropy": bits / 1e4, "sensor": sensor, "dir": "orig" if sent else "resp"}
                    | {"wire_len": size // of + (size % of if at == 0 else 0), "unknown": [1, {"x": None}]}
                    | ({"conn_new": True} if new and i == 0 else {})
                    | ({"conn_established": True} if through and i == up else {})
                )
        lines.append({"ts": when(number * SLOT), "sensor": sensor, "watermark": True, "slot": number})
        lines[-1] |= {"received": received, "lost": 0, "epoch": 0}
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def record(rows: list[Row], columns: Any = ROW, **about: Any) -> bytes:
    """A record: an Arrow IPC stream in a zstd frame."""
    meta = {"schema": "netlyra.slots/1", "kind": "connections", "sensor": "s", "epoch": 0, "part": 0, "parts": 1}
    meta |= {"boot": 0, "lost": 0} | about
    schema = columns.with_metadata({key: str(value) for key, value in meta.items()})
    batch = arrow.record_batch(list(zip(*rows, strict=True)) or [()] * len(schema), schema=schema)
    plain = io.BytesIO()
    with arrow_ipc.new_stream(plain, schema) as writer:
        writer.write_batch(batch)
    return arrow.Codec("zstd").compress(plain.getvalue(), asbytes=True)


def records(slots: Slots, **about: Any) -> Iterator[bytes]:
    """The slots as records, a slot with many rows in two parts."""
    seq, received = 0, 0
    for number, rows in slots:
        received += sum(row[7] + row[8] for row in rows)
        parts = [rows[:20], rows[20:]] if len(rows) > 20 else [rows]
        for part, some in enumerate(parts):
            place = {"part": part, "parts": len(parts), "seq": seq}
            yield record(some, slot=number, received=received, **place, **about)
            seq += 1


def batches(slots: Slots, **about: Any) -> bytes:
    """The slots as a stream of records."""
    return b"".join(records(slots, **about))
