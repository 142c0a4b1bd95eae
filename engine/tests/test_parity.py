"""The engine and `netlyra analyze --profile core` report the same: id, last revision and score of every incident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NETLYRA = ROOT / "netlyra"
COMMAND = Path(sys.executable).with_name("netlyra-engine")
SAMPLE = ROOT / "demo" / "sample.pcap.zst"
CAPTURES = ROOT.parent / "shared" / "captures"  # labelled ones beside the project, which may be missing
COMPOSED = ["office-dev"] if (CAPTURES / "compose.py").exists() else []
OFFICES = {7: "scan_top100,dns_tunnel_txt,brute_ssh", 11: "scan_horizontal_tcp,scan_icmp_sweep,exfil_dns"}


def analyze(*flags: str | Path) -> bytes:
    """What netlyra analyze prints."""
    command = [NETLYRA, "analyze", "--quiet", "--sensor", "s", *flags]
    return subprocess.run(command, check=True, capture_output=True, timeout=600).stdout


def incidents(lines: bytes) -> dict[str, tuple[int, float]]:
    """The last revision and the score of each incident."""
    return {a["id"]: (a["rev"], a["score"]) for a in map(json.loads, lines.splitlines())}


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
        "0.75",
        "--learn",
        "10m",
        "--seed",
        str(request.param),
        "--output",
        path,
    ]
    subprocess.run([*make, "--families", OFFICES[request.param]], check=True, capture_output=True, timeout=600)
    return path


@pytest.mark.parametrize("workers", ["1", "4"])
def test_the_engine_reports_what_the_core_profile_does(capture: Path, workers: str) -> None:
    budget, flags = ["--alert-budget", "2000"], ["--workers", workers, capture]
    want = incidents(analyze("--profile", "core", "--format", "jsonl", *budget, *flags))
    for kind in ("packets", "slots"):
        emit = [NETLYRA, "analyze", "--quiet", "--sensor", "s", "--emit", kind, *flags]
        with subprocess.Popen(emit, stdout=subprocess.PIPE) as stream:
            engine = [COMMAND, *budget, "--final", "-"]
            done = subprocess.run(engine, stdin=stream.stdout, capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stderr.splitlines()[-1])["missing"] == 0
        assert incidents(done.stdout) == want, kind
    assert len(want) >= (0 if capture == SAMPLE else 20)
