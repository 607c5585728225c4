"""Services as the page sees them: from the supervisor how they run, from the file how far they are."""

import asyncio
from typing import cast

import pytest

from onward.blueprints.shop import supervised
from onward.blueprints.shop.supervised import SupervisedServices
from onward.blueprints.shop.web.control import RunState
from onward.runtime.outlook import Lookout, Outlook
from onward.runtime.supervisor import ServiceState, Supervisor


class Supervising:
    """Two services, of which payment is stopped."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def states(self) -> list[ServiceState]:
        return [self._state("inventory", "running", (11,)), self._state("payment", "stopped", ())]

    async def stop(self, name: str) -> None:
        self.told.append(f"stop {name}")

    async def start(self, name: str) -> None:
        self.told.append(f"start {name}")

    @staticmethod
    def _state(name: str, state: str, pids: tuple[int, ...]) -> ServiceState:
        return ServiceState(name=name, state=state, pids=pids, handled=0, dead=0, lag=0, restarts=0, reasons=())


class Looking:
    def __init__(self) -> None:
        self.handled = 100

    def look(self) -> dict[str, Outlook]:
        return {
            "inventory": Outlook("inventory", 0, self.handled, 0, frozenset({11})),
            "payment": Outlook("payment", 250, 40, 3, frozenset()),
            "loyalty": Outlook("loyalty", 1, 5, 0, frozenset({99}), runs=True),
            "storefront": Outlook("storefront", 0, 5, 0, frozenset({12})),
        }


def services(supervisor: Supervising, looking: Looking) -> SupervisedServices:
    return SupervisedServices(cast(Supervisor, supervisor), cast(Lookout, looking))


def test_lag_and_failures_of_a_stopped_service_are_shown() -> None:
    shown = asyncio.run(services(Supervising(), Looking()).snapshot())
    assert [(each.name, each.state, each.lag, each.failures) for each in shown[:2]] == [
        ("inventory", RunState.RUNNING, 0, 0),
        ("payment", RunState.STOPPED, 250, 3),
    ]


def test_a_service_that_joined_from_another_terminal_is_shown_and_not_the_storefront() -> None:
    shown = asyncio.run(services(Supervising(), Looking()).snapshot())
    assert [(each.name, each.elsewhere, each.pid) for each in shown] == [
        ("inventory", False, 11),
        ("payment", False, None),
        ("loyalty", True, 99),
    ]


def test_rates_come_from_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 12.0])
    monkeypatch.setattr(supervised, "monotonic", lambda: next(now))
    looking = Looking()

    async def look_twice() -> float:
        shown = services(Supervising(), looking)
        await shown.snapshot()
        looking.handled += 50
        return (await shown.snapshot())[0].rate_per_s

    assert asyncio.run(look_twice()) == 25.0


def test_stop_and_start_reach_the_supervisor_and_only_for_its_own_services() -> None:
    supervisor = Supervising()

    async def press() -> None:
        shown = services(supervisor, Looking())
        await shown.stop("inventory")
        await shown.start("payment")
        with pytest.raises(KeyError):
            await shown.stop("loyalty")
        await asyncio.gather(*shown._acts)

    asyncio.run(press())
    assert supervisor.told == ["stop inventory", "start payment"]
