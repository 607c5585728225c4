"""The port of what keeps effects and accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from onward.ports.accounts import Claim, Queues, Retried, Settlement
from onward.ports.capabilities import Capabilities
from onward.ports.records import Outgoing
from onward.ports.registration import ServiceEntry
from onward.ports.transaction import Result, SyncTransaction, Transaction

if TYPE_CHECKING:
    from types import TracebackType

    from onward.ledger import Numbers

Returned = TypeVar("Returned")


class Unit(Protocol):
    """One open store transaction under the pipeline's control. Leaving without `commit` rolls back."""

    @property
    def tx(self) -> Transaction: ...

    @property
    def outputs(self) -> list[Outgoing]:
        """What was published so far, to be added to; shortened by `undo`."""
        ...

    async def run_sync(self, function: Callable[[SyncTransaction], Returned]) -> Returned:
        """Call a plain function with this transaction: in a thread of its own where statements wait for a server."""
        ...

    async def mark(self) -> None:
        """Open a savepoint; marks nest, at most 3 deep."""
        ...

    async def undo(self) -> None:
        """Take back everything since the innermost mark, outputs too, and close it.

        `tx` is another one from then on: what a failed handler left running can't write for its neighbours. Raises
        TransactionError when a statement has undone the whole transaction by itself, as a schema can say.
        """
        ...

    async def keep(self) -> None:
        """Close the innermost mark, keeping what happened since.

        Raises TransactionError if a statement failed inside and was caught without a savepoint.
        """
        ...

    async def retrying(self, claim: Claim) -> list[Retried]:
        """Dead letters of this account that someone asked to run again, oldest first, at most 100."""
        ...

    async def queues(self, claim: Claim, now: float) -> Queues:
        """What is parked here behind no dead letter: at most 100, key by key, each key's in order, and 100 empty keys.

        Nobody parks anything behind those keys until this transaction ends, so that they can be freed with it.
        """
        ...

    async def commit(self, claim: Claim | None, settlement: Settlement | None) -> None:
        """Write outputs and account and commit, comparing the claim's token and revision.

        Raises ClaimLostError (nothing stored), CommitUncertainError (all was stored, or nothing: claim again),
        TransactionError, InfrastructureError. `claim` advances after it. Cancelled, it may hold, as a whole, where the
        commit was on its way: as after CommitUncertainError.
        """
        ...

    async def __aenter__(self) -> Unit: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """Keeps effects, accounts, attempts and dead letters, all in one transaction."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def identity(self) -> str:
        """Which store this is, the same for all its users and at every start; "" for one of this process alone."""
        ...

    async def open(self, service: ServiceEntry) -> list[int]:
        """Make the store ready for a service and return its subscriptions' ids, in order.

        Creates a new subscription's accounts all at once; compares a known one with what is on record. A handler that
        joins one: all events that it is past count as skipped for the handler, and its claims are taken back, since
        whoever has them does not know the handler. Raises RegistrationError when a recorded handler is missing here or
        has another kind or start.
        """
        ...

    async def claim(self, subscription: int, topic: str, partitions: Sequence[int], member: str) -> list[Claim]:
        """Take the accounts over: whoever had them can't commit any more. Counts an unclean start.

        It reads the latest incarnations alone, RECENT at most, of those whose numbers came. A partition that came after
        the subscription was created has its account from now on, and is owed from offset 0.
        """
        ...

    async def recall(self, claim: Claim, incarnations: Iterable[str]) -> Mapping[str, Numbers]:
        """What is stored of these incarnations, which the claim did not read, as there may be many; of some nothing.

        Raises StoreError.
        """
        ...

    async def release(self, claims: Sequence[Claim], *, excused: bool = False) -> None:
        """Give accounts back cleanly, which clears their unclean starts. Claims that were lost are left alone.

        `excused`, after a failure below the handlers: only each claim's own start counts as clean.
        """
        ...

    def unit(self) -> Unit:
        """A new transaction; entering it waits its turn to write."""
        ...

    async def read(self, sql: str, params: Mapping[str, object]) -> Result:
        """Run one query on what is committed, without a turn to write.

        Raises TransactionError for anything but a SELECT, and inside a transaction of the same task; StoreError.
        """
        ...

    async def close(self) -> None: ...
