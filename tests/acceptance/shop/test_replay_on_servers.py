"""The same shop on a real Kafka, with its books in a file or in PostgreSQL: the totals are the file's to the penny."""

from __future__ import annotations

import gzip
import re
from decimal import Decimal
from itertools import islice
from pathlib import Path

import psycopg
import pytest

from onward.blueprints.shop import events, inventory, loyalty, payment, replay, shipping, storefront
from scripts.servers.kafka import Kafka
from tests.acceptance.shop.shop_process import ROOT, run, running, until
from tests.acceptance.shop.test_replay import Plain, assert_exact

ROWS = 3_000
MONEY = Decimal("57004.33")


@pytest.fixture
def some_orders(orders_csv: Path, tmp_path: Path) -> Path:
    """The first of the real ones."""
    found = tmp_path / "some.csv.gz"
    with gzip.open(orders_csv, "rb") as every, gzip.open(found, "wb") as some:
        some.writelines(islice(every, ROWS + 1))
    return found


def published(store: str) -> int:
    with psycopg.connect(store) as connection:
        try:
            rows = connection.execute("SELECT published FROM replay_file").fetchall()
        except psycopg.errors.UndefinedTable:
            return 0
        return rows[0][0] if rows else 0


def test_totals_are_the_files_with_the_events_on_kafka_and_the_books_in_a_file(
    some_orders: Path, tmp_path: Path, kafka: Kafka
) -> None:
    said = run(tmp_path, "--orders", str(some_orders), "--broker", kafka.url)
    assert_exact(said, Plain(some_orders), MONEY)


@pytest.mark.timeout(240)
def test_totals_are_the_files_with_the_books_in_postgresql_though_killed_in_the_middle(
    some_orders: Path, tmp_path: Path, kafka: Kafka, postgres_url: str
) -> None:
    where = ("--orders", str(some_orders), "--broker", kafka.url, "--store", postgres_url)
    with running(tmp_path, *where, "--json") as shop:
        until(lambda: published(postgres_url) > 0, "some are published")
        shop.kill()
    said = run(tmp_path, *where)
    assert_exact(said, Plain(some_orders), MONEY)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT SUM(charges), MAX(charges) FROM payment_order").fetchone()
    assert found == (said["orders"], 1)


@pytest.mark.parametrize("module", [events, inventory, loyalty, payment, replay, shipping, storefront])
def test_no_broker_and_no_store_is_named_in_the_services(module: object) -> None:
    path = Path(str(vars(module)["__file__"]))
    assert path.is_relative_to(ROOT / "src")
    named = re.findall(r"(?i)kafka|postgres|psycopg|sqlite|apsw|rabbit|\bsqs\b", path.read_text())
    assert named == []
