"""The command: both kinds of input, damaged input, state, signals, metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streams import START, Slots, batches, office, packets, record

COMMAND = Path(sys.executable).with_name("netlyra-engine")
EXAMPLES = Path(__file__).parent.parent / "examples"
ODD = (120, 121, 122, 123, 140)
BUDGET = ("--alert-budget", "20000")


def run(data: bytes, *flags: str, status: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The alerts that the command prints of some input, and what it tells."""
    done = subprocess.run([COMMAND, *BUDGET, *flags, "-"], input=data, capture_output=True, timeout=120, cwd=EXAMPLES)
    assert done.returncode == status, done.stderr.decode()
    return [json.loads(x) for x in done.stdout.splitlines()], [json.loads(x) for x in done.stderr.splitlines()]


@pytest.fixture(scope="session")
def slots() -> Slots:
    return office(150, odd=ODD)


@pytest.fixture(scope="session")
def alerts(slots: Slots) -> list[dict[str, Any]]:
    return run(batches(slots))[0]


def test_both_kinds_of_records_give_the_same_alerts(slots: Slots, alerts: list[dict[str, Any]]) -> None:
    assert run(packets(slots))[0] == alerts
    assert run(packets(slots), "--input", "packets")[0] == alerts
    assert alerts


def test_an_incident_is_told_in_revisions(alerts: list[dict[str, Any]]) -> None:
    about = [a for a in alerts if a["src_ip"] == "10.0.0.1" and a["role"] == "targets"]
    assert [a["rev"] for a in about] == list(range(1, len(about) + 1))
    assert len(about) > 2
    assert {a["state"] for a in about[:-1]} == {"open"}
    assert about[-1]["state"] == "closed"
    last = about[-1]
    assert last["score"] >= 0.8
    assert last["peers"]["total"] >= 40
    assert len(last["ports"]["top"]) == 10
    assert last["count"] > 100
    assert last["capture_confidence"] == 1
    assert 0.5 < last["detector"]["learning"] <= 1


def test_alerts_have_the_members_of_the_wire_format(alerts: list[dict[str, Any]]) -> None:
    docs = EXAMPLES.parent.parent / "docs"
    example = json.loads((docs / "wire-format" / "alert-port-scan.json").read_text())
    for alert in alerts:
        assert alert.keys() == example.keys()
        assert alert["features"].keys() == example["features"].keys()
        assert alert["reasons"][0].keys() == example["reasons"][0].keys()
        assert {f["name"] for f in alert["facts"]} <= {"src_ip", "dst_ip", "peers", "ports", "seconds", "accepted"} | {
            f"{name}_seen" for name in alert["features"]
        }
        assert sum(r["contribution"] for r in alert["reasons"]) <= 1.001
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", alert["ts"])
        assert re.fullmatch("[0-9a-f]{16}", alert["id"])


def test_final_prints_each_incident_once(slots: Slots, alerts: list[dict[str, Any]]) -> None:
    last = {a["id"]: a for a in alerts}
    final = run(batches(slots), "--final")[0]
    assert final == sorted(last.values(), key=lambda a: (a["ts"], a["id"]))


def test_frames_of_two_files_follow_one_another(slots: Slots, alerts: list[dict[str, Any]]) -> None:
    half = len(slots) // 2
    assert [a["id"] for a in run(batches(slots[:half]) + batches(slots[half:], boot=1))[0]] == [a["id"] for a in alerts]


def test_it_goes_on_from_its_state(slots: Slots, alerts: list[dict[str, Any]], tmp_path: Path) -> None:
    state, told = tmp_path / "state", list[dict[str, Any]]()
    for cut in (slots[:364], slots[364:366], slots[366:]):
        told += run(batches(cut), "--state", str(state))[0]
    assert state.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part"))
    open_still = [a for a in alerts if a["state"] == "open"]
    assert [(a["id"], a["rev"], a["score"]) for a in told] == [(a["id"], a["rev"], a["score"]) for a in open_still]


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "model", "mode"])
def test_a_state_that_is_not_its_own_is_not_read(harm: str, slots: Slots, tmp_path: Path) -> None:
    state = tmp_path / "state"
    run(batches(slots[:30]), "--state", str(state))
    data, flags = state.read_bytes(), ["--seed", "2"] if harm == "model" else []
    harmed = {"flip": data[:-9] + b"x" + data[-8:], "cut": data[:-1], "empty": b""}.get(harm, data)
    state.write_bytes(harmed)
    state.chmod(0o666 if harm == "mode" else 0o600)
    alerts, told = run(batches(slots[:30]), "--state", str(state), *flags, status=1)
    assert not alerts
    assert str(state) in told[-1]["msg"]
    assert state.read_bytes() == harmed


