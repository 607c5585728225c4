"""What a service is made of, without connecting."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from onward import App, Context, Event, Retention, Topic, Transaction
from onward.catalog.asyncapi import asyncapi
from onward.catalog.description import Description, describe
from onward.cli import describe as command


class Line(msgspec.Struct, frozen=True):
    sku: str


class Ordered(Event, type="catalog.ordered", topic="catalog.orders", key="order_id", version=2):
    order_id: str
    total: Decimal
    lines: list[Line]


class Reserved(Event, type="catalog.reserved", topic="catalog.stock"):
    order_id: str


def inventory() -> App:
    app = App("inventory", topics=[Topic("catalog.orders", partitions=3, retention=Retention(age_s=60, bytes=5))])
    app.invariant("never below zero", "SELECT 1 WHERE 0")

    @app.on(Ordered)
    async def reserve(order: Ordered, tx: Transaction) -> Reserved:
        raise AssertionError("nothing is called")

    @app.on(Reserved, start="now", concurrency=3, rate_limit="30/min")
    async def tell(reserved: Reserved, ctx: Context) -> None:
        raise AssertionError("nothing is called")

    return app


@pytest.fixture
def described() -> Description:
    app = inventory()
    return describe(app.plan, app.settings)


def test_handlers_are_described_with_what_they_take_and_give(described: Description) -> None:
    reserve, tell = described.handlers
    assert (reserve.name, reserve.kind, reserve.handles, reserve.publishes) == (
        "reserve",
        "transactional",
        ("catalog.ordered v2",),
        ("catalog.reserved v1",),
    )
    assert (reserve.start, reserve.concurrency, reserve.alone) == ("earliest", None, False)
    assert (reserve.calls_per_s, tell.calls_per_s) == (None, 0.5)
    assert (tell.kind, tell.start, tell.concurrency, tell.alone) == ("plain", "now", 3, True)


def test_topics_say_what_they_are_used_for(described: Description) -> None:
    orders, stock = described.topics
    assert (orders.name, orders.partitions, orders.keep_age_s, orders.keep_bytes) == ("catalog.orders", 3, 60, 5)
    assert (orders.consumed, orders.published) == (True, False)
    assert (stock.name, stock.partitions, stock.consumed, stock.published) == ("catalog.stock", 8, True, True)


def test_events_have_their_schema_and_settings_are_named(described: Description) -> None:
    ordered, _ = described.events
    assert (ordered.type, ordered.version, ordered.key) == ("catalog.ordered", 2, "order_id")
    assert "$defs" in ordered.schema
    assert described.store == "sqlite:///./onward.db"
    assert described.invariants == ("never below zero",)


def references(document: Any) -> list[str]:
    if isinstance(document, dict):
        own = [document["$ref"]] if isinstance(document.get("$ref"), str) else []
        return own + [found for value in document.values() for found in references(value)]
    if isinstance(document, list):
        return [found for value in document for found in references(value)]
    return []


def test_the_asyncapi_document_has_channels_messages_and_operations(described: Description) -> None:
    document = asyncapi([described])
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "inventory", "version": "1.0.0"}
    assert document["channels"]["catalog.orders"]["address"] == "catalog.orders"
    assert list(document["components"]["messages"]) == ["catalog.ordered.v2", "catalog.reserved.v1"]
    assert {name: body["action"] for name, body in document["operations"].items()} == {
        "inventory.reserve.receive.catalog.orders": "receive",
        "inventory.reserve.send.catalog.stock": "send",
        "inventory.tell.receive.catalog.stock": "receive",
    }


def test_every_reference_in_the_asyncapi_document_leads_somewhere(described: Description) -> None:
    document = asyncapi([described])
    found = references(document)
    assert len(found) >= 6
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_describe_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "load", lambda target: inventory())
    for option in ([], ["--json"], ["--asyncapi"]):
        result = CliRunner().invoke(command.describe, ["inventory:app", *option], catch_exceptions=False)
        assert result.exit_code == 0
        assert "catalog.ordered" in result.stdout
    assert list(tmp_path.iterdir()) == []
