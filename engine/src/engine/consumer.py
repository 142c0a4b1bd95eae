"""Reads the two kinds of records that `netlyra analyze --emit packets|slots` writes (docs/wire-format.md).

Either gives slots, none before its time: a live stream is judged as it comes. An error comes after the last good slot.
"""

from collections.abc import Iterator
from functools import partial
from io import BufferedReader
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import ipc

from .features import ENDS, ROW, Slot, address, arrow
from .producer import PROTOCOLS, say

MAX_LINE, MAX_PACKETS = 1 << 18, 1 << 19  # bytes; between two watermarks
NUMBERS = {name: number for number, name in PROTOCOLS.items()}
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OSError, pa.ArrowException)  # raised by what is no record
HINT = "if it is a capture, compressed or not, netlyra analyze --emit slots FILE makes slots of it"


class Unreadable(Exception):
    """The stream cannot be continued. The text says why, and what to do."""


class Consumer:
    """Joins the records of one sensor to slots. What is no record raises Unreadable, or one of MALFORMED."""

    def __init__(self) -> None:
        self.records, self.malformed, self.missing = 0, 0, 0  # missing: never came
        self.rows, self.batches, self.unclosed = list[Any](), list[Any](), False  # of the slot that is open
        self.run, self.at = "", -1  # where the stream is, see follow

    def slots(self, stream: BufferedReader, kind: str) -> Iterator[Slot]:
        """The slots of a stream of packets, of slots, or of what its first byte says (auto)."""
        kinds = {b"{": "packets", b"\x28": "slots", b"": "packets"}  # RFC 8878, 3.1.1
        kind = kinds.get(stream.peek(1)[:1]) or "" if kind == "auto" else kind
        if not kind:
            raise Unreadable(f"this is neither packets nor slots; {HINT}")
        yield from self.of_packets(stream) if kind == "packets" else self.of_batches(stream)
        if self.unclosed or 0 < self.malformed == self.records:
            raise Unreadable(f"{kind} cut off behind the last complete slot, or none at all; {HINT}")

    def of_packets(self, stream: BufferedReader) -> Iterator[Slot]:
        """The slots of packets and watermarks, JSON, one a line."""
        for line in iter(partial(stream.readline, MAX_LINE), b""):
            self.records += 1
            try:
                yield from self.packet(line)
            except MALFORMED as error:
                self.malformed += 1
                if self.malformed == 1:
                    say("WARN", f"malformed and left out, as all such: {error!r}", record=self.records)

    def of_batches(self, stream: BufferedReader) -> Iterator[Slot]:
        """The slots of Arrow: IPC streams of one batch, each in a zstd frame of its own, one after the other."""
        file: Any = SimpleNamespace(read=stream.read1, closed=False, close=lambda: None)
        frames = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        try:
            while messages := list(iter(ipc.MessageReader.open_stream(frames))):
                self.records += 1
                yield from self.part(messages)
        except MALFORMED as error:
            what = f"damaged or cut off behind record {self.records}" if self.records else f"no slots; {HINT}"
            raise Unreadable(f"the stream is {what} ({error!r})") from error

    def packet(self, line: bytes) -> Iterator[Slot]:
        """Takes a packet, or the watermark that closes the slot. The packets of a slot come before it in any order."""
        p = orjson.loads(line)
        if p.get("v", 1) not in (1, None):
            raise Unreadable(f"packets of version {p['v']!r}: take the engine of the netlyra that wrote them")
        if not p.get("watermark"):
            self.unclosed = True
            if len(self.rows) == MAX_PACKETS:
                raise Unreadable("half a million packets without a watermark: analyze --emit packets writes them")
            self.add(p)
        elif "slot" in p:  # else it says that time passes, and no more
            sensor, number, seen = str(p["sensor"]), int(p["slot"]), (int(p["received"]), int(p["lost"]))
            self.follow(str(p.get("epoch", 0)), number, number)
            batch = arrow.RecordBatch.from_struct_array(arrow.array(self.rows, arrow.struct(ROW)))
            self.rows, self.unclosed = [], False
            yield Slot(sensor, number, seen, [batch])

    def add(self, p: dict[str, Any]) -> None:
        """Adds the row of a packet, if it belongs to a connection: a connection in a slot may have several."""
        up, down = int(p.get("dir") == "orig"), int(p.get("dir") == "resp")
        src, dst, src_port, dst_port = p["src_ip"], p["dst_ip"], p["src_port"], p["dst_port"]
        size, entropy, loaded = p.get("wire_len") or 0, round(p["entropy"] * 1e4), up * (p["payload_len"] > 0)
        proto, opens = (
            NUMBERS.get(p["proto"]) or int(p["proto"]),
            (bool(p.get("conn_new")), bool(p.get("conn_established"))),
        )
        if not (0 <= src_port | dst_port | proto < 1 << 16 and 0 <= size < 1 << 32 and 0 <= entropy <= 80_000):
            raise ValueError("a port, proto, wire_len or entropy is out of its range")
        _ = address(src), address(dst)  # which raise an error if they are none
        if up or down:
            ends = (src, dst, src_port, dst_port) if up else (dst, src, dst_port, src_port)
            self.rows.append((*ends, proto, *opens, up, down, size * up, size * down, entropy * loaded, loaded))

    def part(self, messages: list[Any]) -> Iterator[Slot]:
        """Takes the messages of an Arrow IPC stream: a part of a slot, of which the last one closes it."""
        schema = ipc.read_schema(messages[0])
        about = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        if about.get("schema") != "netlyra.slots/1":
            raise Unreadable(f"records of {about.get('schema')!r}: take the engine of the netlyra that wrote them")
        seq, seen = int(about["seq"]), (int(about["received"]), int(about["lost"]))
        self.missing += max(seq - self.at - 1, 0) if about["boot"] == self.run else 0
        self.follow(about["boot"], seq, self.at + 1)
        for message in messages[1:] if about["kind"] == "connections" else ():
            batch = ipc.read_record_batch(message, schema).select(ROW.names)
            if not batch.schema.equals(ROW):
                raise ValueError("its columns are not those of connections")
            _ = [address(text) for name in ENDS for text in arrow.array(batch[name]).unique().to_pylist()]
            self.batches.append(batch)
        self.unclosed = int(about["part"]) + 1 < int(about["parts"])
        if not self.unclosed:
            batches, self.batches = self.batches, []
            yield Slot(about["sensor"], int(about["slot"]), seen, batches)

    def follow(self, run: str, at: int, least: int) -> None:
        """Notes where the stream is: the epoch and slot of a watermark, or boot and seq of a part of a slot."""
        last, self.run, self.at = (self.run, self.at), run, at
        if last[0] == run and at < max(least, last[1]):
            raise Unreadable(f"{at} comes behind {last[1]}: records come again, or streams are joined to one")
