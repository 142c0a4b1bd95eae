"""What an address did within a second, as eight numbers.

An address has two roles: 0, source (it opens connections), and 1, destination (they are opened to it). "Out" is what
the initiators sent, in either role. A vector is an address, a role and a second: shape (8,), physical units, FEATURES.
"""

import math
import socket
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SLOT, SECOND = 40_000, 1_000_000  # microseconds
HALF = 10  # seconds: the window is the half of it that runs and the one before, 10 to 20 s
EXACT, BITS = 192, 8192  # distinct values in a half from which on they are not counted exactly; bits to count them with
LEAST, MOST = 3, 512  # packets without which a second says nothing; addresses of a role judged in it, by their hashes
MAX_HELD = 1 << 16  # addresses of a role in a half, and peers of one
WORD = (1 << 64) - 1
FEATURES = {  # name: unit, the largest value that is told apart, whether it spreads over decades; in River's order
    "byte_rate": ("bytes/s", 1.25e9, True),
    "entropy": ("bit/byte", 8.0, False),
    "failed_share": ("", 1.0, False),  # of the connections opened in the window, those that did not get through
    "open_rate": ("connections/s", 1e6, True),
    "packet_rate": ("packets/s", 1.5e7, True),
    "peers": ("hosts", 65_536.0, True),  # distinct ones in the window
    "ports": ("ports", 65_536.0, True),  # distinct ones of responders in the window
    "reply_share": ("", 1.0, False),  # of all packets, those that came back
}
arrow: Any = pa  # its types are partial
ENDS, PORTS = ("orig_ip", "resp_ip"), ("orig_port", "resp_port", "proto")
MEANS = ("up_entropy_sum", "up_entropy_n")  # 1e-4 bits per byte, over the packets with payload; how many these are
SUMS = ("conn_new", "conn_established", "up_packets", "down_packets", "up_bytes", "down_bytes", *MEANS)
KINDS = ["string"] * 2 + ["uint16"] * 3 + ["bool"] * 2 + ["uint32"] * 2 + ["uint64"] * 3 + ["uint32"]
ROW = arrow.schema([arrow.field(*column, nullable=False) for column in zip(ENDS + PORTS + SUMS, KINDS, strict=True)])


class Slot(NamedTuple):
    """What moved in [number, number + 1) * SLOT."""

    sensor: str
    number: int
    seen: tuple[int, int]  # packets that the capture has received, and lost, so far
    batches: list[Any]  # of Arrow, each of the schema ROW: a row is a connection


@lru_cache(1 << 17)
def address(text: str) -> tuple[bytes, int]:
    """The order of an address among all (IPv4 is ::ffff:0:0/96), and a hash of 32 bits. OSError: it is none."""
    order = socket.inet_pton(socket.AF_INET6, text if ":" in text else "::ffff:" + text)
    hi, lo = int.from_bytes(order[:8]), int.from_bytes(order[8:])
    product = (lo ^ 0x9E3779B97F4A7C15) * (hi ^ 0xD1B54A32D192ED03)
    return order, fold(product >> 64 ^ product & WORD ^ lo)


@lru_cache(1 << 17)
def fold(value: int) -> int:
    """A hash of 64 bits in 32. Never 0."""
    product = value * 0x8CB92BA72F3D8DD7
    h = product >> 64 ^ product & WORD
    return max((h ^ h >> 32) & 0xFFFFFFFF, 1)


def door(port: int, proto: int) -> int:
    """A hash of 32 bits of a port and its protocol."""
    return fold(port << 16 | proto | 1 << 40)


def distinct(a: set[int], b: set[int]) -> int:
    """How many hashes two halves have: exact, or by linear counting (Whang and others, 1990), good to 2 %."""
    if max(len(a), len(b)) < EXACT:
        return len(a | b)
    return round(BITS * math.log(BITS / max(BITS - len({h % BITS for h in a} | {h % BITS for h in b}), 1)))


