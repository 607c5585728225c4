"""A line of JSON as anyone's client writes it, from `onward publish` to a handler and back onto the wire."""

import asyncio
import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from onward import App, Event, Transaction
from onward.cli import main
from onward.sqlite.database import Database
from tests.integration.services import handle

LINE = '{"order_id": 123, "customer_id": 456, "total": 100.0}'


class Ordered(Event, type="wire.ordered", topic="wire.orders"):
    order_id: int
    customer_id: int
    total: Decimal


class Billed(Event, type="wire.billed", topic="wire.bills"):
    order_id: int
    customer_id: int
    total: Decimal


def logged(path: Path) -> dict[str, list[bytes]]:
    """By wire type, "" where the record names none."""
    found: dict[str, list[bytes]] = {}
    with closing(Database.open(path)) as database:
        rows = database.read(
            "SELECT coalesce(k.type, ''), value FROM onward_log LEFT JOIN onward_kind k ON k.id = kind"
        )
    for name, value in rows:
        found.setdefault(name, []).append(value)
    return found


def test_plain_json_without_key_and_headers_is_handled_as_declared_and_what_is_written_for_it_reads_back_the_same(
    database_path: Path,
) -> None:
    published = CliRunner().invoke(main, ["publish", "wire.orders", "-d", str(database_path)], input=LINE)
    assert published.exit_code == 0, published.output
    handled: list[Ordered] = []
    app = App("billing", store=f"sqlite:///{database_path}")

    @app.on(Ordered)
    async def bill(order: Ordered, tx: Transaction) -> list[Any]:
        handled.append(order)
        again = [] if len(handled) > 1 else [order]
        return [Billed(order_id=order.order_id, customer_id=order.customer_id, total=order.total), *again]

    asyncio.run(handle(app))
    assert handled == [Ordered(order_id=123, customer_id=456, total=Decimal("100.0"))] * 2
    assert [type(value) for value in (handled[0].order_id, handled[0].customer_id, handled[0].total)] == [
        int,
        int,
        Decimal,
    ]
    values = logged(database_path)
    assert values[""] == [LINE.encode()], "the bytes of the line are kept as they are"
    assert {name: len(each) for name, each in values.items()} == {"": 1, "wire.ordered": 1, "wire.billed": 2}
    for value in (*values["wire.ordered"], *values["wire.billed"]):
        assert json.loads(value) == json.loads(LINE) == {"order_id": 123, "customer_id": 456, "total": 100.0}
        assert b'"total":100.0' in value, "a number, to its last digit, and not a text"
