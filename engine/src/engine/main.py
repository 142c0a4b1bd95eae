"""The judge, who lets time pass, and the command netlyra-engine: records in, alerts as JSON lines out."""

import gzip
import os
import pickle
import pkgutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import orjson
from prometheus_client import core, start_http_server

from . import __version__
from .consumer import Consumer, Unreadable
from .features import HALF, SECOND, SLOT, Second, Slot, Windows
from .model import BLOCK, LINE, WINDOW, Learner, Sight, to4
from .producer import Alert, Incident, say

WARM_UP, SEED = 50, 1  # packets; of the trees and samples, as netlyra has it
STEP = 2 * SECOND  # of a silence so much counts as time judged
JUMP = 250 * SLOT  # a slot that is older by more: the clock was set back
ACCEPT = 1800 * SECOND  # what is too rare for longer is the new normal, and learned
MAX_INCIDENTS, PERIOD = 512, 60  # open at the same time; seconds between two signs of life, the state is saved then too
GAUGES = ("incidents_open", "learning", "sensors")  # of the figures; the others count


class Judge:
    """Decides, second by second, what is too rare. What it makes of a stream depends on nothing but the stream."""

    def __init__(self, factory: Callable[[], Any] | None = None) -> None:
        self.windows, self.learners = (Windows(0), Windows(1)), (Learner(SEED, factory), Learner(SEED + 1, factory))
        self.slots, self.budget = list[Slot](), 5.0  # of the second that runs; alerts a day
        self.end, self.elapsed, self.seen = 0, 0, (0, 0)  # of the last slot; time judged; packets received and lost
        self.past = deque([(0, 0)], 2 * HALF + 1)  # what was seen at the ends of the latest seconds
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
        self.seen = seen
        self.past.append(seen)
        yield from self.close(start - BLOCK)
        self.end, self.slots = max(self.end, start), []

    def go_through(self, second: Second) -> Iterator[Alert]:
        """Goes through a second: what incidents gather in it, and the revisions that become due in its slots."""
        self.packets += sum(int(sum(packets)) for packets in second.sums[0][1][2:4])
        for orig, resp, *ports in second.opened if self.incidents else ():
            for who, peer in (((0, orig), resp), ((1, resp), orig)):
                if incident := self.incidents.get(who):
                    incident.gather(peer, *ports)
        for slot in self.slots:
            start = slot.number * SLOT
            self.elapsed += min(max(start - self.end, 0), STEP) if self.end else 0
            self.elapsed += max(start + SLOT - max(self.end, start), 0)
            self.end, self.seen = max(self.end, start + SLOT), slot.seen
            yield from self.emit(self.incidents.values())

    def evaluate(self, second: Second, role: int, who: str, vector: list[float]) -> Iterator[Alert]:
        """Judges a second of an address, and learns from it unless the address is in an incident."""
        learner, incident = self.learners[role], self.incidents.get((role, who))
        sight = Sight(learner, vector)
        score = learner.rate(who, sight.evidence, self.end, self.elapsed, self.budget)
        if score >= LINE and incident is None and len(self.incidents) < MAX_INCIDENTS:
            incident = Incident(self.slots[0].sensor, role, who, self.end, self.past[0])
            incident.begin(*self.windows[role].of(who), second.heaviest(role, who))
            self.incidents[role, who], self.raised = incident, self.raised + 1
        if score >= LINE and incident is not None:
            incident.evidence(score, sight, learner, self.end)
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
                yield incident.alert("open", self.end, self.seen, self.detector())

    def close(self, since: float) -> Iterator[Alert]:
        """Closes the incidents that have been quiet since a capture time."""
        for key in [key for key, incident in self.incidents.items() if incident.last <= since]:
            yield self.incidents.pop(key).alert("closed", self.end, self.seen, self.detector())

    def finish(self) -> Iterator[Alert]:
        """Closes all: the stream ends, or time begins anew, in the middle of a second."""
        yield from self.go_through(Second(self.slots)) if self.slots else ()
        yield from self.close(float("inf"))
        self.past = deque([(0, 0)], 2 * HALF + 1)

    def detector(self) -> Alert:
        """How far it has learned, in all and by part: 0 to 1."""
        parts = {"warm_up": to4(min(self.packets / WARM_UP, 1))}
        for role, learner in zip(("source", "destination"), self.learners, strict=True):
            parts[f"model_{role}"] = to4(min(learner.learned / WINDOW, 1))
            parts[f"calibration_{role}"] = to4(min(learner.granted(self.elapsed, self.budget), 1))
        learning = to4(sum(parts.values()) / len(parts))
        return {"name": "netlyra-engine", "version": __version__, "learning": learning, "parts": parts}

    def figures(self, consumer: Consumer) -> dict[str, Any]:
        """What there is to know of a run."""
        return (
            {"records": consumer.records, "malformed": consumer.malformed, "missing": consumer.missing}
            | {"packets": self.packets, "capture_seconds": self.elapsed // SECOND, "incidents": self.raised}
            | {"incidents_open": len(self.incidents), "incidents_refused": self.refused}
            | {"learning": self.detector()["learning"]}
        )


def load(path: Path, header: bytes) -> Any:
    """What was saved. Raises ValueError with what to do."""
    if (about := path.stat()).st_uid != os.geteuid() or about.st_mode & 0o022:  # a pickle is a program
        raise ValueError(f"{path}: others may have written it, so it is not read")
    with suppress(Exception), gzip.open(path) as file:
        if file.readline() == header:
            return pickle.loads(file.read())  # to the end, which has a checksum
    raise ValueError(f"{path}: damaged, or not of {header.decode().strip()}: move it away to begin anew")


def save(path: Path, header: bytes, judge: Any) -> None:
    """Replaces the state as a whole, or not at all."""
    part = path.with_name(path.name + ".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(gzip.compress(header + pickle.dumps(judge), 1))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def factory(text: str) -> Callable[[], Any]:
    """MODULE:FACTORY, of which the module is looked for in the working directory too."""
    sys.path.insert(0, os.getcwd())
    try:
        make = pkgutil.resolve_name(text)
        _ = make().score_one, make().learn_one
    except Exception as error:
        raise ValueError(f"--model {text} makes no River anomaly model: {error!r}") from error
    return make


class Metrics(NamedTuple):
    """What /metrics shows."""

    figures: Callable[[], dict[str, Any]]

    def collect(self) -> Iterator[core.Metric]:
        """The figures, as the client library asks for them."""
        for name, value in self.figures().items():
            family = core.GaugeMetricFamily if name in GAUGES else core.CounterMetricFamily
            yield family("netlyra_engine_" + name, name.replace("_", " "), value=value)


def last(alerts: Iterable[Alert]) -> list[Alert]:
    """Each incident once, in its last state, by time."""
    return sorted({alert["id"]: alert for alert in alerts}.values(), key=lambda a: (a["ts"], a["id"]))


def run(o: Any) -> int:
    """Judges the stream to its end. Gives the exit status."""
    header = f"netlyra-engine {__version__}, model {o.model}\n".encode()
    make = factory(o.model) if o.model else None  # which a state's own model may need, too
    judge = load(o.state, header) if o.state and o.state.exists() else Judge(make)
    judge.budget, consumer, stopped, problems = o.alert_budget, Consumer(), list[int](), list[Unreadable]()

    def stop(number: int, _: Any) -> None:
        stopped.append(number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), o.file.fileno())  # the stream ends: what was read is judged

    def note(message: str) -> None:
        if o.state:
            save(o.state, header, judge)
        say("INFO", message, **judge.figures(consumer))

    def alerts() -> Iterator[Alert]:
        due = time.monotonic() + PERIOD
        try:
            for slot in consumer.slots(o.file, o.input):
                yield from judge.take(slot)
                if time.monotonic() > due:
                    note("reading")
                    due = time.monotonic() + PERIOD
        except Unreadable as problem:
            problems.append(problem)
            say("WARN" if stopped else "ERROR", str(problem))
        yield from judge.finish() if not o.state else ()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if o.metrics:
        core.REGISTRY.register(Metrics(lambda: judge.figures(consumer)))
        start_http_server(o.metrics, o.metrics_host)
    for alert in last(alerts()) if o.final else alerts():
        print(orjson.dumps(alert).decode(), flush=True)
    note("ended")
    return 3 if problems and not stopped else 0


@click.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--brokers", metavar="LIST", help="Read from Kafka and write there, in the place of FILE.")
@click.option("--input", type=click.Choice(["auto", "packets", "slots"]), default="auto", help="By its first byte.")
@click.option("--alert-budget", type=click.FloatRange(0, min_open=True), default=5.0, help="Alerts a day.")
@click.option("--final", is_flag=True, help="Print each incident once, in its last state, by time.")
@click.option("--model", metavar="MODULE:FACTORY", help="Another River anomaly model in the place of the trees.")
@click.option("--state", type=click.Path(path_type=Path), help="Go on from what was learned, and save it.")
@click.option("--metrics", type=click.IntRange(1, 65_535), metavar="PORT", help="Serve /metrics.")
@click.option("--metrics-host", default="127.0.0.1", help="Address to serve them on.")
def main(**options: Any) -> None:
    """Reads what netlyra analyze --emit packets, or slots, writes to FILE, and prints alerts as JSON lines.

    FILE - is standard input. Exit status: 0 all judged, 1 failed, 2 wrong usage, 3 the stream was damaged or cut off.
    """
    if bool(options["file"]) == bool(options["brokers"]):
        raise click.UsageError("FILE or --brokers, one of them")
    try:
        if options["brokers"]:
            from .kafka import follow  # which needs what is above

            sys.exit(follow(SimpleNamespace(**options)))
        sys.exit(run(SimpleNamespace(**options)))
    except BrokenPipeError:  # nobody reads on; the state stays as it was saved last
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (OSError, ValueError) as error:
        say("ERROR", str(error))
        sys.exit(1)
