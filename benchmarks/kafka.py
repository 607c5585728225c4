"""`python -m benchmarks.kafka [--quick] [--full] [--json] [--only WORD]`: on a real Kafka and a real PostgreSQL.

They are started before the first benchmark and end with the last. Where BENCHMARK_KAFKA and BENCHMARK_POSTGRES name
servers, those are measured against; topics and databases of the benchmarks' own are made there, and replaced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from benchmarks import kafka_exactly, kafka_orders, kafka_postgres
from benchmarks.suite import Suite, measure
from scripts.servers import kafka_jars, postgres
from scripts.servers.errors import Absent, Failed
from scripts.servers.kafka import Kafka
from scripts.servers.process import Keeping
from scripts.servers.progress import progress

MODULES = (
    "consume",
    "send",
    "latency",
    "outbox",
    "relayed",
    "postgres",
    "relay",
    "workers",
    "scaling",
    "exactly",
    "peers",
    "clients",
)
ON_POSTGRES = frozenset({"outbox", "postgres", "relay", "workers", "scaling"})


@contextmanager
def _servers(words: Collection[str]) -> Iterator[dict[str, str]]:
    """Addresses are in the environment within; gives the servers' versions."""
    versions = {}
    with Keeping() as keeping:
        if kafka_orders.ADDRESS not in os.environ:
            kafka_jars.java()
            kafka_jars.fetch()
            with progress(f"Starting Kafka {kafka_jars.version()}"):
                os.environ[kafka_orders.ADDRESS] = Kafka(keeping).bootstrap
            versions["kafka"] = kafka_jars.version()
        if kafka_postgres.ADDRESS not in os.environ and not ON_POSTGRES.isdisjoint(words):
            with progress(f"Starting PostgreSQL {postgres.version()}"):
                os.environ[kafka_postgres.ADDRESS] = postgres.Postgres(keeping).url
            versions["postgres"] = postgres.version()
        if "exactly" in words:
            versions |= kafka_exactly.versions()
        yield versions


SUITE = Suite(
    "python -m benchmarks.kafka",
    modules=MODULES,
    packages=("onward", "confluent-kafka", "apsw", "msgspec", "psycopg", "faststream", "aiokafka"),
    prefix="kafka_",
    opened=_servers,
)

if __name__ == "__main__":
    try:
        sys.exit(measure(SUITE))
    except (Absent, Failed) as error:
        sys.exit(str(error))
