"""What the code declares against what a store has on record: pure, and the same on every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from onward.errors import RegistrationError
from onward.ports import HandlerEntry, ServiceEntry, SubscriptionEntry


def newcomers(service: str, entry: SubscriptionEntry, recorded: Mapping[str, tuple[str, str]]) -> list[HandlerEntry]:
    """The handlers that join a subscription on record, of which `recorded` says kind and start by name.

    Raises RegistrationError where one is missing here, is of another kind or start, or joins what is past its start.
    """
    here = {handler.name for handler in entry.handlers}
    for name in recorded:
        if name not in here:  # told first: a renamed handler is both lacking and new
            raise _missing(service, name, entry.topic)
    joining = []
    for handler in entry.handlers:
        before = recorded.get(handler.name)
        if before is None:
            if handler.start != "now":
                raise RegistrationError(
                    f"Handler {handler.name!r} joins the running subscription {service}/{entry.name} on topic"
                    f" {entry.topic!r} with start={handler.start!r}, but the others are past that. Give it"
                    " start='now', or alone=True for a position of its own. Nothing was handled."
                )
            joining.append(handler)
        elif before != (handler.kind, handler.start):
            raise RegistrationError(
                f"Handler {handler.name!r} of service {service!r} is on record as {before[0]}, start={before[1]},"
                f" and the code says {handler.kind}, start={handler.start}. Put it back, give it a new name, or"
                f" run `onward handlers retire {service} {handler.name}` first. Nothing was handled."
            )
    return joining


def no_earlier(entry: SubscriptionEntry, first: Sequence[int]) -> SubscriptionEntry:
    """The same, beginning in no partition before `first`: retention may have cut the log since starts were chosen."""

    def lift(starts: Sequence[int]) -> tuple[int, ...]:
        return tuple(map(max, starts, first))

    handlers = tuple(handler._replace(joined=lift(handler.joined)) for handler in entry.handlers)
    return replace(entry, handlers=handlers, starts=lift(entry.starts))


def refuse_unknown(service: ServiceEntry, recorded: Iterable[tuple[str, str]]) -> None:
    """Raises RegistrationError for a subscription on record, by name and topic, that the code lacks.

    It would silently stand still. A service that only publishes lacks nothing.
    """
    here = {(entry.name, entry.topic) for entry in service.subscriptions}
    for name, topic in recorded:
        if here and (name, topic) not in here:
            raise _missing(service.name, name, topic)


def _missing(service: str, name: str, topic: str) -> RegistrationError:
    shared = f" --topic {topic}" if name == "transactional" else ""
    return RegistrationError(
        f"Service {service!r} has {name!r} on record for topic {topic!r}, and this code lacks it: its events would"
        " count as done without having run. Deploy the code that has it, or run"
        f" `onward handlers rename {service} {name} NEW` or `onward handlers retire {service} {name}{shared}`."
        f" If only alone=… is another, `onward handlers move {service} HANDLER` or the same with --back."
        " Nothing was handled."
    )
