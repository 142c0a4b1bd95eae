"""The command: both kinds of input, damaged input, state, signals, metrics."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tokenize
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from engine.features import ROW
from engine.main import main
from streams import START, Slots, batches, office, packets, record

COMMAND = Path(sys.executable).with_name("netlyra-engine")
EXAMPLES = Path(__file__).parent.parent / "examples"
ROOT = EXAMPLES.parent.parent
ODD = (120, 121, 122, 123, 140)
BUDGET = ("--alert-budget", "20000")
Lines = list[dict[str, Any]]
Written = dict[Callable[[Slots], bytes], bytes]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command runs in this process, in the folder of the examples, and takes its signals."""
    monkeypatch.chdir(EXAMPLES)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(data: bytes, *flags: str, status: int = 0) -> tuple[Lines, Lines]:
    """The alerts that the command prints of some input, and what it tells."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        done = CliRunner().invoke(main, [*BUDGET, *flags, file.name])
    assert done.exit_code == status, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return [json.loads(x) for x in done.stdout.splitlines()], [json.loads(x) for x in done.stderr.splitlines()]


@pytest.fixture(scope="session")
def slots() -> Slots:
    return office(150, odd=ODD)


@pytest.fixture(scope="session")
def written(slots: Slots) -> Written:
    return {write: write(slots) for write in (packets, batches)}


@pytest.fixture(scope="session")
def alerts(written: Written) -> Lines:
    return run(written[batches])[0]


def test_both_kinds_of_records_give_the_same_alerts(written: Written, alerts: Lines) -> None:
    assert run(written[packets], "--input", "packets")[0] == alerts
    assert alerts


def test_a_process_reads_standard_input(written: Written, alerts: Lines) -> None:
    done = subprocess.run([COMMAND, *BUDGET, "-"], input=written[packets], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert [json.loads(line) for line in done.stdout.splitlines()] == alerts


def test_an_incident_is_told_in_revisions(alerts: Lines) -> None:
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


def test_alerts_have_the_members_of_the_wire_format(alerts: Lines) -> None:
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


def test_final_prints_each_incident_once(written: Written, alerts: Lines) -> None:
    last = {a["id"]: a for a in alerts}
    final = run(written[batches], "--final")[0]
    assert final == sorted(last.values(), key=lambda a: (a["ts"], a["id"]))


def test_frames_of_two_files_follow_one_another(slots: Slots, alerts: Lines) -> None:
    half = len(slots) // 2
    assert [a["id"] for a in run(batches(slots[:half]) + batches(slots[half:], boot=1))[0]] == [a["id"] for a in alerts]


def test_it_goes_on_from_its_state(slots: Slots, alerts: Lines, tmp_path: Path) -> None:
    state, told = tmp_path / "state", Lines()
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
    data, flags = state.read_bytes(), ["--model", "one_class_svm:make"] if harm == "model" else []
    half = len(data) // 2
    flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
    harmed = {"flip": flipped, "cut": data[:-1], "empty": b""}.get(harm, data)
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


LAST: dict[str, Any] = {"slot": START + 9000, "received": 0, "boot": 1}
STRANGER = ["nobody", "10.0.0.2", 1, 2, 6, True, True, 9, 9, 9, 9, 9, 9]
CUT_OFF: dict[str, tuple[Callable[[Slots], bytes], Callable[[bytes], bytes], str]] = {
    "packets": (packets, lambda data: data[:-50], "cut off"),
    "packets at the end of a line": (packets, lambda data: b"".join(data.splitlines(keepends=True)[:-1]), "cut off"),
    "packets twice": (packets, lambda data: data + data, "comes behind"),
    "slots": (batches, lambda data: data[:-9], "cut off"),
    "slots twice": (batches, lambda data: data + data, "comes behind"),
    "a record twice": (batches, lambda data: data + record([], **LAST, seq=0) + record([], **LAST, seq=0), "behind"),
    "garbage": (batches, lambda data: data + b"garbage", "damaged"),
    "no part": (batches, lambda data: data + record([], **LAST, part=0, parts=2, seq=0), "cut off"),
    "no part but names": (batches, lambda data: data + record([], **LAST, kind="dns", parts=2, seq=0), "cut off"),
    "version": (packets, lambda data: data + b'{"v":2}\n', "version 2"),
    "schema": (batches, lambda data: data + record([], **LAST, schema="netlyra.slots/2", seq=0), "netlyra.slots/2"),
    "sensor": (batches, lambda data: data + record([], **LAST, sensor="t", seq=0), "'t'"),
    "address": (batches, lambda data: data + record([STRANGER], **LAST, seq=0), "damaged"),
    "no address": (batches, lambda data: data + record([[None, *STRANGER[1:]]], **LAST, seq=0), "damaged"),
    "columns": (batches, lambda data: data + record([], **LAST, seq=0, columns=ROW.remove(3)), "damaged"),
    "types": (batches, lambda data: data + record([], **LAST, seq=0, columns=ROW.set(7, ROW.field(0))), "damaged"),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_comes_before_damage_is_judged(name: str, written: Written, alerts: Lines) -> None:
    write, harm, message = CUT_OFF[name]
    told, log = run(harm(written[write]), status=3)
    assert {a["id"] for a in told} >= {a["id"] for a in alerts}
    assert [message in entry["msg"] for entry in log if entry["level"] == "ERROR"] == [True], log


def test_what_is_new_is_passed_over(written: Written, alerts: Lines) -> None:
    more = record([], **LAST, kind="arp6", parts=2, seq=0) + record([], **LAST, part=1, parts=2, seq=1)
    told, log = run(written[batches] + more)
    assert {a["id"] for a in told} >= {a["id"] for a in alerts}
    assert [entry["level"] for entry in log] == ["INFO"]


def test_null_is_as_if_absent_and_time_may_pass(written: Written, alerts: Lines) -> None:
    passes = b'{"ts":"2023-11-14T22:13:20.000000Z","sensor":"s","watermark":true}\n'
    null = b'"v":null,"vlan":null,"conn_new":null,"unknown":'
    lines = [
        line if b"conn_new" in line else line.replace(b'"unknown": ', null) for line in written[packets].splitlines()
    ]
    told, log = run(b"\n".join(lines) + b"\n" + passes)
    assert told == alerts
    assert log[-1]["malformed"] == 0


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


@pytest.mark.parametrize(
    "flags",
    [
        ["--alert-budget", "0", "-"], ["--input", "pcap", "-"], ["--metrics", "x", "-"], ["--metrics", "99999", "-"],
        ["--nothing", "-"], [], ["/nowhere/slots"],
    ],
)  # fmt: skip
def test_wrong_usage(flags: list[str]) -> None:
    assert CliRunner().invoke(main, flags).exit_code == 2


def test_a_stream_of_something_else_is_told() -> None:
    capture = (ROOT / "demo" / "sample.pcap.zst").read_bytes()
    pcap = b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(99)
    for data, flags in (
        (b'{"id":"0f3a","score":0.9}\n' * 3, ["--input", "packets"]),
        (b"\x00\x01\n" * 3, ["--input", "packets"]),
        (capture, []), (capture, ["--input", "slots"]), (pcap, []), (b"\x1f\x8b\x08\x00" + bytes(99), []),
    ):  # fmt: skip
        assert "netlyra analyze --emit slots FILE" in run(data, *flags, status=3)[1][-2]["msg"]


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


def test_nobody_reads_on(written: Written) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([COMMAND, *BUDGET, "-"], input=written[batches], stdout=writes, stderr=-1, timeout=60)
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
            if "netlyra_engine_records_total 30.0" in page:
                break
            time.sleep(0.1)
        assert "# TYPE netlyra_engine_packets_total counter" in page
        assert "# TYPE netlyra_engine_learning gauge" in page
        engine.stdin.close()
        assert engine.wait(20) == 0


def test_another_model_takes_the_place_of_the_trees(written: Written) -> None:
    alerts, log = run(written[batches], "--final", "--model", "one_class_svm:make")
    assert log[-1]["learning"] > 0.5
    assert [a for a in alerts if a["src_ip"] == "10.0.0.1"]
    assert all("hst_score" not in a["features"] and a["score"] >= 0.8 for a in alerts)
    for wrong in ("json:loads", "nothing:make", "one_class_svm:nothing", "one_class_svm"):
        assert "--model" in run(b"", "--model", wrong, status=1)[1][-1]["msg"]


def test_another_model_is_saved_too(slots: Slots, written: Written, tmp_path: Path) -> None:
    flags = ("--model", "one_class_svm:make", "--state", str(tmp_path / "state"))
    parts = [run(batches(cut), *flags)[0] for cut in (slots[:364], slots[364:])]
    whole = run(written[batches], "--model", "one_class_svm:make")[0]
    told = [(a["id"], a["rev"], a["score"]) for part in parts for a in part]
    assert told == [(a["id"], a["rev"], a["score"]) for a in whole if a["state"] == "open"]


def test_docs_name_every_flag() -> None:
    page = (ROOT / "docs" / "engine.md").read_text()
    flags = set(re.findall(r"--[a-z-]+", CliRunner().invoke(main, ["--help"]).output)) - {"--emit", "--help"}
    assert flags
    assert {flag for flag in flags if f"| `{flag}" not in page} == set()


def code(path: Path) -> int:
    """How many lines hold code: no blank ones, comments and docstrings."""
    lines, blank = set[int](), {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in blank | {tokenize.ENCODING, tokenize.ENDMARKER}:
                lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_it_can_be_read_in_one_go() -> None:
    counts = {path.name: code(path) for path in (EXAMPLES.parent / "src" / "engine").glob("*.py")}
    assert counts.pop("kafka.py") <= 160  # the way to a broker is not the method
    assert sum(counts.values()) <= 600, counts
