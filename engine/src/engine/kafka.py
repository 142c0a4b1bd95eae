"""The way to a broker: packets or slots of any number of sensors from Kafka, alerts to it (docs/wire-format.md).

At least once: a checkpoint is taken between two records, behind the acknowledgement of the alerts before it: the state,
with the offsets that it belongs to, then the group's offsets. What is judged depends on nothing but the records, so
what comes again after a crash has the same id and rev.
"""

import signal
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka as client
import orjson
import pyarrow as pa
from prometheus_client import core, start_http_server
from pyarrow import ipc

from . import __version__
from .consumer import MALFORMED, Consumer, Unreadable
from .main import Judge, Metrics, factory, load, save
from .producer import say, when

GROUP = "netlyra-engine"
SESSION, LIFE, CHECKPOINT = 6000, 1, 10  # milliseconds; seconds between two signs of life, and two checkpoints
SENSORS = 1024  # that are judged at most
DRAIN = 10  # seconds that alerts may still take when it is stopped
JSON = {"content-type": "application/json"}


class Feed:
    """A sensor: its records, its judge, the partition that it is in, and the offset of its next record."""

    def __init__(self, judge: Judge, partition: int) -> None:
        self.consumer, self.judge, self.partition, self.next = Consumer(), judge, partition, 0


