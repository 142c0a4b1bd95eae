"""The engine between the topics of a real Kafka."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from engine.main import main
from streams import Slots, batches, office, packets, records

ROOT = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).with_name("netlyra-engine")
KAFKA = ROOT / "tools" / "kafka.sh"
BUDGET = ("--alert-budget", "20000")
ODD = (120, 121, 122, 123, 140)
Revisions = set[tuple[str, int, float]]
library: Any = jsonschema  # which has no types
pytestmark = pytest.mark.xdist_group("kafka")  # one broker


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Kafka of one node."""
    return tmp_path_factory.mktemp("kafka")


@pytest.fixture(scope="module")
def brokers(node: Path) -> Iterator[str]:
    """That Kafka, and the topics."""
    if not (shutil.which("java") and shutil.which("mvn")):
        remedy = "Kafka needs Java 17 and Maven: tools/debian.sh installs them"
        pytest.fail(remedy) if os.environ.get("CI") == "true" else pytest.skip(remedy)
    surroundings = os.environ | {"KAFKA_PORT": str(20_000 + os.getpid() % 10_000 * 2)}
    try:
        done = subprocess.run([KAFKA, "start", node], check=True, env=surroundings, stdout=-1, timeout=300)
        address = done.stdout.decode().strip()
        admin: Any = AdminClient({"bootstrap.servers": address})
        names = ["slots", "packets", "alerts", "sensors", "dlq"]
        made: dict[str, Any] = admin.create_topics([NewTopic(f"netlyra.{name}", 2, 1) for name in names])
        for topic in made.values():
            topic.result(60)
        yield address
    finally:
        subprocess.run([KAFKA, "stop", node], check=True, timeout=120)


def publish(brokers: str, topic: str, key: str, values: Iterable[bytes]) -> None:
    """Writes records of one key."""
    room = {"queue.buffering.max.messages": 1_000_000}
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True} | room)
    for value in values:
        producer.produce(topic, value, key)
        producer.poll(0)
    assert producer.flush(60) == 0


