"""Which steps the tables of a store have taken, and which this onward would have them take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """When a step runs: before a version is deployed, beside the one before; or after it, when that one is gone."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step; `known` is False for one of another version of onward."""

    version: int
    phase: str
    name: str
    installed: bool
    known: bool = True


@dataclass(frozen=True, slots=True)
class Schema:
    """All steps by version; `trouble` says why this onward can't run on the store, "" where it can."""

    database: str
    steps: tuple[Step, ...]
    trouble: str


class SchemaView(Protocol):
    """The tables of one store. Both methods block and raise the StoreError that says why it can't be read."""

    def look(self) -> Schema:
        """Changes nothing."""
        ...

    def install(self, phase: Phase) -> list[Step]:
        """Install the steps that are next and of this phase, each whole or not at all; which those were.

        Steps go in the order of their numbers: one of the other phase ends it. A store that has none yet gets all
        at once, before. Safe to repeat, and to run by several at once. Raises SchemaVersionError for a newer onward's
        store, and where one of the other phase has to go first.
        """
        ...
