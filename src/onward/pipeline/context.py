"""What a handler may know of the event beyond its fields."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from onward.errors import TransactionError
from onward.events import Envelope
from onward.ports import Transaction


@dataclass(frozen=True, slots=True)
class Context:
    """One handling of one event by one handler; made only for those who ask.

    `attempt` is 1 the first time. `late` is True when the event comes after others of its key that should have
    followed it.
    """

    service: str
    handler: str
    envelope: Envelope
    attempt: int = 1
    late: bool = False
    _open: Callable[[], AbstractAsyncContextManager[Transaction]] | None = field(default=None, repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same over all attempts of this event by this handler, and of no other: pass it to other systems."""
        return f"{self.service}:{self.handler}:{self.envelope.id}"

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The store transaction of a plain handler, once: `async with ctx.transaction() as tx`.

        What happens inside commits when the *handler returns*, together with the events it returns and the mark
        that this event is done; an exception after the block undoes it. It holds the store's write lock from the
        block's start until then, so do what waits before it.
        """
        if self._open is None:
            raise TransactionError(
                f"Handler {self.handler!r} has its transaction already: it is the parameter `tx`, use that."
            )
        return self._open()
