"""From slots to scores over time: what netlyra-engine does, step by step, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.consumer import Consumer
from engine.features import SECOND, SLOT, Second, Slot, Windows
from engine.model import Learner, Sight


class Scored(NamedTuple):
    """A second of an address."""

    seconds: float  # since the stream began
    address: str
    vector: list[float]  # in physical units, as engine.features.FEATURES
    river: float  # River's score, 0 to 1
    evidence: float  # bits: surprise plus the rarest tail


def seconds(path: Path) -> Iterator[Second]:
    """The seconds of a file of packets or slots."""
    slots: list[Slot] = []
    with path.open("rb") as file:
        for slot in Consumer().slots(file, "auto"):
            if slots and slot.number * SLOT // SECOND > slots[-1].number * SLOT // SECOND:
                yield Second(slots)
                slots = []
            slots.append(slot)


def scores(path: Path, role: int = 0, window: int = 2048) -> Iterator[Scored]:
    """Scores, then learns, each second of each address in a role (0: source, 1: destination).

    A short capture needs a shorter window: before so many seconds of addresses are learned, River's score is 0.
    """
    from engine import model

    model.WINDOW = window
    windows, learner, start = Windows(role), Learner(1, None), 0
    for n, second in enumerate(seconds(path)):
        start = start or n
        for address, vector in windows.take(second):
            sight = Sight(learner, vector)
            yield Scored(n - start, address, vector, sight.score, sight.evidence)
            sight.learn(learner)
