"""What is too rare becomes an incident, and an incident an alert, in revisions (docs/wire-format.md)."""

import hashlib
import math
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import orjson

from .features import FEATURES, SECOND, Half, address, door
from .model import Learner, Sight, to4

MAX_NAMES = 4096  # peers and ports that an incident counts one by one
PROTOCOLS = {6: "TCP", 17: "UDP", 1: "ICMP", 58: "ICMPv6", 0x100: "ARP"}
Alert = dict[str, Any]


def when(micros: int) -> str:
    """A capture time as RFC 3339 in UTC with six decimals."""
    return f"{np.datetime64(micros, 'us')}Z"


def say(level: str, message: str, **figures: Any) -> None:
    """Tells something on standard error, as JSON."""
    line = {"time": when(time.time_ns() // 1000), "level": level, "msg": message, **figures}
    print(orjson.dumps(line).decode(), file=sys.stderr, flush=True)


def ten(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """The ten most frequent; of equals the smaller first."""
    return sorted(counts.items(), key=lambda m: (-m[1], m[0]))[:10]


def named(proto: int, port: int | None = None) -> str:
    """A protocol, with its port if it has one."""
    text = PROTOCOLS.get(proto, str(proto))
    return f"{port}/{text}" if port is not None and proto in (6, 17, 132) else text


class Incident:
    """All that is too rare of an address in a role, until it has been quiet for a block."""

    def __init__(self, sensor: str, role: int, who: str, now: int, seen: tuple[int, int]) -> None:
        self.sensor, self.role, self.who, self.opened, self.last, self.emitted = sensor, role, who, now, now, now
        self.id = hashlib.sha256(f"{sensor}|{who}|{role}|anomaly|{now}".encode()).hexdigest()[:16]
        self.rev, self.count, self.score, self.changed, self.accepted = 0, 0, 0.0, True, False
        self.seen = seen  # packets that the capture had received, and lost, before what it is about
        self.counts = tuple(Counter[Any]() for _ in range(4))  # peers, ports, protocols, initiators' ports since then

    def begin(self, now: Half, before: Half, main: tuple[str, int, int, int]) -> None:
        """Takes what was in the window: others may have asked a destination for other ports."""
        self.hosts, self.doors = now.peers | before.peers, now.ports | before.ports if self.role == 0 else set[int]()
        self.main = main  # peer, ports and protocol of the connection that is named until another is opened

    def evidence(self, score: float, sight: Sight, learner: Learner, now: int) -> None:
        """Takes a second that is too rare."""
        if score >= self.score:
            self.score, self.reasons = score, reasons(sight, learner)
            self.features = dict(zip(FEATURES, map(to4, sight.vector), strict=True))
            if learner.own is None:
                self.features["hst_score"] = to4(sight.score)
        self.count, self.last, self.changed = self.count + 1, now, True

    def gather(self, peer: str, orig_port: int, port: int, proto: int) -> None:
        """Takes a connection that is opened while the incident is open."""
        self.count += 1
        if max(map(len, self.counts)) < MAX_NAMES:
            order, code = address(peer)
            for counts, key in zip(self.counts, ((order, peer), (port, proto), proto, orig_port), strict=True):
                counts[key] += 1
            self.hosts.add(code)
            self.doors.add(door(port, proto))

    def alert(self, state: str, now: int, seen: tuple[int, int], detector: Alert) -> Alert:
        """The next revision, as it stands now that so many packets have been received and lost."""
        self.rev, self.emitted, self.changed = self.rev + 1, now, False
        (peer, src_port, dst_port, proto), (peers, ports, protocols, origins) = self.main, map(ten, self.counts)
        if peers:  # a port that is not the only one is 0
            peer, proto, dst_port, src_port = peers[0][0][1], protocols[0][0], ports[0][0][0], origins[0][0]
            dst_port, src_port = dst_port * (len(ports) == 1), src_port * (len(origins) == 1)
        (src, dst), lasted = (self.who, peer)[:: 1 - 2 * self.role], (self.last - self.opened) / SECOND
        lead, received, lost = self.reasons[0], seen[0] - self.seen[0], seen[1] - self.seen[1]
        numbers = [("peers", len(self.hosts), "hosts"), ("ports", len(self.doors), "ports")]
        numbers += [(lead["feature"] + "_seen", lead["value"], lead["unit"]), ("seconds", lasted, "s")]
        facts: list[Alert] = [{"name": "src_ip", "text": src}, {"name": "dst_ip", "text": dst}]
        facts += [{"name": name, "value": value, "unit": unit} for name, value, unit in numbers]
        summary, counterfactual = sentence(self.who, self.reasons)
        if self.accepted:
            facts.append({"name": "accepted", "text": "new normal"})
            summary += " It has gone on for so long that it counts as normal now."
        hosts = {"total": len(self.hosts), "top": [{"name": name, "count": n} for (_, name), n in peers]}
        doors = {"total": len(self.doors), "top": [{"name": named(p[1], p[0]), "count": n} for p, n in ports]}
        return (
            {"ts": when(self.opened), "src_ip": src, "dst_ip": dst, "src_port": src_port, "dst_port": dst_port}
            | {"proto": named(proto), "score": self.score, "features": self.features, "id": self.id, "rev": self.rev}
            | {"last_ts": when(self.last), "count": self.count, "state": state, "sensor": self.sensor}
            | {"category": "anomaly", "severity": "medium", "summary": summary, "facts": facts, "reasons": self.reasons}
            | {"counterfactual": counterfactual, "role": ("targets", "sources")[self.role], "detector": detector}
            | {"peers": hosts, "ports": doors, "capture_confidence": to4(1 - lost / max(received + lost, 1))}
        )


def reasons(sight: Sight, learner: Learner) -> list[Alert]:
    """The three features that say most, each held against the range that is usual in this network."""
    found, shares = list[Alert](), sight.shares(learner)
    for i, (name, (unit, _, decades)) in enumerate(FEATURES.items()):
        ends = learner.scaler.low[i], learner.scaler.high[i]
        low, high = (to4(float(f"{max(math.expm1(end) if decades else end, 0):.3g}")) for end in ends)
        reason = {"feature": name, "value": to4(sight.vector[i]), "unit": unit, "expected": {"low": low, "high": high}}
        found.append(reason | {"contribution": shares[i], "basis": "network"})
    return sorted(found, key=lambda r: -r["contribution"])[:3]


def text(value: float, unit: str = "") -> str:
    """A value to four digits, never as a power of ten."""
    return f"{float(f'{value:.4g}'):.15g} {unit}".rstrip()


def sentence(who: str, reasons: list[Alert]) -> tuple[str, str]:
    """What is strange, by the most telling value that is not usual, and what would have had to be different."""
    start = f"{who} behaves unlike the other hosts of this network: "
    for r in reasons:
        name, value, unit, (low, high) = r["feature"], r["value"], r["unit"], r["expected"].values()
        if not low <= value <= high:
            summary = f"{start}{name} is {text(value, unit)}, usually it is {text(low)} to {text(high, unit)}."
            bound = f"at least {text(low, unit)}" if value < low else f"at most {text(high, unit)}"
            return summary, f"No alert if {name} had been {bound}."
    told = ", ".join(f"{r['feature']} of {text(r['value'], r['unit'])}" for r in reasons)
    unless = "No alert if one of these had been what it usually is beside the others."
    return f"{start}{told} do not usually come together.", unless
