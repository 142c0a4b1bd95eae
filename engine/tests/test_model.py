"""The model against the values that the Go one gives, and its parts against what they promise."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from engine.features import FEATURES, address, distinct, fold
from engine.model import LOG2, Learner, Scaler, Sight, spread, to4
from river import anomaly

from engine import model

VECTORS = Path(__file__).parent.parent.parent / "internal" / "detect" / "testdata" / "vectors.json"


def test_scaler_trees_and_tails_give_what_the_go_model_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = json.loads(VECTORS.read_text())
    monkeypatch.setattr(model, "WINDOW", golden["window"])
    learner = Learner(golden["seed"], None)
    for e in golden["evaluations"]:
        sight = Sight(learner, e["vector"])
        bits = sight.evidence - max(sight.tails)
        assert [round(x * model.UNIT) for x in sight.point.values()] == e["point"]
        assert to4(sight.score) == e["river"]
        assert to4(max(sight.tails)) == e["tail"]
        assert bits * model.TREES == pytest.approx(e["surprise"] / model.UNIT, abs=1e-4)
        if learner.learned >= golden["window"]:
            assert round(model.surprise(learner.model, sight.point)[0] * model.TREES * model.UNIT) == e["surprise"]
        sight.learn(learner)
    assert learner.learned > golden["window"] + 100


def test_surprise_is_what_its_splits_contribute() -> None:
    rng, forest = random.Random(1), anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=200, seed=5)
    for _ in range(200):
        forest.learn_one({name: rng.gauss(0.3, 0.05) for name in FEATURES})
    odd = dict.fromkeys(FEATURES, 0.3) | {"ports": 0.99}
    bits, credit = model.surprise(forest, odd)
    assert max(credit, key=credit.__getitem__) == "ports"
    assert sum(credit.values()) == pytest.approx(bits, abs=1.5 / 201)
    assert model.surprise(forest, dict.fromkeys(FEATURES, 0.3))[0] < bits <= math.log2(201)


def test_log2_is_the_same_everywhere() -> None:
    for n in range(1, 2 * model.WINDOW + 3):  # none is so near to a whole number that a library's last bit counts
        exact = math.log2(n) * model.UNIT
        assert LOG2[n] <= exact < LOG2[n] + 1
        assert n & (n - 1) == 0 or 1e-4 < exact - LOG2[n] < 1 - 1e-4


def test_distinct_is_exact_for_few_and_good_for_many() -> None:
    hashes = [fold(i) for i in range(20_000)]
    assert distinct(set(hashes[:191]), set(hashes[100:191])) == 191
    assert distinct(set(), set()) == 0
    for n in (192, 1000, 20_000):
        assert distinct(set(hashes[:n]), set(hashes[: n // 2])) == pytest.approx(n, rel=0.03)


def test_addresses_are_in_order() -> None:
    texts = ["::1", "10.0.0.1", "10.0.0.2", "192.0.2.255", "2001:db8::1", "fe80::1"]
    assert sorted(reversed(texts), key=address) == texts
    for wrong in ("10.0.0", "nobody", "10.0.0.1:80", "::g"):
        with pytest.raises(OSError):
            address(wrong)


def test_a_single_point_moves_no_range() -> None:
    scaler, usual = Scaler(1), spread([1000, 5, 0, 1, 10, 2, 2, 0.5])
    for _ in range(500):
        scaler.learn(usual)
    before = scaler.scale(usual)
    scaler.learn(spread([1.25e9, 8, 1, 1e6, 1.5e7, 65_536, 65_536, 1]))
    for _ in range(200):
        scaler.learn(usual)
    assert scaler.scale(usual) == before
    assert all(0 <= x <= 1 for x in scaler.scale(spread([0, 0, 0, 0, 1e9, 1e9, 1e9, 1])).values())


def test_a_score_is_as_rare_as_its_rank() -> None:
    learner = Learner(1, lambda: anomaly.HalfSpaceTrees(n_trees=1, height=1, window_size=10**6, seed=1))
    learner.learned, learner.n, learner.began = model.WINDOW, 999, 1
    learner.ranks[model.RANK_BINS // 4] = 999  # bits around 0
    day = model.DAY * 2 + 1
    assert learner.rate("a", 40.0, 600 * 10**6, day, 5) > model.LINE
    assert learner.rate("b", -15.0, 600 * 10**6, day, 5) == 0
    assert learner.granted(day, 5) == 5
    assert Learner(1, None).rate("a", 64.0, 0, day, 5) == 0
