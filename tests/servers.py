"""Fixtures with real servers. A server starts when the first test asks for it and ends with the run.

Whatever a test did to a server, the next one finds it running, without topics or databases of earlier tests. What
takes longer to clear (groups, transactional ids) a test names for itself alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from scripts.servers import kafka_jars
from scripts.servers.errors import Absent
from scripts.servers.kafka import Kafka
from scripts.servers.postgres import Postgres
from scripts.servers.process import Keeping
from tests.absent import absent

FETCH_LIMIT_S = 80.0  # less than a test may take, so that the reason is said and not just that it was slow


@pytest.fixture(scope="session")
def keeping() -> Iterator[Keeping]:
    """What every server of the run ends with, also if the run is killed."""
    with Keeping() as keeping:
        yield keeping


@pytest.fixture(scope="session")
def shared_kafka(keeping: Keeping) -> Kafka:
    """For fixtures of wider scope; a test asks for `kafka`."""
    return _kafka(keeping, 1)


@pytest.fixture(scope="session")
def shared_kafka_cluster(keeping: Keeping) -> Kafka:
    """For fixtures of wider scope; a test asks for `kafka_cluster`."""
    return _kafka(keeping, 3)


@pytest.fixture(scope="session")
def shared_postgres(keeping: Keeping) -> Postgres:
    """For fixtures of wider scope; a test asks for `postgres`."""
    try:
        return Postgres(keeping)
    except Absent as error:
        absent(str(error))


@pytest.fixture
def kafka(shared_kafka: Kafka) -> Iterator[Kafka]:
    """A Kafka of one node, to create topics in, to kill, to start again, and to freeze."""
    yield shared_kafka
    shared_kafka.start()
    shared_kafka.delete_topics()


@pytest.fixture
def kafka_cluster(shared_kafka_cluster: Kafka) -> Iterator[Kafka]:
    """A Kafka of three nodes: topics have three replicas, and a write needs two."""
    yield shared_kafka_cluster
    shared_kafka_cluster.start()
    shared_kafka_cluster.delete_topics()


@pytest.fixture
def postgres(shared_postgres: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL server, to kill, to start again, and to freeze. Most tests need no more than `postgres_url`."""
    yield shared_postgres
    shared_postgres.start()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database that is this test's own."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.create_database(name)
    yield postgres.url_of(name)
    postgres.start()
    postgres.drop_database(name)


def _kafka(keeping: Keeping, size: int) -> Kafka:
    try:
        kafka_jars.fetch(FETCH_LIMIT_S)
        return Kafka(keeping, size, short_lived=True, guarded=size == 1)
    except Absent as error:
        absent(str(error))