def everything(brokers: str, topic: str) -> list[tuple[str, bytes, dict[str, str]]]:
    """All records of a topic so far: keys, values and headers."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, n, 0) for n in range(2)])
    found: list[tuple[str, bytes, dict[str, str]]] = []
    ended: set[int] = set()
    while len(ended) < 2:
        message: Any = consumer.poll(30)
        assert message is not None
        if message.error():
            ended.add(message.partition())
        else:
            headers: dict[str, str] = {name: value.decode() for name, value in message.headers() or cast(Any, [])}
            found.append(((message.key() or b"").decode(), message.value(), headers))
    consumer.close()
    return found


def until(condition: Callable[[], bool]) -> None:
    """Waits for what must come, two minutes at most."""
    for _ in range(240):
        if condition():
            return
        time.sleep(0.5)
    pytest.fail("it does not come")


def revisions(lines: Iterable[bytes | str]) -> Revisions:
    """The revisions of open incidents."""
    return {(a["id"], a["rev"], a["score"]) for a in map(json.loads, lines) if a["state"] == "open"}


def test_two_sensors_an_engine_that_is_killed_and_a_broker_that_is_away(
    brokers: str, node: Path, tmp_path: Path
) -> None:
    sensors: dict[str, Slots] = {"s": office(150, odd=ODD), "t": office(150, odd=ODD, seed=4)}
    want: Revisions = set()
    for sensor, slots in sensors.items():
        file = tmp_path / sensor
        file.write_bytes(batches(slots, sensor=sensor))
        want |= revisions(CliRunner().invoke(main, [*BUDGET, str(file)]).stdout.splitlines())
    assert len(want) > 4

    def alerts() -> Revisions:
        return revisions(value for _, value, _ in everything(brokers, "netlyra.alerts"))

    state = tmp_path / "state"
    command = [COMMAND, *BUDGET, "--brokers", brokers, "--state", state]
    streams = {sensor: list(records(slots, sensor=sensor)) for sensor, slots in sensors.items()}
    with subprocess.Popen(command) as engine:
        for sensor, values in streams.items():
            publish(brokers, "netlyra.slots", sensor, values[:370])
        until(lambda: state.exists() and len(alerts()) > 0)
        engine.kill()
    for sensor, values in streams.items():
        publish(brokers, "netlyra.slots", sensor, [*values[370:], b"no record"])
    with subprocess.Popen(command) as engine:
        time.sleep(2)  # somewhere in the middle
        for verb in ("stop", "start"):
            subprocess.run([KAFKA, verb, node], check=True, stdout=subprocess.DEVNULL, timeout=300)
        until(lambda: alerts() >= want and len(everything(brokers, "netlyra.dlq")) >= 2)
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(30) == 0
    assert alerts() == want

    for key, value, headers in everything(brokers, "netlyra.alerts"):
        alert = json.loads(value)
        assert key == alert["id"]
        assert headers["content-type"] == "application/json" and headers["schema"] == "netlyra.alert/1"
        assert headers["ce_id"] == f"{alert['id']}/{alert['rev']}" and headers["ce_time"] == alert["last_ts"]
        assert headers["ce_source"] == f"netlyra/{alert['sensor']}" and headers["ce_specversion"] == "1.0"
    schema = json.loads((ROOT / "docs" / "wire-format" / "sensor.schema.json").read_text())
    signs = everything(brokers, "netlyra.sensors")
    assert {key for key, _, _ in signs} == {"s", "t"}
    for _, value, _ in signs:
        library.validate(json.loads(value), schema)
    for key, value, headers in everything(brokers, "netlyra.dlq"):
        assert key in sensors and value == b"no record"
        assert headers["topic"] == "netlyra.slots" and headers["reason"] and headers["offset"].isdecimal()


def test_a_topic_that_is_made_anew(brokers: str, tmp_path: Path) -> None:
    state = tmp_path / "state"

    def alerts() -> Revisions:
        return revisions(value for _, value, _ in everything(brokers, "netlyra.alerts"))

    def judged(values: list[bytes]) -> bytes:
        before = alerts()
        publish(brokers, "netlyra.slots", "anew", values)
        with subprocess.Popen([COMMAND, *BUDGET, "--brokers", brokers, "--state", state], stderr=-1) as engine:
            until(lambda: len(alerts() - before) > 0)
            engine.send_signal(signal.SIGTERM)
            assert engine.stderr
            said = engine.stderr.read()
            assert engine.wait(30) == 0
            return said

    first, second = (list(records(office(150, odd=ODD, seed=seed), sensor="anew")) for seed in (6, 7))
    assert b"made anew" not in judged(first)
    admin: Any = AdminClient({"bootstrap.servers": brokers})
    for result in admin.delete_topics(["netlyra.slots"]).values():
        result.result(60)
    until(lambda: "netlyra.slots" not in admin.list_topics().topics)
    for result in admin.create_topics([NewTopic("netlyra.slots", 2, 1)]).values():
        result.result(60)
    assert b"made anew" in judged(second[: len(first) - 1])  # no record has the offset that the state waits for


def test_packets(brokers: str, tmp_path: Path) -> None:
    lines = packets(office(150, odd=ODD), sensor="p")
    file = tmp_path / "packets"
    file.write_bytes(lines)
    want = revisions(CliRunner().invoke(main, [*BUDGET, str(file)]).stdout.splitlines())
    publish(brokers, "netlyra.packets", "p", lines.splitlines())
    with subprocess.Popen([COMMAND, *BUDGET, "--brokers", brokers, "--input", "packets"]) as engine:
        until(lambda: want <= revisions(value for _, value, _ in everything(brokers, "netlyra.alerts")))
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(30) == 0


def test_a_broker_that_is_not_there_is_tried_on() -> None:
    with subprocess.Popen([COMMAND, "--brokers", "127.0.0.1:9"], stderr=-1) as engine:
        assert engine.stderr
        assert "trying on" in json.loads(engine.stderr.readline())["msg"]
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(30) == 0
