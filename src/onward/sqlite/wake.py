"""Waking other processes when there is something for them: one datagram each, lost without harm."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable

from onward.sqlite.address import bind_address, remove_address
from onward.sqlite.fork import disown_on_fork
from onward.sqlite.members import Members

_LARGEST_BYTES = 4096
_EVERYTHING = b"*"
_SETTLED_NS = 50_000_000
_FEWEST_WHEN_FULL = 8  # a receive buffer holds about ten at least: where fewer waited, none was turned away
_MOST_AT_ONCE = 256


class Waker:
    """Tells the members of a file which topics have news.

    Best effort: what does not arrive is found by polling in the layer above.
    """

    def __init__(self, members: Members, *, beside: str | None = None) -> None:
        """`beside` is the id of this process's own member, which is not told."""
        self._members = members
        self._beside = beside
        self._targets: list[tuple[socket.socket, frozenset[str]]] = []
        self._seen_ns = 0
        self._payloads: dict[frozenset[str], bytes] = {}

    def notify(self, topics: Iterable[str]) -> None:
        """Sends one datagram to each member that wants any of `topics`. Never blocks, never raises."""
        self._look()
        news = frozenset(topics)
        for sender, wanted in self._targets:
            if matching := news & wanted:
                try:
                    sender.send(self._payload(matching))
                except OSError:
                    # Full: it has not read what woke it, and will ask for everything. Gone: nobody to wake.
                    continue

    def close(self) -> None:
        """Safe to repeat."""
        for sender, _wanted in self._targets:
            sender.close()
        self._targets = []

    def _look(self) -> None:
        """Reads the members again if they changed; keeps those it knows if their folder can't be read."""
        try:
            changed_ns = self._members.changed_ns()
            if changed_ns == self._seen_ns:
                return
            members = self._members.running()
        except OSError:
            return
        self.close()
        for member in members:
            if member.address is not None and member.id != self._beside:
                sender = _connected(member.address)
                if sender is not None:
                    self._targets.append((sender, frozenset(member.topics)))
        # A change in the same tick of the clock would not show: look again until the tick is surely over.
        self._seen_ns = changed_ns if abs(time.time_ns() - changed_ns) > _SETTLED_NS else 0

    def _payload(self, topics: frozenset[str]) -> bytes:
        payload = self._payloads.get(topics)
        if payload is None:
            payload = "\n".join(sorted(topics)).encode()
            if len(payload) > _LARGEST_BYTES:
                payload = _EVERYTHING
            if len(self._payloads) >= 1000:
                self._payloads.clear()
            self._payloads[topics] = payload
        return payload


class Listener:
    """Receives what a `Waker` sends: `address` goes into this process's `Member`.

    `woken` is called on the event loop with those of `topics` that have news; with all of them when some
    datagrams may have been turned away.
    """

    def __init__(self, topics: Iterable[str], woken: Callable[[frozenset[str]], None]) -> None:
        self.topics = frozenset(topics)
        self._woken = woken
        self._socket, self.address = bind_address()
        self._loop: asyncio.AbstractEventLoop | None = None
        disown_on_fork(self)

    def start(self) -> None:
        """Listens on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Stops and removes the address. Safe to repeat."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop = None
        self._socket.close()
        remove_address(self.address)

    def disown(self) -> None:
        """Closes a forked child's copy of the socket."""
        self._socket.close()

    def _receive(self) -> None:
        names: set[str] = set()
        received = 0
        for received in range(_MOST_AT_ONCE):  # noqa: B007 - the count is what we want
            try:
                payload = self._socket.recv(_LARGEST_BYTES)
            except BlockingIOError:
                break
            names.update(payload.decode("utf-8", "replace").split("\n"))
        complete = received < _FEWEST_WHEN_FULL and _EVERYTHING.decode() not in names
        news = self.topics & names if complete else self.topics
        if news:
            self._woken(news)


def _connected(address: str) -> socket.socket | None:
    """A socket for one member alone: what a frozen member does not read counts against its sender's buffer."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    try:
        sender.connect(address)
    except OSError:
        sender.close()
        return None
    return sender
