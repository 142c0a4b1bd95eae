"""What an address did within a second, as eight numbers.

An address has two roles: 0, source (it opens connections), and 1, destination (they are opened to it). "Out" is what
the initiators sent, in either role. A vector is an address, a role and a second: shape (8,), physical units, FEATURES.
"""

from __future__ import annotations

import math
import socket
from collections import Counter, defaultdict
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

SLOT, SECOND = 40_000, 1_000_000  # microseconds
HALF = 10  # seconds: the window is the half of it that runs and the one before, 10 to 20 s
EXACT, BITS = 192, 8192  # distinct values in a half from which on they are not counted exactly; bits to count them with
LEAST, MOST = 3, 512  # packets without which a second says nothing; addresses of a role judged in it, by their hashes
MAX_HELD = 1 << 16  # addresses of a role in a half, and distinct values of one
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
PORTS = ("orig_port", "resp_port", "proto")
MEANS = ("up_entropy_sum", "up_entropy_n")  # 1e-4 bits per byte, over the packets with payload; how many these are
SUMS = ("conn_new", "conn_established", "up_packets", "down_packets", "up_bytes", "down_bytes", *MEANS)
arrow: Any = pa  # its types are partial


class Slot(NamedTuple):
    """What moved in [number, number + 1) * SLOT: rows of orig_ip, resp_ip, PORTS and SUMS, or Arrow batches of such."""

    sensor: str
    number: int
    seen: tuple[int, int]  # packets that the capture has received, and lost, so far
    rows: list[Any]


@lru_cache(1 << 17)
def address(text: str) -> tuple[bytes, int]:
    """The order of an address among all (IPv4 is ::ffff:0:0/96), and a hash of 32 bits. OSError: it is none."""
    order = socket.inet_pton(socket.AF_INET6, text if ":" in text else "::ffff:" + text)
    hi, lo = int.from_bytes(order[:8]), int.from_bytes(order[8:])
    product = (lo ^ 0x9E3779B97F4A7C15) * (hi ^ 0xD1B54A32D192ED03)
    return order, fold(product >> 64 ^ product & WORD ^ lo)


@lru_cache(1 << 17)
def fold(value: int) -> int:
    """A hash of 64 bits, or of a port (port << 16 | protocol | 1 << 40), in 32 bits. Never 0."""
    product = value * 0x8CB92BA72F3D8DD7
    h = product >> 64 ^ product & WORD
    return max((h ^ h >> 32) & 0xFFFFFFFF, 1)


def distinct(a: set[int], b: set[int]) -> int:
    """How many hashes two halves have: exact, or by linear counting (Whang and others, 1990), good to 2 %."""
    if max(len(a), len(b)) < EXACT:
        return len(a | b)
    return round(BITS * math.log(BITS / max(BITS - len({h % BITS for h in a} | {h % BITS for h in b}), 1)))


class Second:
    """What moved within a second. A row is a connection in a slot; all arrays have the shape (rows,)."""

    def __init__(self, slots: list[Slot]) -> None:
        rows, names = [row for s in slots for row in s.rows], PORTS + SUMS
        self.addresses: list[str]
        self.columns: dict[str, Any]
        if rows and isinstance(rows[0], pa.RecordBatch):
            sizes = [sum(b.num_rows for b in s.rows) for s in slots]
            t = arrow.Table.from_batches([batch.select(["orig_ip", "resp_ip", *names]) for batch in rows])
            ips = arrow.chunked_array(t["orig_ip"].chunks + t["resp_ip"].chunks).combine_chunks().dictionary_encode()
            self.addresses, ends = ips.dictionary.to_pylist(), ips.indices.to_numpy()
            self.columns = {name: t[name].to_numpy() for name in names}
        else:
            lists: list[Any] = list(zip(*rows, strict=True)) or [()] * (2 + len(names))
            sizes, code = [len(s.rows) for s in slots], dict[str, int]()
            ends: Any = np.array([code.setdefault(text, len(code)) for text in lists[0] + lists[1]], np.int64)
            self.addresses = list(code)
            self.columns = {name: np.array(x, np.int64) for name, x in zip(names, lists[2:], strict=True)}
        self.half = slots[0].number * SLOT // SECOND // HALF
        self.slot = np.repeat(np.arange(len(slots)), sizes)  # index into slots
        self.ends: tuple[Any, Any] = (
            ends[: len(self.slot)],
            ends[len(self.slot) :],
        )  # of each role: indices into addresses
        at = np.flatnonzero(
            self.columns["conn_new"]
        )  # rows that open a connection; opened: their slots, ends and PORTS
        columns = [self.slot, *self.ends, *(self.columns[name] for name in PORTS)]
        self.opened: list[tuple[int, ...]] = list(zip(*(column[at].tolist() for column in columns), strict=True))

    def heaviest(self, role: int, who: str) -> tuple[Any, ...]:
        """Who is at the other end of the row of an address with the most bytes, and PORTS."""
        rows = np.flatnonzero(self.ends[role] == self.addresses.index(who))
        row = rows[np.argmax((self.columns["up_bytes"] + self.columns["down_bytes"])[rows])]
        return self.addresses[int(self.ends[1 - role][row])], *(int(self.columns[name][row]) for name in PORTS)


class Half:
    """What addresses did in half a window: connections opened and got through; hashes of their peers and ports."""

    def __init__(self) -> None:
        self.opened, self.completed = Counter[str](), Counter[str]()
        self.peers, self.ports = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)


class Windows:
    """The windows of all addresses in one role."""

    def __init__(self, role: int) -> None:
        self.role, self.number, self.now, self.before = role, 0, Half(), Half()

    def take(self, second: Second) -> list[tuple[str, list[float]]]:
        """Adds a second. Gives the addresses that moved enough in it, in their order, and their vectors."""
        known, mine = second.addresses, second.ends[self.role]
        if second.half != self.number:
            self.before, self.now = self.now if second.half == self.number + 1 else Half(), Half()
            self.number = second.half
        counts = [np.bincount(mine, second.columns[name], len(known)) for name in SUMS]
        new, through, out, back, size, _, entropy, measured = counts
        a, b = self.now, self.before
        for i in np.flatnonzero(new + through).tolist():
            if len(a.opened) < MAX_HELD or known[i] in a.opened:
                a.opened[known[i]] += int(new[i])
                a.completed[known[i]] += int(through[i])
        for _, *ends, _, port, proto in second.opened:
            who, peer = known[ends[self.role]], known[ends[1 - self.role]]
            if who in a.opened and max(len(a.peers[who]), len(a.ports[who])) < MAX_HELD:
                a.peers[who].add(address(peer)[1])
                a.ports[who].add(fold(port << 16 | proto | 1 << 40))
        moved = [(*address(known[i]), i) for i in np.flatnonzero(out + back >= LEAST).tolist()]
        vectors: list[tuple[str, list[float]]] = []
        for _, _, i in sorted(sorted(moved, key=lambda m: m[1])[:MOST]):
            who, none = known[i], set[int]()
            opened, completed = a.opened[who] + b.opened[who], a.completed[who] + b.completed[who]
            v = size[i], entropy[i] / max(measured[i], 1) / 1e4, max(opened - completed, 0) / max(opened, 1), new[i]
            v += out[i], distinct(a.peers.get(who, none), b.peers.get(who, none))
            v += distinct(a.ports.get(who, none), b.ports.get(who, none)), back[i] / (out[i] + back[i])
            vectors.append((who, [float(x) for x in v]))
        return vectors
