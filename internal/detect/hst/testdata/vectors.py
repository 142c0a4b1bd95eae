"""Write vectors.json: points and the scores that River's Half-Space Trees give them, score before learn.

    pip install river==0.26.1 && python vectors.py > vectors.json

Coordinates are whole numbers of 2^-16, scores are written so that they read back to the same float.
"""

from __future__ import annotations

import json
import random
import sys

import river
from river import anomaly

CONFIGS = [
    {"trees": 10, "height": 8, "window": 250, "features": 3, "seed": 42, "points": 900},
    {"trees": 25, "height": 6, "window": 64, "features": 7, "seed": 0, "points": 400},
    {"trees": 3, "height": 12, "window": 100, "features": 2, "seed": -7, "points": 350},
    {"trees": 5, "height": 3, "window": 3, "features": 1, "seed": 2**40 + 17, "points": 60},
    {
        "trees": 8,
        "height": 5,
        "window": 50,
        "features": 4,
        "seed": 99,
        "points": 300,
        "limits": [[0.0, 1.0], [0.0, 0.25], [-1.0, 1.0], [0.5, 8.0]],
    },
]


def vector(config: dict, rng: random.Random) -> dict:
    """Clustered points with some uniform ones, and their scores."""
    names = [f"f{i:03d}" for i in range(config["features"])]
    limits = config.get("limits")
    model = anomaly.HalfSpaceTrees(
        n_trees=config["trees"],
        height=config["height"],
        window_size=config["window"],
        seed=config["seed"],
        limits=None if limits is None else dict(zip(names, map(tuple, limits), strict=True)),
    )
    points, scores = [], []
    for _ in range(config["points"]):
        if rng.random() < 0.1:
            point = [rng.randrange(-2000, 68_000) for _ in names]
        else:
            point = [min(65_535, max(0, int(rng.gauss(20_000 + 3000 * i, 2500)))) for i in range(len(names))]
        x = {name: value / 65_536 for name, value in zip(names, point, strict=True)}
        scores.append(model.score_one(x))
        model.learn_one(x)
        points.append(point)
    return {**{k: v for k, v in config.items() if k != "points"}, "points": points, "scores": scores}


def main() -> None:
    rng = random.Random(1)
    json.dump(
        {"river": river.__version__, "vectors": [vector(c, rng) for c in CONFIGS]}, sys.stdout, separators=(",", ":")
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
