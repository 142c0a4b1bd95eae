"""Reads the two kinds of records that `netlyra analyze --emit packets|slots` writes (docs/wire-format.md).

Either gives slots, none before its time: a live stream is judged as it comes. An error comes after the last good slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedReader
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import ipc

from .features import Slot, address
from .producer import PROTOCOLS

MAX_LINE, MAX_OPEN = 1 << 18, 1 << 20  # bytes; packets between two watermarks
NUMBER = {name: number for number, name in PROTOCOLS.items()}


class Unreadable(Exception):
    """The stream cannot be continued. The text says why, and what to do."""


class Consumer:
    """A stream of records, and how many of them were of no use."""

    def __init__(self, stream: BufferedReader, warn: Callable[[str], None]) -> None:
        self.stream, self.warn, self.stopped = stream, warn, False  # stopped: by a signal
        self.records, self.malformed, self.missing = 0, 0, 0

    def slots(self, kind: str) -> Iterator[Slot]:
        """The slots of a stream of packets, of slots, or of what its first byte says (auto). Raises Unreadable."""
        first = self.stream.peek(1)[:1]
        kind = {b"{": "packets", b"\x28": "slots"}.get(first, "") if kind == "auto" else kind  # RFC 8878, 3.1.1
        if first and not kind:
            raise Unreadable("neither packets nor slots: pass what netlyra analyze --emit packets, or slots, writes")
        return self.of_packets() if kind == "packets" or not first else self.of_batches()

    def of_packets(self) -> Iterator[Slot]:
        """The slots of packets, JSON, one a line: the packets of a slot in any order, then its watermark."""
        rows, unclosed = dict[Any, list[Any]](), 0
        while line := self.stream.readline(MAX_LINE):
            self.records += 1
            try:
                p = orjson.loads(line)
                if p.get("v", 1) not in (1, None):
                    raise Unreadable(f"packets of version {p['v']!r}: take the engine of the netlyra that wrote them")
                if p.get("watermark"):
                    seen = int(p["received"]), int(p["lost"])
                    yield Slot(str(p["sensor"]), int(p["slot"]), seen, list(rows.values()))
                    rows, unclosed = {}, 0
                else:
                    add(rows, p)
                    unclosed += 1
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                self.malformed += 1
                if self.malformed == 1:
                    self.warn(f"record {self.records} is malformed and left out, as all such: {error!r}")
            if unclosed > MAX_OPEN:
                raise Unreadable("a million packets without a watermark: netlyra analyze --emit packets writes them")
        if unclosed and not self.stopped:
            raise Unreadable("the packets are cut off: those behind the last watermark are not judged")
        if self.malformed and self.malformed == self.records:
            raise Unreadable("none of the records is a packet: netlyra analyze --emit packets writes them")

    def of_batches(self) -> Iterator[Slot]:
        """The slots of Arrow: IPC streams of one batch, each in a zstd frame of its own, one after the other."""
        file: Any = SimpleNamespace(read=self.stream.read1, closed=False, close=lambda: None)
        stream, rows, last = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"), list[Any](), ("", 0)
        known = {"connections", "dns", "arp"}
        try:
            while messages := list(iter(ipc.MessageReader.open_stream(stream))):
                self.records += 1
                schema = ipc.read_schema(messages[0])
                about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
                if about.get("schema") != "netlyra.slots/1":
                    raise Unreadable(
                        f"records of {about.get('schema')!r}: take the engine of the netlyra that wrote them"
                    )
                boot, seq = about["boot"], int(about["seq"])
                self.missing += max(seq - last[1] - 1, 0) if boot == last[0] else 0
                last = boot, seq
                if about["kind"] not in known:
                    self.warn(f"record {self.records} is of the unknown kind {about['kind']!r}: all such are left out")
                    known.add(about["kind"])
                if about["kind"] != "connections":
                    continue
                rows += [ipc.read_record_batch(message, schema) for message in messages[1:]]
                if int(about["part"]) + 1 == int(about["parts"]):
                    seen = int(about["received"]), int(about["lost"])
                    yield Slot(about["sensor"], int(about["slot"]), seen, rows)
                    rows = []
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            if not self.stopped:
                raise Unreadable(f"the slots are damaged or cut off behind record {self.records}: {error!r}") from error
        if rows and not self.stopped:
            raise Unreadable("the slots are cut off: the last one is not judged")


def add(rows: dict[Any, list[Any]], p: dict[str, Any]) -> None:
    """Adds a packet to the row of its connection, if it belongs to one. Raises an error if it is malformed."""
    get, size, entropy = p.get, p.get("wire_len", 0), round(p["entropy"] * 1e4)
    key = p["src_ip"], p["dst_ip"], p["src_port"], p["dst_port"], p["proto"]
    up = get("dir") == "orig"
    if not up:
        if get("dir") != "resp":
            return
        key = key[1], key[0], key[3], key[2], key[4]
    row = rows.get(key)
    if row is None:
        src, dst, src_port, dst_port, proto = key
        number = NUMBER.get(proto) or int(proto)
        _ = address(src), address(dst)  # which raise an error if they are none
        if not 0 <= src_port | dst_port | number < 1 << 16:
            raise ValueError("a port or protocol is out of its range")
        row = rows[key] = [src, dst, src_port, dst_port, number, 0, 0, 0, 0, 0, 0, 0, 0]
    if not (0 <= size < 1 << 32 and 0 <= entropy <= 80_000):
        raise ValueError("wire_len or entropy is out of its range")
    if get("conn_new"):
        row[5] += 1
    if get("conn_established"):
        row[6] += 1
    row[8 - up] += 1
    row[10 - up] += size
    if up and p["payload_len"] > 0:
        row[11] += entropy
        row[12] += 1
