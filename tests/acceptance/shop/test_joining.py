"""A fourth service joins a shop that has a history, from where whoever starts it says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onward.blueprints.shop import inventory, payment
from onward.runtime.outlook import Lookout
from onward.sqlite.accounts import subscriptions
from onward.sqlite.inspection import inspecting
from tests.unit.blueprints.shop.orders import order

LOYALTY = "onward.blueprints.shop.loyalty:app"
PATIENCE_S = 30.0
POINTS = 25  # of each order


@pytest.fixture(autouse=True)
def shop(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that everybody here works on."""
    monkeypatch.setenv("ONWARD_STORE", f"sqlite:///{database_path}")
    return database_path


def sell(shop: Path, *order_ids: str) -> None:
    """Orders that inventory and payment have done with when this returns."""

    async def trade() -> None:
        async with AsyncExitStack() as stack:
            for app in (inventory.app, payment.app):
                await stack.enter_async_context(app.lifespan())
            await payment.app.publish(*(order(order_id, backorder=True) for order_id in order_ids))
            async with asyncio.timeout(PATIENCE_S):
                while any(lookout(shop).look()[name].lag for name in ("inventory", "payment")):
                    await asyncio.sleep(0.01)

    asyncio.run(trade())


def run_loyalty(shop: Path, *options: str) -> None:
    """`onward run` until nothing waits for it any more."""
    command = [sys.executable, "-W", "error", "-m", "onward", "run", LOYALTY, "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "running" in json.loads(process.stdout.readline())
        asyncio.run(_until_done(shop, process))
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints


async def _until_done(shop: Path, process: subprocess.Popen[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while process.poll() is None:
            found = lookout(shop).look().get("loyalty")
            if found is not None and found.pids and not found.lag:
                return
            await asyncio.sleep(0.02)


def lookout(shop: Path) -> Lookout:
    return Lookout(f"sqlite:///{shop}")


def points(shop: Path) -> int:
    with inspecting(shop) as inspection:
        return sum(row[0] for row in inspection.rows("SELECT points FROM loyalty_account"))


@pytest.mark.parametrize(("start", "of_history"), [("now", 0), ("earliest", 3), ("between", 1)])
def test_a_service_joins_from_where_it_is_told_and_later_runs_go_on_from_there(
    shop: Path, start: str, of_history: int
) -> None:
    sell(shop, "1", "2")
    between = datetime.now(UTC).isoformat()
    sell(shop, "3")
    run_loyalty(shop, "--start", between if start == "between" else start)
    assert points(shop) == of_history * POINTS
    sell(shop, "4")
    run_loyalty(shop)
    assert points(shop) == (of_history + 1) * POINTS
    run_loyalty(shop, "--start", "earliest")
    assert points(shop) == (of_history + 1) * POINTS, "the store knows it by now: it goes on where it stood"
    assert lookout(shop).audit().problems == ()
    with inspecting(shop) as inspection:
        declared = {handler.start for each in subscriptions(inspection) for handler in each.handlers}
    assert declared == {"earliest"}, "what is on record is the declaration"
