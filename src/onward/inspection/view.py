"""What can be asked of a store from outside, beside the services that work on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from onward.inspection.finding import Finding
from onward.inspection.letter import Letter
from onward.inspection.report import Progress, Report, untold
from onward.inspection.status import Status

Bounds = tuple[int, int]
"""The first offset of a partition that is still there, and the next one to be given out."""


class Ruling(StrEnum):
    """What becomes of a dead letter, of an event that its broker refused, or of a finding of the audit."""

    RETRY = "retry"
    DISCARD = "discard"
    ACCEPT = "accept"  # of findings that are on record for good: they are no problems any more


class StoreView(Protocol):
    """One store, seen from outside. Every method opens what it needs, closes it, and blocks meanwhile.

    Only `rule` changes anything. All raise the StoreError that says why the store can't be read, but for `examine`,
    which finds that. What a transaction reads is read in a short one, so that no service waits for it.
    """

    def status(self) -> Status:
        """How each service stands at this moment; with lags as far as the ends of its topics are known."""
        ...

    def audit(self, *, deep: bool = False, progress: Progress = untold) -> Report:
        """Account for every event, also while services work: positions are read first, the ends of logs after them.

        `deep` compares the ids of all events, where the store holds the log. Raises BrokerError.
        """
        ...

    def letters(
        self, ids: Sequence[int] | None = None, *, service: str | None = None, every_state: bool = False
    ) -> list[Letter]:
        """What brokers refused, and dead letters that wait for somebody, or of `every_state`.

        Each kind the newest first, at most 1,000. Those of `ids` in any state and any order; raises StoreError when
        one is not there.
        """
        ...

    def rule(self, ruling: Ruling, ids: Sequence[int] | None) -> int:
        """Decide on these, all or none; without ids on all that are dead or were refused. How many that were.

        What was refused is put back into its outbox, the same event, or is forgotten. Services that run go about it at
        once. Raises StoreError for one that the ruling can't be given for. Findings are accepted by their ids, once.
        """
        ...

    def examine(self) -> list[Finding]:
        """What is wrong with this machine, the store and what it holds, and how to mend it. Raises no OnwardError."""
        ...


class LogsView(Protocol):
    """The broker that holds the logs, where the store does not, seen from outside. Every method blocks."""

    def bounds(self, topics: Collection[str]) -> Mapping[str, Sequence[Bounds]]:
        """Of each partition, by topic; nothing of a topic that is not there. Raises BrokerError."""
        ...

    def readers(self, groups: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Collection[int]]:
        """Of each group and topic the partitions that a living member reads; nothing where that is not sure now.

        Who was killed is a living member for some seconds more. Raises no OnwardError.
        """
        ...

    def examine(self, topics: Collection[str]) -> list[Finding]:
        """What is wrong with the broker and these topics. Raises no OnwardError."""
        ...