class Second:
    """What moved within a second: a table of the columns of ROW and, of each row, the slot that it belongs to."""

    def __init__(self, slots: list[Slot]) -> None:
        table = arrow.Table.from_batches([batch for slot in slots for batch in slot.batches], ROW)
        numbers = np.repeat(np.arange(len(slots)), [sum(batch.num_rows for batch in slot.batches) for slot in slots])
        self.table: Any = table.append_column("slot", arrow.array(numbers))
        self.half = slots[0].number * SLOT // SECOND // HALF
        opened = table.filter(table["conn_new"])
        self.sums = [self.summed(end) for end in ENDS]  # of each role
        self.opened: list[Any] = list(zip(*(opened[name].to_pylist() for name in ENDS + PORTS), strict=True))

    def summed(self, end: str) -> tuple[list[str], list[Any]]:
        """The addresses at an end, and SUMS of each: arrays of the shape (addresses,)."""
        found = self.table.group_by(end, use_threads=False).aggregate([(name, "sum") for name in SUMS])
        return found[end].to_pylist(), [found[name + "_sum"].to_numpy() for name in SUMS]

    def heaviest(self, role: int, who: str) -> tuple[str, int, int, int]:
        """The peer of an address in the connection with most bytes in a slot, and PORTS; of equals the smallest."""
        mine = self.table.filter(pc.field(ENDS[role]) == who).group_by(["slot", *ENDS, *PORTS])
        found = mine.aggregate([("up_bytes", "sum"), ("down_bytes", "sum")])
        names = "up_bytes_sum", "down_bytes_sum", "resp_port", "orig_port", ENDS[1 - role], "proto"
        rows = zip(*(found[name].to_pylist() for name in names), strict=True)
        order = min((-up - down, to, of, address(ip), proto, ip) for up, down, to, of, ip, proto in rows)
        return order[-1], order[2], order[1], order[4]


class Half:
    """What an address did in half a window: connections opened and got through; hashes of its peers and ports."""

    def __init__(self) -> None:
        self.opened, self.completed, self.peers, self.ports = 0, 0, set[int](), set[int]()


class Windows:
    """The windows of all addresses in one role."""

    def __init__(self, role: int) -> None:
        self.role, self.number, self.now, self.before = role, 0, dict[str, Half](), dict[str, Half]()

    def of(self, who: str) -> tuple[Half, Half]:
        """The window of an address: the half that runs, and the one before."""
        return self.now.get(who) or Half(), self.before.get(who) or Half()

    def take(self, second: Second) -> list[tuple[str, list[float]]]:
        """Adds a second. Gives the addresses that moved enough in it, in their order, and their vectors."""
        known, (new, through, out, back, size, _, entropy, measured) = second.sums[self.role]
        if second.half != self.number:
            self.before = self.now if second.half == self.number + 1 else {}
            self.now, self.number = {}, second.half
        for i in np.flatnonzero(new + through).tolist():
            if len(self.now) < MAX_HELD or known[i] in self.now:
                half = self.now.get(known[i]) or self.now.setdefault(known[i], Half())
                half.opened += int(new[i])
                half.completed += int(through[i])
        for *ends, _, port, proto in second.opened:
            if (half := self.now.get(ends[self.role])) and len(half.peers) < MAX_HELD:
                half.peers.add(address(ends[1 - self.role])[1])
                half.ports.add(door(port, proto))
        moved = [(*address(known[i]), i) for i in np.flatnonzero(out + back >= LEAST).tolist()]
        vectors: list[tuple[str, list[float]]] = []
        for _, _, i in sorted(sorted(moved, key=lambda m: m[1])[:MOST]):
            a, b = self.of(known[i])
            opened, bits = a.opened + b.opened, entropy[i] / max(measured[i], 1) / 1e4
            failed = max(opened - a.completed - b.completed, 0) / max(opened, 1)
            peers, ports, reply = distinct(a.peers, b.peers), distinct(a.ports, b.ports), back[i] / (out[i] + back[i])
            vector = size[i], bits, failed, new[i], out[i], peers, ports, reply
            vectors.append((known[i], [float(x) for x in vector]))
        return vectors
