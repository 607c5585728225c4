"""Waking the relay for a process that opens no service: for its own transactions, once they have committed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from time import sleep

import psycopg

from onward.stores.postgres.address import Address
from onward.stores.postgres.news import CHANNEL, NOTIFY

LINGER_S = 5.0
"""How long its thread and connection stay after the last commit, and how long it is silent after a failure."""


class Crier:
    """Says on a thread and connection of its own, one of each, that something was committed to one database.

    What it says is lost without harm: the relay looks by itself too.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._changed = threading.Condition()
        self._due: set[str] = set()
        self._thread: threading.Thread | None = None

    def cry(self, service: str) -> None:
        """Soon. From any thread; waits for nothing and never raises."""
        with self._changed, suppress(RuntimeError):  # no thread may begin, as when the interpreter ends
            self._due.add(service)
            self._changed.notify()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="onward-crier", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        try:
            with psycopg.connect(
                self._address.conninfo, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor
            ) as connection:
                while due := self._next():
                    for service in due:
                        with suppress(psycopg.errors.LockNotAvailable):
                            connection.execute(NOTIFY, (CHANNEL, service))
        except psycopg.Error:
            sleep(LINGER_S)
            with self._changed:
                self._due.clear()
                self._thread = None

    def _next(self) -> set[str]:
        """The services to be told of; none once there were none for so long that the thread ends."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._due, LINGER_S):
                self._thread = None
            due, self._due = self._due, set()
        return due


@lru_cache(64)
def waker_of(url: str, service: str) -> Callable[[], None]:
    """What wakes the relay of a service. From any thread; waits for nothing and never raises."""
    return partial(_crier_at(url).cry, service)


@lru_cache(64)
def _crier_at(url: str) -> Crier:
    return Crier(Address.read(url))


def _forget() -> None:
    """Threads stay with the parent, and a lock that one of them held would stay locked in its child."""
    waker_of.cache_clear()
    _crier_at.cache_clear()


os.register_at_fork(after_in_child=_forget)