def test_when_the_clock_is_set_back_what_is_open_closes(slots: Slots) -> None:
    back = [(number - 10_000_000, rows) for number, rows in slots[:60]]
    told = run(batches(slots[:370]) + batches(back, boot=1))[0]
    assert {a["state"] for a in {a["id"]: a for a in told}.values()} == {"closed"}
    before = {a["id"] for a in run(batches(slots[:370]))[0]}
    assert before and before <= {a["id"] for a in told}
    assert all(a["ts"] >= "2023-11-14T22:" for a in told if a["id"] in before)


CUT_OFF: dict[str, tuple[Callable[[Slots], bytes], Callable[[bytes], bytes], int, str | None]] = {
    "packets": (packets, lambda data: data[:-50], 3, "cut off"),
    "slots": (batches, lambda data: data[:-9], 3, "cut off"),
    "garbage": (batches, lambda data: data + b"garbage", 3, "damaged"),
    "no part": (
        batches,
        lambda data: data + record([], slot=START + 9000, part=0, parts=2, seq=1, received=0),
        3,
        "cut off",
    ),
    "version": (packets, lambda data: data + b'{"v":2}\n', 3, "version 2"),
    "schema": (batches, lambda data: data + record([], schema="netlyra.slots/2", slot=1, seq=1), 3, "netlyra.slots/2"),
    "sensor": (batches, lambda data: data + record([], sensor="t", slot=START + 9000, seq=1, received=0), 3, "'t'"),
    "unknown kind": (batches, lambda data: data + record([], kind="arp6", slot=1, seq=1), 0, None),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_comes_before_damage_is_judged(name: str, slots: Slots, alerts: list[dict[str, Any]]) -> None:
    write, harm, status, message = CUT_OFF[name]
    told, log = run(harm(write(slots)), status=status)
    assert {a["id"] for a in told} == {a["id"] for a in alerts}
    if message:
        assert [message in entry["msg"] for entry in log if entry["level"] == "ERROR"] == [True]
    else:
        assert [entry["msg"] for entry in log if entry["level"] == "WARN"]


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"null", b"[]", b"3", b'{"ts":"x"}', b'"\xff"', b"x" * 600_000,
        b'{"src_ip":"nobody","dst_ip":"10.0.0.1","src_port":1,"dst_port":2,"proto":"UDP","entropy":0,"payload_len":0,"dir":"orig"}',
        b'{"src_ip":"10.0.0.2","dst_ip":"10.0.0.1","src_port":-1,"dst_port":2,"proto":"UDP","entropy":0,"payload_len":0,"dir":"orig"}',
        b'{"src_ip":"10.0.0.2","dst_ip":"10.0.0.1","src_port":1,"dst_port":2,"proto":"UDP","entropy":1e300,"payload_len":0,"dir":"orig"}',
        b'{"watermark":true,"slot":"x","received":0,"lost":0,"sensor":"s"}',
    ],
)  # fmt: skip
def test_a_malformed_packet_is_counted_and_left_out(line: bytes, slots: Slots) -> None:
    data = packets(slots[:100])
    half = data.index(b"\n", len(data) // 2) + 1
    _, log = run(data[:half] + line + b"\n" + data[half:])
    assert log[-1]["malformed"] >= 1
    assert log[-1]["records"] == data.count(b"\n") + log[-1]["malformed"]
    assert len([entry for entry in log if entry["level"] == "WARN"]) == 1


@pytest.mark.parametrize(("data", "status"), [(b"", 0), (b"\n", 3), (b"hello", 3), (b"\x28\xb5\x2f\xfd", 3)])
def test_what_is_no_stream(data: bytes, status: int) -> None:
    assert run(data, status=status)[0] == []


def test_wrong_usage() -> None:
    for flags in (["--alert-budget", "0"], ["--input", "pcap"], ["--metrics", "x:y:"], ["--metrics", "99999"]):
        done = subprocess.run([COMMAND, *flags, "-"], input=b"", capture_output=True, timeout=60)
        assert done.returncode == 2, flags
    assert subprocess.run([COMMAND, "/nowhere/slots"], capture_output=True, timeout=60).returncode == 1


def test_a_stream_of_something_else_is_told() -> None:
    for lines in (b'{"id":"0f3a","score":0.9}\n' * 3, b"\x00\x01\n" * 3):
        done = subprocess.run([COMMAND, "--input", "packets", "-"], input=lines, capture_output=True, timeout=60)
        assert done.returncode == 3
        assert b"none of the records is a packet" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_stream(number: int, slots: Slots, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with subprocess.Popen([COMMAND, *BUDGET, "--state", state, "-"], stdin=-1, stdout=-1, stderr=-1) as engine:
        assert engine.stdin and engine.stdout and engine.stderr
        data = batches(slots[:370])
        engine.stdin.write(data + data[:100])
        engine.stdin.flush()
        assert json.loads(engine.stdout.readline())["state"] == "open"
        time.sleep(0.5)
        engine.send_signal(number)
        assert engine.wait(20) == 0, engine.stderr.read()
        assert json.loads(engine.stderr.read().splitlines()[-1])["records"] > 370
    assert state.stat().st_size > 10_000


def test_nobody_reads_on(slots: Slots) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([COMMAND, *BUDGET, "-"], input=batches(slots), stdout=writes, stderr=-1, timeout=60)
    os.close(writes)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr


def test_metrics(slots: Slots) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with subprocess.Popen([COMMAND, "--metrics", str(port), "-"], stdin=-1, stdout=-1, stderr=-1) as engine:
        assert engine.stdin and engine.stderr
        data, page = batches(slots[:30]), ""
        engine.stdin.write(data)
        engine.stdin.flush()
        for _ in range(100):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
            except OSError:
                page = ""
            if "netlyra_engine_records 30.0" in page or "netlyra_engine_records 3" in page:
                break
            time.sleep(0.1)
        assert "netlyra_engine_packets " in page and "netlyra_engine_learning " in page
        engine.stdin.close()
        assert engine.wait(20) == 0


def test_another_model_takes_the_place_of_the_trees(slots: Slots) -> None:
    alerts, log = run(batches(slots), "--final", "--model", "one_class_svm:make")
    assert log[-1]["learning"] > 0.5
    assert [a for a in alerts if a["src_ip"] == "10.0.0.1"]
    assert all("hst_score" not in a["features"] and a["score"] >= 0.8 for a in alerts)
    done = subprocess.run([COMMAND, "--model", "json:loads", "-"], input=b"", capture_output=True, timeout=60)
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr


def test_another_model_is_saved_too(slots: Slots, tmp_path: Path) -> None:
    flags = ("--model", "one_class_svm:make", "--state", str(tmp_path / "state"))
    parts = [run(batches(cut), *flags)[0] for cut in (slots[:364], slots[364:])]
    whole = run(batches(slots), "--model", "one_class_svm:make")[0]
    told = [(a["id"], a["rev"], a["score"]) for part in parts for a in part]
    assert told == [(a["id"], a["rev"], a["score"]) for a in whole if a["state"] == "open"]


def test_docs_name_every_flag() -> None:
    page = (EXAMPLES.parent.parent / "docs" / "engine.md").read_text()
    usage = subprocess.run([COMMAND, "--help"], check=True, capture_output=True, text=True).stdout
    flags = set(re.findall(r"--[a-z-]+", usage)) - {"--emit", "--help"}
    assert flags
    assert {flag for flag in flags if f"| `{flag}" not in page} == set()


def test_the_method_can_be_read_in_one_go() -> None:
    source = EXAMPLES.parent / "src" / "engine"
    judge = (source / "main.py").read_text().split("\nclass Judge", 1)[1].split("\ndef say", 1)[0]
    files = [(source / name).read_text() for name in ("features.py", "model.py", "producer.py")]
    assert sum(text.count("\n") for text in [*files, judge]) <= 600
