"""What is too rare becomes an incident, and an incident an alert, in revisions (docs/wire-format.md)."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from . import __version__
from .features import FEATURES, SECOND, Half, address, fold
from .model import Learner, Sight, to4

MAX_NAMES = 4096  # peers and ports that an incident counts one by one
PROTOCOLS = {6: "TCP", 17: "UDP", 1: "ICMP", 58: "ICMPv6", 0x100: "ARP"}
Alert = dict[str, Any]


def when(micros: int) -> str:
    """A capture time as RFC 3339 in UTC with six decimals."""
    return (datetime(1970, 1, 1) + timedelta(microseconds=micros)).isoformat(timespec="microseconds") + "Z"


def ten(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """The ten most frequent; of equals the smaller first."""
    return sorted(counts.items(), key=lambda m: (-m[1], m[0]))[:10]


class Incident:
    """All that is too rare of an address in a role, until it has been quiet for a block."""

    def __init__(
        self, sensor: str, role: int, who: str, now: int, window: tuple[Half, Half], seen: tuple[int, int]
    ) -> None:
        self.sensor, self.role, self.who, self.opened, self.last, self.emitted = sensor, role, who, now, now, now
        self.id = hashlib.sha256(f"{sensor}|{who}|{role}|anomaly|{now}".encode()).hexdigest()[:16]
        self.rev, self.count, self.score, self.changed, self.accepted = 0, 0, 0.0, True, False
        self.seen = seen  # packets that the capture had received, and lost, before what it is about
        self.hosts = {h for half in window for h in half.peers.get(who, ())}  # hashes; those of the window too
        self.doors = {h for half in window for h in half.ports.get(who, ())}
        self.peers, self.ports = Counter[tuple[bytes, str]](), Counter[tuple[int, int]]()  # since it was raised

    def evidence(self, score: float, sight: Sight, learner: Learner, now: int, main: tuple[Any, ...]) -> None:
        """Takes a second that is too rare; `main` is the peer and PORTS of its heaviest connection."""
        if score >= self.score:
            self.score, self.main, self.reasons = score, main, reasons(sight, learner)
            self.features = dict(zip(FEATURES, map(to4, sight.vector), strict=True))
            self.features |= {} if learner.own else {"hst_score": to4(sight.score)}
        self.count, self.last, self.changed = self.count + 1, now, True

    def gather(self, peer: str, port: int, proto: int) -> None:
        """Takes a connection that is opened while the incident is open."""
        self.count += 1
        if max(len(self.peers), len(self.ports)) < MAX_NAMES:
            self.peers[address(peer)[0], peer] += 1
            self.ports[port, proto] += 1
            self.hosts.add(address(peer)[1])
            self.doors.add(fold(port << 16 | proto | 1 << 40))

    def alert(self, state: str, now: int, seen: tuple[int, int], parts: dict[str, float]) -> Alert:
        """The next revision, as it stands now that so many packets have been received and lost."""
        self.rev, self.emitted, self.changed = self.rev + 1, now, False
        peers, ports, (peer, orig_port, port, proto) = ten(self.peers), ten(self.ports), self.main
        if peers:
            peer, orig_port, (port, proto) = peers[0][0][1], 0, ports[0][0]
            port *= len(ports) == 1
        learning = to4(sum(parts.values()) / len(parts))
        src, dst = (self.who, peer)[:: 1 - 2 * self.role]
        lead, received, lost = self.reasons[0], seen[0] - self.seen[0], seen[1] - self.seen[1]
        numbers = [("peers", len(self.hosts), "hosts"), ("ports", len(self.doors), "ports")]
        numbers += [(lead["feature"] + "_seen", lead["value"], lead["unit"])]
        numbers += [("seconds", (self.last - self.opened) / SECOND, "s")]
        facts: list[Alert] = [{"name": "src_ip", "text": src}, {"name": "dst_ip", "text": dst}]
        facts += [{"name": name, "value": value, "unit": unit} for name, value, unit in numbers]
        summary, counterfactual = sentence(self.who, self.reasons)
        if self.accepted:
            facts.append({"name": "accepted", "text": "new normal"})
            summary += " It has gone on for so long that it counts as normal now."
        names = [(f"{p}/" if n in (6, 17, 132) else "") + PROTOCOLS.get(n, str(n)) for (p, n), _ in ports]
        tops = (
            [{"name": p[1], "count": n} for p, n in peers],
            [{"name": p, "count": n[1]} for p, n in zip(names, ports, strict=True)],
        )
        return (
            {"ts": when(self.opened), "src_ip": src, "dst_ip": dst, "src_port": orig_port, "dst_port": port}
            | {"proto": PROTOCOLS.get(proto, str(proto)), "score": self.score, "features": self.features, "id": self.id}
            | {"rev": self.rev, "last_ts": when(self.last), "count": self.count, "state": state, "sensor": self.sensor}
            | {"category": "anomaly", "severity": "medium", "summary": summary, "facts": facts, "reasons": self.reasons}
            | {"counterfactual": counterfactual, "role": ("targets", "sources")[self.role]}
            | {"peers": {"total": len(self.hosts), "top": tops[0]}, "ports": {"total": len(self.doors), "top": tops[1]}}
            | {"detector": {"name": "netlyra-engine", "version": __version__, "parts": parts, "learning": learning}}
            | {"capture_confidence": to4(1 - lost / max(received + lost, 1))}
        )


def reasons(sight: Sight, learner: Learner) -> list[Alert]:
    """The three features that say most, each held against the range that is usual in this network."""
    found, shares = list[Alert](), sight.shares(learner)
    for i, (name, (unit, _, decades)) in enumerate(FEATURES.items()):
        ends = learner.scaler.low[i], learner.scaler.high[i]
        low, high = (float(f"{max(math.expm1(end) if decades else end, 0):.3g}") for end in ends)
        reason = {"feature": name, "value": to4(sight.vector[i]), "unit": unit, "expected": {"low": low, "high": high}}
        found.append(reason | {"contribution": shares[i], "basis": "network"})
    return sorted(found, key=lambda r: -r["contribution"])[:3]


def sentence(who: str, reasons: list[Alert]) -> tuple[str, str]:
    """What is strange, by the most telling value that is not usual, and what would have had to be different."""
    start, told = f"{who} behaves unlike the other hosts of this network: ", list[str]()
    for name, value, unit, expected in ((r["feature"], r["value"], r["unit"], r["expected"]) for r in reasons):
        low, is_now, high = (f"{float(f'{x:.4g}'):.15g}" for x in (expected["low"], value, expected["high"]))
        told.append(f"{name} {is_now} {unit}".rstrip())
        if value < expected["low"] or value > expected["high"]:
            bound = f"at least {low}" if value < expected["low"] else f"at most {high}"
            return f"{start}{told[-1]}, usually {low} to {high}.", f"No alert if {name} had been {bound}."
    return f"{start}{', '.join(told)} do not usually come together.", "No alert if one of these had been more usual."
