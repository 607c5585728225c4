"""The shop's services under onward's supervisor, as the page sees them."""

import asyncio
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

from onward.blueprints.shop.web.control import RunState, ServiceState
from onward.runtime.outlook import Lookout, Outlook
from onward.runtime.supervisor import Supervisor

TARGETS = [(name, f"onward.blueprints.shop.{name}:app") for name in ("inventory", "payment", "shipping")]
STOREFRONT = "storefront"  # runs with the page itself
SHORTEST_LOOK_S = 0.5


class SupervisedServices:
    """`ServiceControl` over a supervisor and the store that its services work on.

    Lag, rate and failures are read from the store, so they are right for a stopped service too, and for one that
    somebody runs elsewhere: that one is shown as well.
    """

    def __init__(self, supervisor: Supervisor, lookout: Lookout) -> None:
        self._supervisor = supervisor
        self._lookout = lookout
        self._line = asyncio.Lock()
        self._acts: set[asyncio.Task[None]] = set()
        self._seen: dict[str, Outlook] = {}
        self._seen_at = 0.0
        self._rates: dict[str, float] = {}

    async def stop(self, name: str) -> None:
        self._known(name)
        self._act(self._supervisor.stop(name))

    async def start(self, name: str) -> None:
        self._known(name)
        self._act(self._supervisor.start(name))

    async def snapshot(self) -> Sequence[ServiceState]:
        look = await self._look()
        ours = self._supervisor.states()
        shown = [
            ServiceState(
                name=state.name,
                state=RunState(state.state),
                rate_per_s=self._rates.get(state.name, 0.0),
                lag=look[state.name].lag if state.name in look else 0,
                failures=look[state.name].failures if state.name in look else 0,
                pid=state.pids[0] if state.pids else None,
            )
            for state in ours
        ]
        known = {STOREFRONT, *(state.name for state in ours)}
        others = [outlook for name, outlook in look.items() if name not in known and (outlook.runs or outlook.handled)]
        return shown + [self._elsewhere(outlook) for outlook in others]

    def _elsewhere(self, outlook: Outlook) -> ServiceState:
        return ServiceState(
            name=outlook.service,
            state=RunState.RUNNING if outlook.runs else RunState.STOPPED,
            rate_per_s=self._rates.get(outlook.service, 0.0),
            lag=outlook.lag,
            failures=outlook.failures,
            pid=min(outlook.pids, default=None),
            elsewhere=True,
        )

    def _known(self, name: str) -> None:
        if name not in {state.name for state in self._supervisor.states()}:
            raise KeyError(name)

    def _act(self, act: Coroutine[Any, Any, None]) -> None:
        """Let it happen while the page goes on; the supervisor's states tell how far it is."""
        task = asyncio.create_task(act)
        self._acts.add(task)
        task.add_done_callback(self._acts.discard)

    async def _look(self) -> dict[str, Outlook]:
        """What the store says now, and from it the rates since the last look. Off the loop, as it takes a while."""
        async with self._line:
            now, seen = monotonic(), await asyncio.to_thread(self._lookout.look)
        elapsed_s = now - self._seen_at
        if elapsed_s >= SHORTEST_LOOK_S:
            self._rates = {
                name: (outlook.handled - self._seen[name].handled) / elapsed_s
                for name, outlook in seen.items()
                if name in self._seen
            }
            self._seen, self._seen_at = seen, now
        return seen
