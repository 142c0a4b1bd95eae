#!/usr/bin/env python3
"""Hold the detector against the labelled development captures and the committed previous result.

usage: tools/eval.py [--update]
Composes the captures that lie beside the project (../shared/captures, or below NETLYRA_SHARED), has ./netlyra analyze
them, prints the table of their evaluate.py, and compares with docs/eval.json: exit status 1 if something got worse.
--update writes docs/eval.json anew. Where the captures are not there it says so and that is all.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "eval.json"
SCHEDULES = ("office-dev", "office-dev-benign")
SLOWER_SECONDS = 0.5  # a delay that grew by less is as good as before
SLOWER_SHARE = 1.2


def captures() -> Path:
    shared = os.environ.get("NETLYRA_SHARED")
    return (Path(shared) if shared else ROOT.parent / "shared") / "captures"


def analyse(source: Path, name: str, work: Path) -> tuple[Path, Path]:
    """Composes one schedule and returns the files of its alerts and labels; without attacks there are no labels."""
    prefix = work / name
    compose = [sys.executable, source / "compose.py", source / "schedules" / f"{name}.json", source, prefix]
    subprocess.run(compose, check=True, stdout=subprocess.DEVNULL)
    pcap, alerts = prefix.with_suffix(".pcap"), work / f"{name}.alerts.jsonl"
    with alerts.open("wb") as out:
        subprocess.run([ROOT / "netlyra", "analyze", "--quiet", "--format", "jsonl", pcap], check=True, stdout=out)
    pcap.unlink()
    return alerts, work / f"{name}.labels.json"


def when(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def score(alerts: Path, labels: Path) -> dict[str, Any]:
    """What is kept of a result: whether, when and as what each attack was found, and the false alerts by kind."""
    rows = [json.loads(line) for line in alerts.read_text().splitlines()]
    known = json.loads(labels.read_text())["attacks"] if labels.exists() else []
    matched: set[int] = set()
    attacks = {}
    for attack in known:
        hits = []
        for i, row in enumerate(rows):
            named = {row["src_ip"], row["dst_ip"]}
            in_time = attack["start"] - 1 <= when(row["ts"]) <= attack["end"] + 60
            if in_time and all(named & set(group) for group in attack["hosts"]):
                hits.append(i)
        matched.update(hits)
        found: dict[str, Any] = {"detected": bool(hits), "alerts": len(hits)}
        if hits:
            found["categories"] = sorted({rows[i]["category"] for i in hits})
            found["delay_seconds"] = round(min(when(rows[i]["ts"]) for i in hits) - attack["start"], 1)
        attacks[attack["name"]] = found
    false = [row["category"] for i, row in enumerate(rows) if i not in matched]
    return {"attacks": attacks, "false_alerts": {kind: false.count(kind) for kind in sorted(set(false))}}


def worse(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The ways in which a result is worse than the one before."""
    found = []
    for name, was in before["attacks"].items():
        is_now = now["attacks"].get(name)
        if is_now is None:
            found.append(f"{name}: not among the attacks any more")
        elif was["detected"] and not is_now["detected"]:
            found.append(f"{name}: was found after {was['delay_seconds']} s, is missed")
        elif was["detected"]:
            if is_now["alerts"] > was["alerts"]:
                found.append(f"{name}: {was['alerts']} alerts became {is_now['alerts']}")
            if is_now["categories"] != was["categories"]:
                found.append(f"{name}: {' '.join(was['categories'])} became {' '.join(is_now['categories'])}")
            limit = max(was["delay_seconds"] + SLOWER_SECONDS, was["delay_seconds"] * SLOWER_SHARE)
            if is_now["delay_seconds"] > limit:
                found.append(f"{name}: first alert after {was['delay_seconds']} s became {is_now['delay_seconds']} s")
    total_before, total_now = sum(before["false_alerts"].values()), sum(now["false_alerts"].values())
    if total_now > total_before:
        found.append(f"false alerts: {total_before} became {total_now}: {now['false_alerts']}")
    return found


def main() -> int:
    source = captures()
    if not source.is_dir():
        print(f"no labelled captures in {source}: nothing to evaluate (NETLYRA_SHARED says where else they are)")
        return 0
    if not shutil.which("editcap"):
        print("editcap is missing: apt-get install tshark", file=sys.stderr)
        return 1
    results = {}
    with tempfile.TemporaryDirectory(prefix="netlyra-eval-") as work:
        for name in SCHEDULES:
            alerts, labels = analyse(source, name, Path(work))
            print(f"\n{name}", flush=True)
            table = [sys.executable, source / "evaluate.py", alerts]
            subprocess.run([*table, labels] if labels.exists() else [*table, "--hours", "1"], check=True)
            results[name] = score(alerts, labels)
    if "--update" in sys.argv[1:]:
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
        print(f"\n{RESULT.relative_to(ROOT)} is written")
        return 0
    before = json.loads(RESULT.read_text())
    if results == before:
        print("\nas before")
        return 0
    problems = [f"{name}: {p}" for name in SCHEDULES for p in worse(before[name], results[name])]
    for p in problems:
        print("worse:", p, file=sys.stderr)
    if not problems:
        print("\nas good as before, or better: ./task eval -- --update keeps it")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
