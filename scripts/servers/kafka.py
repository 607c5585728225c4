"""A Kafka of one node or several: KRaft, each node broker and controller, all on loopback."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stub leaves NewTopic out

from scripts.servers import kafka_jars
from scripts.servers.errors import Failed
from scripts.servers.kafka_guard import make_guard
from scripts.servers.kafka_settings import server_properties
from scripts.servers.ports import free_ports, listens
from scripts.servers.process import Keeping, Process

HEAP = "-Xmx512m"
# Half of the time to start, and slower code ever after.
FOR_A_SHORT_LIFE = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
ASK_LIMIT_S = 30.0
LOG4J2 = Path(__file__).with_name("kafka_log4j2.properties")


class KafkaNode:
    """One process of the cluster. Killed and started again, it has its data, its number and its port."""

    def __init__(self, keeping: Keeping, folder: Path, number: int, port: int, *, short_lived: bool) -> None:
        self.number = number
        self.port = port
        options = [HEAP, "-XX:-UsePerfData", f"-Djava.io.tmpdir={folder}", f"-Dlog4j2.configurationFile={LOG4J2}"]
        self._java = [kafka_jars.java(), *options, "-cp", f"{kafka_jars.fetch()}/*"]
        self._properties = str(folder / "server.properties")
        command = [*self._java, *(FOR_A_SHORT_LIFE if short_lived else ()), "kafka.Kafka", self._properties]
        self.process = Process(keeping, f"Kafka's node {number}", folder, command)

    def format(self, cluster_id: str) -> subprocess.Popen[str]:
        """Begins to make its empty data folder."""
        return subprocess.Popen(
            [
                *self._java,
                *FOR_A_SHORT_LIFE,
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster_id}",  # in one word: one in 64 begins with a dash
                "-c",
                self._properties,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def begin(self) -> None:
        """Starts the process without waiting for it."""
        self.process.start()

    def wait(self) -> None:
        """Returns when the node takes part in its cluster."""
        self.process.wait_until(lambda: listens(self.port))
        admin = self._admin()
        self.process.wait_until(lambda: self._is_member(admin))

    def wait_for_topic(self, name: str, partitions: int) -> None:
        """Returns when the node knows a leader for each of the topic's partitions. Does nothing while it is down."""
        if self.process.running:
            admin = self._admin()
            self.process.wait_until(lambda: _is_led(admin, name, partitions))

    def start(self) -> None:
        """Returns when it takes part in its cluster. Does nothing while it runs."""
        self.begin()
        self.wait()

    def kill(self) -> None:
        """SIGKILL; its data stay."""
        self.process.kill()

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})

    def _is_member(self, admin: AdminClient) -> bool:
        try:
            return self.number in admin.list_topics(timeout=1).brokers
        except KafkaException:
            return False


class Kafka:
    """A running cluster, until its keeping closes. Topics have as many replicas as it has nodes.

    `short_lived` starts in half the time and is no server to measure. `guarded` gives a single node a second door.
    """

    def __init__(self, keeping: Keeping, size: int = 1, *, short_lived: bool = False, guarded: bool = False) -> None:
        folder = keeping.folder / f"kafka-{os.urandom(4).hex()}"
        folder.mkdir()
        *ports, guarded_port = free_ports(2 * size + 1)
        self.guard = make_guard(folder, guarded_port) if guarded else None
        self.nodes: list[KafkaNode] = []
        for number in range(1, size + 1):
            own = folder / str(number)
            own.mkdir()
            (own / "server.properties").write_text(
                server_properties(number, own, ports[:size], ports[size:], self.guard)
            )
            self.nodes.append(KafkaNode(keeping, own, number, ports[number - 1], short_lived=short_lived))
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"kafka://{self.bootstrap}"
        self._format()
        self.start()
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def start(self) -> None:
        """Starts the nodes that do not run, and returns when the cluster has all of them."""
        for node in self.nodes:
            node.begin()
        for node in self.nodes:
            node.wait()

    def kill(self) -> None:
        """SIGKILL for every node; their data stay."""
        for node in self.nodes:
            node.kill()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, every node stands still, its connections open."""
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node.process.frozen())
            yield

    def create_topic(self, name: str, partitions: int) -> None:
        """Returns when every node knows the topic and a leader for each partition."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=len(self.nodes))
        self._admin.create_topics([topic])[name].result(ASK_LIMIT_S)
        for node in self.nodes:
            node.wait_for_topic(name, partitions)

    def delete_topics(self) -> None:
        """Deletes every topic that is not Kafka's own."""
        names = [name for name in self._admin.list_topics(timeout=ASK_LIMIT_S).topics if not name.startswith("__")]
        if names:
            for deleted in self._admin.delete_topics(names).values():
                deleted.result(ASK_LIMIT_S)

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        with ExitStack() as stack:
            formatting: list[subprocess.Popen[str]] = []
            for node in self.nodes:
                formatting.append(stack.enter_context(node.format(cluster_id)))
                stack.callback(formatting[-1].kill)  # if we are interrupted
            for node, process in zip(self.nodes, formatting, strict=True):
                said, _ = process.communicate()
                if process.returncode != 0:
                    raise Failed(f"Kafka's node {node.number} could not make its data folder:\n{said}")


def _is_led(admin: AdminClient, name: str, partitions: int) -> bool:
    try:
        found = admin.list_topics(name, timeout=1).topics[name].partitions
    except KafkaException:
        return False
    return len(found) == partitions and all(each.leader >= 0 for each in found.values())
