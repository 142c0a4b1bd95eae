"""The judge, who lets time pass, and the command netlyra-engine: records in, alerts as JSON lines out."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import pickle
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import orjson
import prometheus_client

from .consumer import Consumer, Unreadable
from .features import SECOND, SLOT, Second, Slot, Windows
from .model import BLOCK, LINE, WINDOW, Learner, Sight, to4
from .producer import Alert, Incident, when

WARM_UP = 50  # packets
STEP = 2 * SECOND  # of a silence so much counts as time judged
JUMP = 250 * SLOT  # a slot that is older by more: the clock was set back
ACCEPT = 1800 * SECOND  # what is too rare for longer is the new normal, and learned
MAX_INCIDENTS, MAX_PAST = 512, 128  # open at the same time; seconds for which it is known what had been seen
TERMINAL, TELL, SAVE = sys.stderr.isatty(), 60, 300  # seconds between two signs of life, and two times of saving


class Judge:
    """Decides, second by second, what is too rare. What it makes of a stream depends on nothing but the stream."""

    def __init__(self, seed: int, factory: Callable[[], Any] | None = None) -> None:
        self.windows, self.learners = (Windows(0), Windows(1)), (Learner(seed, factory), Learner(seed + 1, factory))
        self.slots, self.budget = list[Slot](), 5.0  # of the second that runs; alerts a day
        self.end, self.elapsed, self.seen = 0, 0, (0, 0)  # of the last slot; time judged; packets received and lost
        self.past: list[tuple[int, tuple[int, int]]] = [(0, (0, 0))]  # ends of seconds, and what was seen then
        self.incidents: dict[tuple[int, str], Incident] = {}  # the open ones, by role and address
        self.packets, self.raised, self.refused = 0, 0, 0  # incidents; refused: because too many were open

    def take(self, slot: Slot) -> Iterator[Alert]:
        """Takes the next slot. Gives the revisions that have become due."""
        start, last = slot.number * SLOT, self.slots[-1] if self.slots else slot
        if last.sensor != slot.sensor:
            raise Unreadable(f"a record of {slot.sensor!r} behind those of {last.sensor!r}: give each its own engine")
        if start < last.number * SLOT - JUMP:
            yield from self.finish()  # windows begin anew; what has been learned stays
            self.windows, self.end, self.slots = (Windows(0), Windows(1)), start, []
        elif start // SECOND > last.number * SLOT // SECOND:
            yield from self.judge(start, slot.seen)
        self.slots.append(slot)

    def judge(self, start: int, seen: tuple[int, int]) -> Iterator[Alert]:
        """Judges the second that has ended; the next slot begins at `start`."""
        second = Second(self.slots)
        moved = [windows.take(second) for windows in self.windows]
        yield from self.go_through(second)
        self.elapsed += min(max(start - self.end, 0), STEP)
        for role, vectors in enumerate(moved):
            for who, vector in vectors:
                yield from self.evaluate(second, role, who, vector)
        self.seen, self.past = seen, [*self.past[1 - MAX_PAST :], (self.end, seen)]
        yield from self.close(start - BLOCK)
        self.end, self.slots = max(self.end, start), []

    def go_through(self, second: Second) -> Iterator[Alert]:
        """Goes through the slots of a second: what incidents gather in each, and the revisions that become due."""
        self.packets += int(second.columns["up_packets"].sum() + second.columns["down_packets"].sum())
        gathered: list[list[Callable[[], None]]] = [[] for _ in self.slots]
        for slot, *codes, _, port, proto in second.opened if self.incidents else []:
            ends = [second.addresses[code] for code in codes]
            for incident, peer in ((self.incidents.get((role, ends[role])), ends[1 - role]) for role in (0, 1)):
                if incident:
                    gathered[slot].append(partial(incident.gather, peer, port, proto))
        for slot, news in zip(self.slots, gathered, strict=True):
            start = slot.number * SLOT
            self.elapsed += min(max(start - self.end, 0), STEP) if self.end else 0
            self.elapsed += max(start + SLOT - max(self.end, start), 0)
            self.end, self.seen = max(self.end, start + SLOT), slot.seen
            for gather in news:
                gather()
            yield from self.emit(self.incidents.values())

    def evaluate(self, second: Second, role: int, who: str, vector: list[float]) -> Iterator[Alert]:
        """Judges a second of an address, and learns from it unless the address is in an incident."""
        learner, incident = self.learners[role], self.incidents.get((role, who))
        sight = Sight(learner, vector)
        score = learner.rate(who, sight.evidence, self.end, self.elapsed, self.budget)
        if score >= LINE and incident is None and len(self.incidents) < MAX_INCIDENTS:
            before = max((p for p in self.past if p[0] <= self.end - 20 * SECOND), default=self.past[0])[1]
            window = self.windows[role].now, self.windows[role].before
            incident = Incident(self.slots[0].sensor, role, who, self.end, window, before)
            self.incidents[role, who], self.raised = incident, self.raised + 1
        if score >= LINE and incident is not None:
            incident.evidence(score, sight, learner, self.end, second.heaviest(role, who))
            yield from self.emit([incident])
        self.refused += score >= LINE and incident is None
        if incident is not None and not incident.accepted and self.end - incident.opened >= ACCEPT:
            incident.accepted = incident.changed = True
        if incident is None or incident.accepted:
            sight.learn(learner)

    def emit(self, incidents: Iterable[Incident]) -> Iterator[Alert]:
        """The revisions that are due: the first at once, later ones at most once a second."""
        for incident in incidents:
            if incident.changed and (incident.rev == 0 or self.end - incident.emitted >= SECOND):
                yield incident.alert("open", self.end, self.seen, self.parts())

    def close(self, since: float) -> Iterator[Alert]:
        """Closes the incidents that have been quiet since a capture time."""
        for key in [key for key, incident in self.incidents.items() if incident.last <= since]:
            yield self.incidents.pop(key).alert("closed", self.end, self.seen, self.parts())

    def finish(self) -> Iterator[Alert]:
        """Closes all: the stream ends, or time begins anew, in the middle of a second."""
        yield from self.go_through(Second(self.slots)) if self.slots else ()
        yield from self.close(float("inf"))
        self.past = [(0, (0, 0))]

    def parts(self) -> dict[str, float]:
        """How far it has learned, by part: 0 to 1."""
        parts = {"warm_up": to4(min(self.packets / WARM_UP, 1))}
        for role, learner in zip(("source", "destination"), self.learners, strict=True):
            parts[f"model_{role}"] = to4(min(learner.learned / WINDOW, 1))
            parts[f"calibration_{role}"] = to4(min(learner.granted(self.elapsed, self.budget), 1))
        return parts

    def figures(self, consumer: Consumer, began: float) -> dict[str, float]:
        """What there is to know of a run that began at a time of time.monotonic."""
        rate = round(self.packets / (time.monotonic() - began))
        return (
            {"records": consumer.records, "malformed": consumer.malformed, "missing": consumer.missing}
            | {"packets": self.packets, "packets_per_second": rate, "capture_seconds": self.elapsed // SECOND}
            | {"incidents": self.raised, "incidents_open": len(self.incidents), "incidents_refused": self.refused}
            | {"learning": to4(sum(self.parts().values()) / len(self.parts()))}
        )


def say(level: str, message: str, **figures: float) -> None:
    """Tells something on standard error: a line of text on a terminal, that of signs of life anew, JSON elsewhere."""
    line = orjson.dumps({"time": when(time.time_ns() // 1000), "level": level, "msg": message, **figures}).decode()
    if TERMINAL:
        line = "\r\x1b[K" + "  ".join([message, *(f"{k.replace('_', ' ')} {v:,}" for k, v in figures.items())])
    print(line, end="" if TERMINAL and message == "reading" else "\n", file=sys.stderr, flush=True)


def load(path: Path, header: bytes) -> Judge:
    """The judge that was saved. Raises ValueError with what to do."""
    about, data = path.stat(), path.read_bytes()
    if about.st_uid != os.geteuid() or about.st_mode & 0o022:  # a pickle is a program
        raise ValueError(f"{path}: others may have written it, so it is not read")
    check, body = data[len(header) :][:4], data[len(header) + 4 :]
    if not data.startswith(header) or zlib.crc32(body) != int.from_bytes(check):
        raise ValueError(f"{path}: damaged, or not of {header.decode().strip()}: move it away to begin anew")
    return pickle.loads(body)


def save(path: Path, header: bytes, judge: Judge) -> None:
    """Replaces the state as a whole, or not at all."""
    part, body = path.with_name(path.name + ".part"), pickle.dumps(judge)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(header + zlib.crc32(body).to_bytes(4) + body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def factory(text: str) -> Callable[[], Any]:
    """MODULE:FACTORY, of which the module is looked for in the working directory too."""
    sys.path.insert(0, os.getcwd())
    module, _, name = text.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
        _ = make().score_one, make().learn_one
    except Exception as error:
        raise ValueError(f"--model {text} makes no River anomaly model: {error!r}") from error
    return make


def endpoint(text: str) -> tuple[str, int]:
    """HOST:PORT, or a port of the loopback address."""
    host, _, port = text.rpartition(":")
    if not 0 < int(port) < 1 << 16:
        raise ValueError
    return host or "127.0.0.1", int(port)


def options(args: list[str] | None) -> argparse.Namespace:
    """The command line."""
    about = "Reads what netlyra analyze --emit packets, or slots, writes, and prints alerts as JSON lines."
    p = argparse.ArgumentParser("netlyra-engine", description=about)
    p.add_argument("file", help="records; - is standard input")
    p.add_argument("--input", choices=["auto", "packets", "slots"], default="auto", help="default: by the first byte")
    p.add_argument("--alert-budget", type=float, default=5, metavar="N", help="alerts a day (default: %(default)s)")
    p.add_argument("--final", action="store_true", help="print each incident once, in its last state, by time")
    p.add_argument("--seed", type=int, default=1, help="of the trees (default: %(default)s)")
    p.add_argument("--model", metavar="MODULE:FACTORY", help="another River anomaly model in the place of the trees")
    p.add_argument("--state", type=Path, metavar="FILE", help="go on from what was learned, and save it at the end")
    p.add_argument("--metrics", type=endpoint, metavar="[HOST:]PORT", help="serve /metrics (HOST: 127.0.0.1)")
    o = p.parse_args(args)
    return o if o.alert_budget > 0 else p.error("--alert-budget: must be positive")


def run(o: argparse.Namespace) -> int:
    """Judges the stream to its end. Gives the exit status."""
    header = f"netlyra-engine 1, river {version('river')}, model {o.model}, seed {o.seed}\n".encode()
    make = factory(o.model) if o.model else None  # which a state's own model may need, too
    judge = load(o.state, header) if o.state and o.state.exists() else Judge(o.seed, make)
    stream = sys.stdin.buffer if o.file == "-" else open(o.file, "rb")  # noqa: SIM115 (to the end)
    consumer, final, status = Consumer(cast(BufferedReader, stream), partial(say, "WARN")), dict[str, Alert](), 0
    judge.budget, began = o.alert_budget, time.monotonic()
    told, saved = began, began

    def stop(*_: Any) -> None:
        consumer.stopped = True
        os.dup2(os.open(os.devnull, os.O_RDONLY), consumer.stream.fileno())  # the stream ends: what was read is judged

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if o.metrics:
        for name in judge.figures(consumer, began):
            gauge = prometheus_client.Gauge("netlyra_engine_" + name, name.replace("_", " "))
            gauge.set_function(lambda name=name: judge.figures(consumer, began)[name])
        prometheus_client.start_http_server(o.metrics[1], o.metrics[0])

    def put(alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            final[alert["id"]] = alert
            if not o.final:
                print(orjson.dumps(final.pop(alert["id"])).decode(), flush=True)

    try:
        for slot in consumer.slots(o.input):
            put(judge.take(slot))
            now = time.monotonic()
            if now - told > (0.5 if TERMINAL else TELL):
                say("INFO", "reading", **judge.figures(consumer, began))
                told = now
            if o.state and now - saved > SAVE:
                save(o.state, header, judge)
                saved = now
    except Unreadable as problem:
        status = 3
        say("ERROR", str(problem))
    put(judge.finish() if not o.state else ())
    for alert in sorted(final.values(), key=lambda a: (a["ts"], a["id"])):
        print(orjson.dumps(alert).decode())
    sys.stdout.flush()
    if o.state:
        save(o.state, header, judge)
    say("INFO", "ended", **judge.figures(consumer, began))
    return status


def main(args: list[str] | None = None) -> int:
    """Runs the command. Exit status: 0 all judged, 1 failed, 2 wrong usage, 3 the stream was damaged or cut off."""
    o = options(args)
    gc.set_threshold(100_000, 20, 100)  # rows come and go by the million, and have no cycles
    try:
        return run(o)
    except BrokenPipeError:  # nobody reads on; the state stays as it was saved last
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (OSError, ValueError) as error:
        say("ERROR", str(error))
        return 1
