"""The handlers that a store has on record, changed from outside: what a service's code may not do by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from onward.errors import RegistrationError
from onward.inspection.accounts import Subscribed

SHARED = "transactional"  # the subscription that a service's transactional handlers share
LONGEST_NAME = 200  # characters


class RecordView(Protocol):
    """The record of one store. Every method blocks, and raises the StoreError that says why the store can't be read.

    What is changed is changed whole or not at all, while no process of the service runs: raises RegistrationError.
    """

    def subscriptions(self) -> list[Subscribed]:
        """All that are not retired, with their handlers."""
        ...

    def rename(self, service: str, old: str, new: str) -> list[str]:
        """Give a handler's record another name, with all that is counted under it; the topics it is on."""
        ...

    def retire(self, service: str, name: str, topic: str | None = None) -> list[str]:
        """Take a handler off the record, and its subscription when it was the last; the topics it was on.

        Its events are owed to nobody any more. `name` may be a subscription's when `topic` is given.
        """
        ...

    def move(self, service: str, name: str, *, alone: bool) -> list[str]:
        """Give a transactional handler a position of its own, where it stands, or the shared one back; its topics.

        Back it goes where both stand at the same place only, and have given up the same events as a whole.
        """
        ...


def running(service: str, processes: Iterable[str]) -> RegistrationError:
    return RegistrationError(
        f"Service {service!r} is running ({', '.join(processes)}) and would go on counting under the old names."
        " Nothing was changed; stop it, and try again."
    )


def unusable_name(service: str, old: str, new: str) -> RegistrationError:
    return RegistrationError(
        f"{old!r} of service {service!r} can't be renamed to {new!r}: that name is taken, empty, too long"
        f" or reserved ({SHARED}). Nothing was changed; choose another one of at most {LONGEST_NAME} characters."
    )


def not_on_topic(service: str, name: str, topic: str | None) -> RegistrationError:
    return RegistrationError(f"Handler {name!r} of service {service!r} is not on topic {topic!r}. Nothing was changed.")


def not_on_record(service: str, name: str) -> RegistrationError:
    hint = f" `{SHARED}` is a subscription: name its topic too, with --topic." if name == SHARED else ""
    return RegistrationError(
        f"Service {service!r} has no handler {name!r} on record. Nothing was changed; `onward handlers list` shows"
        f" what there is.{hint}"
    )


def cannot_move(service: str, name: str, *, kind: str, alone: bool) -> RegistrationError:
    if kind == "plain":
        why = "it runs without the transaction, and such a handler always has a position of its own"
    else:
        why = "it has a position of its own already" if alone else "it shares its service's position already"
    return RegistrationError(f"Handler {name!r} of service {service!r} can't be moved: {why}. Nothing was changed.")


def apart(service: str, name: str, topic: str, events: int) -> RegistrationError:
    return RegistrationError(
        f"Handler {name!r} of service {service!r} and the position that it is to share on {topic!r} are {events:,}"
        " events apart, and it would miss those or run them twice. Nothing was changed; run the service as it was"
        " until nothing waits for either, stop it, and try again."
    )


def buried_apart(service: str, name: str, topic: str, events: int) -> RegistrationError:
    return RegistrationError(
        f"Of {topic!r}, {events:,} events were given up before a handler was chosen by handler {name!r} of service"
        f" {service!r} or by the position that it is to share, and not by the other: what one of them has done would"
        " be run again, or what one of them owes be forgotten. Nothing was changed; run the service as it was, retry"
        f" those events (`onward dead-letters list --service {service}` shows them as none chosen) until they are"
        " recovered, or discard them where both gave them up, stop it, and try again."
    )
