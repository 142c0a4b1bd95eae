"""How rare a second of an address is, in bits, and where the alert line lies.

Evidence is the surprise of River's Half-Space Trees plus the rarest of the eight tails. River's score only ranks: of
evenly spread points it is 0.98. Surprise takes the same masses for what they are, counts in cells of known size: the
mean over the trees of log2 of how much emptier a point's cell is than if the window's points were spread evenly.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from river import anomaly

from .features import FEATURES, SECOND, WORD

TREES, HEIGHT, WINDOW = 25, 8, 2048  # of River's model; the window counts seconds of addresses
UNIT = 1 << 16  # points lie on a grid of 2^-16, surprise adds up in 2^-16 bit: the same on every machine
SAMPLE, MEMORY = 2048, 131_072  # points in the scaler's sample, and those back to which it reaches, about
TAIL_BINS, RANK_BINS, PER_BIT, LEAST_BITS = 256, 4096, 64, -16  # of a feature's tail; of the ranks of evidence
BLOCK, DAY = 600 * SECOND, 86_400 * SECOND  # an incident takes a block at least
MAX_KEPT = 1 << 16  # scores of another model
LOG2: Any = [math.floor(math.log2(n or 1) * UNIT) for n in range(2 * WINDOW + 3)]  # in UNITs, rounded down
LINE = 0.8  # the score at which there is an alert


def to4(value: float, steps: float = 1e4) -> float:
    """A value of at least 0 rounded to 1e-4, or to another whole number of steps, halves up."""
    return math.floor(value * steps + 0.5) / steps


def spread(v: Sequence[float]) -> Sequence[float]:
    """A vector with the logarithms of those features that spread over decades."""
    return [math.log1p(x) if decades else x for x, (_, _, decades) in zip(v, FEATURES.values(), strict=True)]


TOP = spread([top for _, top, _ in FEATURES.values()])


class Scaler:
    """Maps spread vectors to [0, 1] by what is usual: quantiles 0.05 to 0.995 of a random sample of the latest."""

    def __init__(self, seed: int) -> None:
        self.count, self.refit, self.random = 0, 1, seed & WORD
        self.sample: Any = np.zeros((SAMPLE, len(TOP)), np.float32)
        self.low, self.high = np.zeros(len(TOP)), np.ones(len(TOP))

    def learn(self, s: Sequence[float]) -> None:
        """Takes a spread vector into account."""
        at, self.count = self.count, self.count + 1
        held, reach = min(self.count, SAMPLE), min(self.count, MEMORY)
        if at >= SAMPLE:  # splitmix64 (Steele, Lea and Flood, 2014) says where it goes, if anywhere
            z = self.random = self.random + 0x9E3779B97F4A7C15 & WORD
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & WORD
            z = (z ^ z >> 27) * 0x94D049BB133111EB & WORD
            at = (z ^ z >> 31) % reach
        if at < SAMPLE:
            self.sample[at] = s
        if self.count >= self.refit:
            ordered = np.sort(self.sample[:held], axis=0).astype(float)
            self.low, high = ordered[int(0.05 * held)], ordered[int(0.995 * held)]
            least = np.maximum(np.maximum(abs(self.low), abs(high)) / 16, 1e-6)
            self.high = self.low + np.maximum(high - self.low, least)
            self.refit = self.count + min(self.count, max(64, reach // 8))

    def scale(self, s: Sequence[float]) -> dict[str, float]:
        """A spread vector as a point of River's, by name: the usual in 0.05 to 0.55; all 0 before any is learned."""
        z = (np.array(s) - self.low) / (self.high - self.low)
        below, above = 0.05 * np.exp(np.minimum(z, 0) * 10), 1 - 0.45 * np.exp(2 - 2 * np.maximum(z, 1))
        z = np.where(z < 0, below, np.where(z > 1, above, 0.05 + 0.5 * z))
        return {name: to4(float(x), UNIT) if self.count else 0.0 for name, x in zip(FEATURES, z, strict=True)}


def surprise(forest: Any, x: dict[str, float]) -> tuple[float, dict[str, float]]:
    """The surprise of a point in bits, from River's own nodes, and what the splits on each feature contribute to it.

    It lies between -HEIGHT, where all points are, and log2(WINDOW + 1), where none is.
    """
    total, fewest, share = 0, 0.1 * forest.window_size, UNIT * len(forest.trees)
    credit = dict.fromkeys(FEATURES, 0)
    for node in forest.trees:
        depth, here = 0, LOG2[2 * node.r_mass + 1]
        total += LOG2[2 * forest.window_size + 2] - here
        while depth < forest.height and node.r_mass >= fewest:  # a walk ends where River's does
            depth, split, before = depth + 1, node.feature, here
            node = node.children[x[split] >= node.threshold]
            here = LOG2[2 * node.r_mass + 1]
            credit[split] += before - here - UNIT
    return (total + sum(credit.values())) / share, {name: bits / share for name, bits in credit.items()}


