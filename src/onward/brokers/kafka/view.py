"""`LogsView` of a cluster: the ends of topics, who reads them, and what may lose them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from onward.brokers.kafka.address import parse
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.cluster import Cluster
from onward.errors import BrokerError
from onward.inspection.finding import Finding
from onward.inspection.view import Bounds


class KafkaView:
    """One cluster, asked anew by each call."""

    def __init__(self, url: str) -> None:
        """Raises SettingError for an address that can't be used."""
        client = Client(parse(url), "cli")
        self._cluster = Cluster(client)
        self._servers = client.address.servers

    def bounds(self, topics: Collection[str]) -> Mapping[str, Sequence[Bounds]]:
        found: dict[str, Sequence[Bounds]] = {}
        for topic in topics:
            partitions = range(self._cluster.partitions(topic))
            if partitions:
                found[topic] = list(self._cluster.bounds(topic, partitions).values())
        return found

    def readers(self, groups: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Collection[int]]:
        return self._cluster.readers(groups)

    def examine(self, topics: Collection[str]) -> list[Finding]:
        try:
            copies = {topic: self._cluster.copies(topic) for topic in topics}
            found = [Finding("broker", True, f"Kafka answers at {self._servers}, cluster {self._cluster.name()}")]
        except BrokerError as error:
            return [Finding("broker", False, str(error), "Start the broker, or correct ONWARD_BROKER.")]
        absent = [topic for topic, each in copies.items() if not each]
        if absent:
            found.append(
                Finding(
                    "topics",
                    False,
                    f"{', '.join(absent)}: not on this broker",
                    "If this is the right broker, somebody deleted them: the next start of a service creates them.",
                )
            )
        alone = [topic for topic, each in copies.items() if each and min(each) == 1]
        if alone:
            found.append(
                Finding(
                    "replication",
                    True,
                    f"{', '.join(alone)}: a partition has one copy, and goes with the disk of its server",
                    "Keep three copies, two of them in sync (min.insync.replicas): kafka-reassign-partitions adds them"
                    " to topics that are there, `?replication=3` in ONWARD_BROKER gives them to new ones.",
                )
            )
        elif copies:
            found.append(Finding("replication", True, "every partition has more than one copy"))
        return found
