"""The engine and `netlyra analyze --profile core` report the same, member by member, whatever the number of workers."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from engine.consumer import Consumer
from engine.features import EXACT, ROW, arrow
from engine.main import main

ROOT = Path(__file__).parent.parent.parent
NETLYRA = ROOT / "netlyra"
SAMPLE = ROOT / "demo" / "sample.pcap.zst"
CAPTURES = ROOT.parent / "shared" / "captures"  # labelled ones beside the project, which may be missing
COMPOSED = ["office-dev"] if (CAPTURES / "compose.py").exists() else []
BUDGET = ("--alert-budget", "2000")
OFFICES = {7: "scan_top100,dns_tunnel_txt,brute_ssh", 11: "scan_horizontal_tcp,scan_icmp_sweep,exfil_dns"}


def analyze(*flags: str | Path) -> bytes:
    """What netlyra analyze prints."""
    command = [NETLYRA, "analyze", "--quiet", "--sensor", "s", *flags]
    return subprocess.run(command, check=True, capture_output=True, timeout=600).stdout


def incidents(lines: str | bytes) -> dict[str, dict[str, Any]]:
    """The last state of each incident, without what differs on purpose (docs/engine.md)."""
    alerts = {alert["id"]: alert for alert in map(json.loads, lines.splitlines())}
    for alert in alerts.values():
        alert.pop("community_id", None)  # which the engine does not make
        parts: dict[str, float] = alert.pop("detector")["parts"]  # name, version and what is no part of the core
        alert["parts"] = {
            k.replace("trees", "model"): v for k, v in parts.items() if k[:5] in ("trees", "model", "calib")
        }
        if max(alert["peers"]["total"], alert["ports"]["total"]) >= EXACT:  # Go estimates, and knows a sample
            for name in ("peers", "ports", "facts", "dst_ip" if alert["role"] == "targets" else "src_ip"):
                alert[name] = []
        alert["facts"] = [{"text": "", "value": 0, "unit": ""} | fact for fact in alert["facts"]]  # Go leaves out zeros
    return alerts


def packets(path: Path) -> list[tuple[bytes, int, int]]:
    """Of each slot its watermark up to the counters, how many packets it has, and a sum over them, in any order."""
    found: list[tuple[bytes, int, int]] = []
    count, total = 0, 0
    with path.open("rb") as file:
        for line in file:
            if b'"watermark":true' not in line:
                count, total = count + 1, total + hash(line)
            elif count:  # the end of a file closes an empty slot, or none
                found.append((line.partition(b'"received"')[0], count, total))
                count, total = 0, 0
    return found


def slots(path: Path) -> Any:
    """The rows with packets of all slots, in one order. Those without come when somebody expires the connection."""
    with path.open("rb") as file:
        found = list(Consumer().slots(file, "slots"))
    sizes = [sum(batch.num_rows for batch in slot.batches) for slot in found]
    rows = arrow.Table.from_batches([batch for slot in found for batch in slot.batches], ROW).combine_chunks()
    rows = rows.append_column("slot", arrow.array(np.repeat([slot.number for slot in found], sizes)))
    rows = rows.filter((pc.field("up_packets") > 0) | (pc.field("down_packets") > 0))
    return rows.sort_by([(name, "ascending") for name in rows.column_names])


@pytest.fixture(scope="module", autouse=True)
def netlyra() -> None:
    """The tests need the program."""
    if not NETLYRA.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("./netlyra is missing: ./task build makes it")
        pytest.skip("./netlyra is missing: ./task build makes it")


@pytest.fixture(scope="module", params=["sample", *OFFICES, *COMPOSED])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, generated offices with attacks, and what can be composed."""
    if request.param == "sample":
        return SAMPLE
    path = tmp_path_factory.mktemp("office") / f"{request.param}.pcap"
    if request.param in COMPOSED:
        compose = [sys.executable, CAPTURES / "compose.py", CAPTURES / "schedules" / f"{request.param}.json"]
        subprocess.run([*compose, CAPTURES, path.with_suffix("")], check=True, capture_output=True, timeout=600)
        return path
    make = [
        NETLYRA,
        "bench",
        "office",
        "--hours",
        "0.5",
        "--learn",
        "10m",
        "--seed",
        str(request.param),
        "--output",
        path,
    ]
    subprocess.run([*make, "--families", OFFICES[request.param]], check=True, capture_output=True, timeout=600)
    return path


def test_the_engine_reports_what_the_core_profile_does(capture: Path, tmp_path: Path) -> None:
    files: dict[str, Path] = {}
    for kind, workers in itertools.product(("packets", "slots"), "14"):
        files[kind + workers] = tmp_path / (kind + workers)
        files[kind + workers].write_bytes(analyze("--emit", kind, "--workers", workers, capture))
    core = [analyze("--profile", "core", "--format", "jsonl", *BUDGET, "--workers", n, capture) for n in "14"]
    assert core[0] == core[1]
    assert packets(files["packets1"]) == packets(files["packets4"])
    assert slots(files["slots1"]).equals(slots(files["slots4"]))
    want = incidents(core[0])
    for stream in ("packets4", "slots1"):
        done = CliRunner().invoke(main, [*BUDGET, "--final", str(files[stream])])
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stderr.splitlines()[-1])["missing"] == 0
        assert incidents(done.stdout) == want, stream
    assert len(want) >= (0 if capture == SAMPLE else 20)