class Learner:
    """What is usual of the addresses of one role. `factory` makes another River model in the place of the trees."""

    def __init__(self, seed: int, factory: Callable[[], Any] | None) -> None:
        self.model: Any = factory() if factory else anomaly.HalfSpaceTrees(TREES, HEIGHT, WINDOW, seed=seed)
        self.own, self.scored = np.zeros(MAX_KEPT) if factory else None, 0  # its latest scores, and how many it gave
        self.scaler, self.above = Scaler(seed), np.zeros((len(TOP), TAIL_BINS), np.int64)  # seconds in a bin or above
        self.ranks, self.n, self.block, self.peaks = np.zeros(RANK_BINS, np.int64), 0, 0, dict[str, int]()
        self.learned, self.began = 0, 0  # seconds of addresses; time judged when the ranks began, microseconds

    def rate(self, who: str, bits: float, now: int, elapsed: int, budget: float) -> float:
        """The calibrated score of evidence, 0 to 1, by its rank among the peaks; 0 before the first window is learned.

        A peak is the most that an address shows in a block. An incident takes so long, so as many peaks lie above a
        line as it would make incidents: the tail on LINE is the alerts that the budget has granted so far, per peak.
        `now` is capture time, `elapsed` time judged, in microseconds; `budget` is in alerts a day.
        """
        if self.learned < WINDOW:
            return 0
        self.began = self.began or max(elapsed, 1)
        at = int(min(max((bits - LEAST_BITS) * PER_BIT, 0), RANK_BINS - 1))
        tail, line = (int(self.ranks[at:].sum()) + 1) / (self.n + 1), self.granted(elapsed, budget) / (self.n + 1)
        score = to4(min(1, LINE * math.log(tail) / math.log(line))) if self.n and 0 < line < 1 else 0
        if self.block != now // BLOCK:
            self.block, self.peaks = now // BLOCK, {}
        if (peak := self.peaks.get(who)) is not None:
            self.n, self.ranks[peak], at = self.n - 1, self.ranks[peak] - 1, max(at, peak)
        self.n, self.ranks[at], self.peaks[who] = self.n + 1, self.ranks[at] + 1, at
        return score

    def granted(self, elapsed: int, budget: float) -> float:
        """How many alerts the budget has granted this role."""
        return budget * (elapsed - self.began) / DAY / 2 if self.began else 0


class Sight:
    """How a vector looks to a learner, before it is learned."""

    def __init__(self, learner: Learner, v: Sequence[float]) -> None:
        self.vector, self.spread = v, spread(v)
        self.point = learner.scaler.scale(self.spread)  # as the model takes it
        self.score = float(learner.model.score_one(self.point))  # the model's own
        shares = (to4(min(max(x / top, 0), 1), UNIT) for x, top in zip(self.spread, TOP, strict=True))
        self.bins = [min(int(share * TAIL_BINS), TAIL_BINS - 1) for share in shares]
        above = learner.above[range(len(self.bins)), self.bins].tolist()  # seconds in which a value was as high
        self.tails = [math.log2((learner.learned + 1) / (n + 1)) for n in above]  # bits
        if learner.own is None:
            bits, self.credit = surprise(learner.model, self.point) if learner.learned >= WINDOW else (0, {})
            bits += max(self.tails)
        else:  # how rare its score is among its own, 16 bits at most: the evidence is this alone
            held, at = min(learner.scored, MAX_KEPT), learner.scored % MAX_KEPT
            bits = math.log2((held + 1) / (np.count_nonzero(learner.own[:held] >= self.score) + 1))
            learner.own[at], learner.scored = self.score, learner.scored + 1
        self.evidence = float(np.float32(bits))  # bits

    def shares(self, learner: Learner) -> list[float]:
        """What part each feature has in what speaks for the evidence, 0 to 1."""
        bits = list(self.tails)
        if learner.own is None:
            rarest = max(bits)
            bits = [max(self.credit[name], 0) for name in FEATURES]
            bits[self.tails.index(rarest)] += rarest
        return [to4(b / (sum(bits) or 1)) for b in bits]

    def learn(self, learner: Learner) -> None:
        """Lets the learner take it for usual."""
        learner.model.learn_one(self.point)
        learner.scaler.learn(self.spread)
        learner.above += np.arange(TAIL_BINS) <= np.array(self.bins)[:, np.newaxis]
        learner.learned += 1
