"""A fork leaves the child with the parent's connections and locks: it must use none, and hold none."""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import NoReturn, Protocol

import apsw

from onward.errors import StoreError


class Disownable(Protocol):
    """Something that a forked child inherits and must not keep."""

    def disown(self) -> None:
        """Called in the child, right after the fork: closes inherited descriptors and refuses from now on."""


class ForkedConnection:
    """What a connection is in a forked child: every use raises."""

    def __init__(self, path: str) -> None:
        self.__dict__["path"] = path

    def __getattr__(self, name: str) -> NoReturn:
        raise forked(self.__dict__["path"])


def forked(path: str) -> StoreError:
    """The error for using in a child what its parent opened."""
    return StoreError(
        f"{path} was opened before this process was forked, and SQLite connections do not survive a fork. "
        "Nothing was written; open the database again in the child.",
        path=path,
    )


def disown_on_fork(thing: Disownable) -> None:
    """Has `thing.disown()` called in each forked child, as long as `thing` lives."""
    _disownable.add(thing)


def outlive_interpreter(*connections: apsw.Connection) -> None:
    """Keeps SQLite from closing these in a child, ever: even that can break the parent's locks.

    See https://sqlite.org/howtocorrupt.html, "Carrying an open database file across a fork".
    """
    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


_disownable: weakref.WeakSet[Disownable] = weakref.WeakSet()


def _disown_all() -> None:
    for thing in list(_disownable):
        thing.disown()
    _disownable.clear()


os.register_at_fork(after_in_child=_disown_all)
