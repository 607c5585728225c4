"""This process among those that share its file: who is alive, whom to wake, and being woken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from time import time

from onward.ids import uuid7
from onward.sqlite.database import Database
from onward.sqlite.folder import run_folder
from onward.sqlite.members import Member, Members, Membership
from onward.sqlite.wake import Listener, Waker
from onward.version import VERSION

LEASE_S = 10.0


class Neighbours:
    """Membership of one service in one file. A database in memory has none but itself."""

    def __init__(self, database: Database, service: str) -> None:
        self._service = service
        self._members = Members(run_folder(database.path)) if database.path != ":memory:" else None
        self._waker = Waker(self._members) if self._members is not None else None
        self._membership: Membership | None = None
        self._listener: Listener | None = None
        self._id = uuid7()
        self._groups: tuple[str, ...] = ()

    def join(self, groups: Sequence[str], topics: Sequence[str], woken: Callable[[Iterable[str]], None]) -> str:
        """Share the partitions of these groups from now on; returns our id, which no other process ever has."""
        self._groups = tuple(groups)
        if self._members is None:
            return self._id
        self._listener = Listener(topics, woken)
        self._listener.start()
        self._membership = self._members.join(
            Member(
                id=self._id,
                service=self._service,
                pid=os.getpid(),
                started_at=time(),
                version=VERSION,
                address=self._listener.address,
                topics=tuple(topics),
                groups=self._groups,
            )
        )
        if self._waker is not None:
            self._waker.close()
            self._waker = Waker(self._members, beside=self._id)
        return self._id

    def alive(self, group: str) -> list[str]:
        """The live members of a group, in one order for all."""
        if self._members is None:
            return [self._id] if group in self._groups else []
        return sorted(member.id for member in self._members.alive(LEASE_S) if group in member.groups)

    def notify(self, topics: Iterable[str]) -> None:
        if self._waker is not None:
            self._waker.notify(topics)

    def beat(self) -> None:
        """Say that our event loop turns; at least once in LEASE_S, or others take our partitions."""
        if self._membership is not None:
            self._membership.beat()

    def leave(self) -> None:
        """Safe to repeat."""
        if self._membership is not None:
            self._membership.leave()
            self._membership = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._waker is not None:
            self._waker.close()
            self._waker = None