class Engine:
    """Reads a topic in the consumer group of all engines, with a judge for each sensor."""

    def __init__(self, brokers: str, kind: str, judge: Callable[[], Judge], feeds: dict[str, Feed]) -> None:
        common: dict[str, Any] = {"bootstrap.servers": brokers, "client.id": GROUP}
        common |= {"error_cb": self.problem, "log_level": 0}
        forever = {"enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 5, "compression.type": "zstd"}
        group = {"group.id": GROUP, "session.timeout.ms": SESSION, "enable.auto.commit": False}
        self.producer = client.Producer(common | forever)
        self.consumer = client.Consumer(common | group | {"auto.offset.reset": "earliest"})
        self.topic, self.judge, self.feeds, self.told = f"netlyra.{kind}", judge, feeds, ""
        self.offsets: dict[int, int] = {}  # of the partitions' next records
        self.stopped: list[float] = []  # when it was stopped
        self.others = Feed(judge(), -1)  # counts what is of no sensor that is judged
        self.save: Callable[[dict[str, Feed]], None] = lambda feeds: None

    def run(self) -> None:
        """Judges until it is stopped, then hands over what there is. An alert that cannot be written is an OSError."""
        self.consumer.subscribe([self.topic], on_assign=self.assigned, on_revoke=self.revoked)
        life, checkpoint = 0.0, time.monotonic() + CHECKPOINT
        while not self.stopped:
            message = self.consumer.poll(0.2)
            if message is not None and message.error():
                self.problem(message.error())
            elif message is not None:
                self.take(message)
            self.producer.poll(0)
            if time.monotonic() > life:
                life = time.monotonic() + LIFE
                self.live()
            if time.monotonic() > checkpoint:
                self.checkpoint()
                checkpoint = time.monotonic() + CHECKPOINT
        self.checkpoint()
        self.consumer.close()

    def take(self, message: Any) -> None:
        """Takes a record of a sensor, unless the state has it already. What is none goes to netlyra.dlq."""
        partition, offset = message.partition(), message.offset()
        sensor = (message.key() or b"").decode(errors="replace")
        if offset < self.offsets.get(partition, 0):
            self.anew(partition)
        self.offsets[partition] = offset + 1
        if (feed := self.feeds.get(sensor)) is None and len(self.feeds) == SENSORS:
            return self.once(f"more than {SENSORS} sensors: {sensor} is left")
        feed = feed or Feed(self.judge(), partition)
        if offset < feed.next:
            return
        feed.partition, feed.next = partition, offset + 1
        feed.consumer.records += 1
        try:
            for slot in self.slots(feed.consumer, message.value() or b""):
                for alert in feed.judge.take(slot):
                    self.alert(alert)
            self.feeds[sensor] = feed  # a record that is none makes no sensor
        except (Unreadable, *MALFORMED) as error:
            self.feeds.get(sensor, self.others).consumer.malformed += 1
            place = {"topic": self.topic, "partition": str(partition), "offset": str(offset)}
            headers = {"content-type": "application/octet-stream", "schema": "netlyra.dlq/1", "reason": str(error)}
            self.write("netlyra.dlq", message.key(), message.value(), headers | place)

    def anew(self, partition: int) -> None:
        """Goes on with the first record of a topic that was removed and made again."""
        say("WARN", f"{self.topic} was made anew: partition {partition} is read from its beginning")
        for feed in (each for each in self.feeds.values() if each.partition == partition):
            feed.next = 0

    def slots(self, consumer: Consumer, value: bytes) -> Any:
        """The slots that a record completes."""
        if self.topic == "netlyra.packets":
            return consumer.packet(value)
        frame = pa.CompressedInputStream(pa.BufferReader(value), "zstd")
        return consumer.part(list(iter(ipc.MessageReader.open_stream(frame))))

    def alert(self, alert: dict[str, Any]) -> None:
        """Writes a revision of an incident."""
        event = {"ce_specversion": "1.0", "ce_id": f"{alert['id']}/{alert['rev']}", "ce_type": "netlyra.alert"}
        event |= {"ce_source": f"netlyra/{alert['sensor']}", "ce_time": alert["last_ts"]}
        self.write("netlyra.alerts", alert["id"], orjson.dumps(alert), JSON | {"schema": "netlyra.alert/1"} | event)

    def live(self) -> None:
        """Gives a sign of life for each sensor."""
        for sensor, feed in self.feeds.items():
            figures, detector = feed.judge.figures(feed.consumer), feed.judge.detector()
            detector |= {"budget_per_day": feed.judge.budget, "learned_alerts": figures["incidents"]}
            state = {"v": 1, "sensor": sensor, "role": "engine", "version": __version__, "packets": figures["packets"]}
            state |= {"ts": when(time.time_ns() // 1000), "now": when(feed.judge.end) if feed.judge.end else None}
            state["detector"] = detector | {"open_incidents": figures["incidents_open"]}
            self.write("netlyra.sensors", sensor, orjson.dumps(state), JSON | {"schema": "netlyra.sensor/1"})

    def write(self, topic: str, key: Any, value: Any, headers: dict[str, str]) -> None:
        """Hands a record to the client library, which tries for as long as it takes."""
        while not self.late():
            try:
                self.producer.produce(topic, value, key, headers=list(headers.items()), on_delivery=self.delivered)
                return
            except BufferError:  # the broker is slower, or away
                self.producer.poll(0.2)

    def delivered(self, error: Any, message: Any) -> None:
        """Ends the engine if a record is refused: it would be missing."""
        if error:
            raise OSError(f"{message.topic()}: {error.str()}")

    def problem(self, error: Any) -> None:
        """Tells what is wrong with the broker, once. The client library goes on trying."""
        self.once(f"{error.str()}; trying on")

    def once(self, text: str) -> None:
        """Tells something that goes on, once."""
        if text != self.told:
            self.told = text
            say("WARN", text)

    def late(self) -> bool:
        """Whether it was stopped so long ago that what is not acknowledged is left for the next start."""
        return bool(self.stopped) and time.monotonic() > self.stopped[0] + DRAIN

    def checkpoint(self) -> None:
        """Saves the state and commits, when all alerts are acknowledged."""
        while self.producer.flush(1):
            if self.late():
                say("ERROR", "the broker does not acknowledge: what is behind the last checkpoint is judged anew")
                return
        self.save(self.feeds)
        at = [client.TopicPartition(self.topic, partition, offset) for partition, offset in self.offsets.items()]
        try:
            self.consumer.commit(offsets=at, asynchronous=False) if at else None
        except client.KafkaException as error:  # the group has moved on, or the broker is away: the state counts
            self.problem(error.args[0])

    def figures(self) -> dict[str, Any]:
        """Those of all sensors together."""
        all_of = [feed.judge.figures(feed.consumer) for feed in (self.others, *self.feeds.values())]
        total = {name: sum(each[name] for each in all_of) for name in all_of[0]}
        return total | {"learning": total["learning"] / max(len(self.feeds), 1), "sensors": len(self.feeds)}

    def assigned(self, consumer: Any, partitions: list[Any]) -> None:
        """Goes on where the sensors of the partitions stand. Those of others are another engine's."""
        mine = {p.partition for p in partitions}
        self.feeds = {name: feed for name, feed in self.feeds.items() if feed.partition in mine}
        for p in partitions:
            known = [feed.next for feed in self.feeds.values() if feed.partition == p.partition]
            if known:  # a record before that is one of another topic
                p.offset = self.offsets[p.partition] = min(known)
        consumer.assign(partitions)
        say("INFO", f"{self.topic}: partitions {[p.partition for p in partitions]}")

    def revoked(self, *_: Any) -> None:
        """Hands all partitions over; those that do not come back with the next assignment are another engine's."""
        self.checkpoint()
        self.offsets = {}


def follow(o: Any) -> int:
    """Runs the engine between topics. Gives the exit status."""
    header = f"netlyra-engine {__version__}, brokers, model {o.model}\n".encode()
    make = factory(o.model) if o.model else None

    def judge() -> Judge:
        fresh = Judge(make)
        fresh.budget = o.alert_budget
        return fresh

    feeds: dict[str, Feed] = load(o.state, header) if o.state and o.state.exists() else {}
    engine = Engine(o.brokers, "packets" if o.input == "packets" else "slots", judge, feeds)
    if o.state:
        engine.save = lambda feeds: save(o.state, header, feeds)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: engine.stopped.append(time.monotonic()))
    if o.metrics:
        core.REGISTRY.register(Metrics(engine.figures))
        start_http_server(o.metrics, o.metrics_host)
    engine.run()
    say("INFO", "ended", **engine.figures())
    return 0
