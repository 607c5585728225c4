"""What took effect, read off the commits: a handler that was called and rolled back has handled nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from onward.brokers.memory import MemoryLog
from onward.events import registry
from onward.ledger import Position
from onward.pipeline.context import Context
from onward.pipeline.handlers import Handler
from onward.pipeline.invocation import Bound
from onward.pipeline.routing import Routes
from onward.ports import Claim, Outgoing, Record, Settlement, Unit, WireType
from onward.runtime.service import ServicePlan


class Handled(NamedTuple):
    """One event that one handler of a service has handled."""

    service: str
    handler: str
    event: Any


class Observer:
    """Notes what a service's commits say was handled, in their order."""

    def __init__(self, plan: ServicePlan, log: MemoryLog, handled: list[Handled]) -> None:
        self._service = plan.name
        self._log = log
        self._handled = handled
        self._routes = [Routes(topic, _bounds(handlers), log) for _, topic, handlers in plan.groups()]

    def settled(self, claim: Claim, before: Position, done: Settlement) -> None:
        """A commit moved an account from `before`; subscriptions are numbered from 1 in the plan's order."""
        routes = self._routes[claim.subscription - 1]
        apart = {(letter.offset, letter.handler) for letter in done.dead}
        apart.update((event.offset, event.handler) for event in done.parked)
        lane = self._log.lanes[claim.topic][claim.partition]
        for pending in before.unfinished(len(lane)):
            for offset in filter(done.position.done, pending):
                if (offset, "") not in apart:
                    self._note(routes, claim, lane[offset], apart)

    def _note(self, routes: Routes, claim: Claim, record: Record, apart: set[tuple[int, str]]) -> None:
        route = routes.route(record[1])
        for bound in route.handlers:
            name = bound.handler.name
            if (record[0], name) not in apart and claim.joined.get(name, 0) <= record[0]:
                self._handled.append(Handled(self._service, name, route.open(record[2])))


def published(log: MemoryLog, services: Sequence[str]) -> list[Any]:
    """The events that these services published, in the order of publishing; raw bytes for a type unknown here."""
    found: list[tuple[str, Any]] = []
    for topic, lanes in log.lanes.items():
        for partition, lane in enumerate(lanes):
            for record in lane:
                envelope = log.envelope(topic, partition, record)
                if envelope.source in services:
                    found.append((envelope.id, _decoded(WireType(envelope.type, envelope.version), record[2])))
    return [event for _, event in sorted(found, key=lambda each: each[0])]  # ids rise with time


def decoded(outgoing: Outgoing) -> Any:
    """The event; raw bytes for a type unknown here."""
    return _decoded(WireType(outgoing.type, outgoing.version), outgoing.value)


def _decoded(wire_type: WireType, value: bytes | None) -> Any:
    kind = registry().get(wire_type.type, wire_type.version)
    return value if kind is None or value is None else kind.decode(value)


def _bounds(handlers: Sequence[Handler]) -> list[Bound]:
    return [Bound(handler, _refuse, None, wants_context=False) for handler in handlers]


async def _refuse(_event: Any, _unit: Unit | None, _context: Context | None) -> None:
    raise AssertionError("an observer's routes are looked at and never run")
