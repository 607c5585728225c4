"""A desk and services in memory, which do as they are told."""

from collections.abc import Sequence
from dataclasses import replace

from onward.blueprints.shop.journey import Step, Tone
from onward.blueprints.shop.lines import value_of
from onward.blueprints.shop.web.control import RunState, ServiceState
from onward.blueprints.shop.web.desk import RUSH_ORDERS, Basket, OrderView
from onward.errors import OnwardError


class FakeDesk:
    """Keeps orders; `broken` makes every verb fail."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderView] = {}
        self.free: dict[str, int] = {"OS-MUG": 3}
        self.revision = 0
        self.rushes = 0
        self.restocks = 0
        self.looks = 0
        self.broken: OnwardError | None = None

    async def place(self, basket: Basket) -> str:
        self._work()
        order_id = f"OS-{1001 + len(self.orders)}"
        placed = Step("storefront", "Order placed", "", Tone.GOOD)
        self.revision += 1
        self.orders[order_id] = OrderView(
            order_id, basket.customer, 0, value_of(basket.lines), basket.lines, [placed], self.revision
        )
        return order_id

    def note(self, order_id: str, step: Step) -> None:
        self.revision += 1
        before = self.orders[order_id]
        self.orders[order_id] = replace(before, steps=[*before.steps, step], revision=self.revision)

    async def rush(self) -> int:
        self._work()
        self.rushes += 1
        return RUSH_ORDERS

    async def restock(self) -> None:
        self._work()
        self.restocks += 1

    async def orders_since(self, revision: int, limit: int) -> Sequence[OrderView]:
        self.looks += 1
        self._work()
        changed = [order for order in self.orders.values() if order.revision > revision]
        return sorted(changed, key=lambda order: order.revision)[-limit:]

    async def levels(self) -> dict[str, int]:
        self._work()
        return dict(self.free)

    def _work(self) -> None:
        if self.broken is not None:
            raise self.broken


class FakeServices:
    """Three services that stop and start at once."""

    def __init__(self) -> None:
        self.states = {
            name: ServiceState(name, RunState.RUNNING, 12.34, 0, 0, 100 + place)
            for place, name in enumerate(("inventory", "payment", "shipping"))
        }

    def lag(self, name: str, events: int) -> None:
        self.states[name] = replace(self.states[name], lag=events)

    def running(self) -> list[str]:
        return [name for name, state in self.states.items() if state.state is RunState.RUNNING]

    async def stop(self, name: str) -> None:
        self.states[name] = replace(self.states[name], state=RunState.STOPPED, pid=None)

    async def start(self, name: str) -> None:
        self.states[name] = replace(self.states[name], state=RunState.RUNNING, pid=7)

    async def snapshot(self) -> Sequence[ServiceState]:
        return list(self.states.values())
