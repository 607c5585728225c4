"""Who is alive on a file: one small file a process, locked for life and touched while its loop turns."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from onward.errors import StoreClosedError, StoreError
from onward.sqlite.address import remove_address
from onward.sqlite.fork import disown_on_fork

_SUFFIX = ".json"
_LARGEST_BYTES = 1 << 16
_MOST_MEMBERS = 1000


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says about itself. Its id is unique for ever: a new process is a new member."""

    id: str
    service: str
    pid: int
    started_at: float  # seconds since the epoch, for people
    version: str
    address: str | None = None  # where `Waker` sends to; None = it can't be woken
    topics: tuple[str, ...] = ()  # what it wants to be woken for
    groups: tuple[str, ...] = ()  # whose partitions it shares
    ready: bool = False


class Members:
    """The members of one file, kept outside of it so that a locked file does not make its users look dead.

    A process is dead as soon as the kernel has released its lock, which SIGKILL does at once, and when it has
    not beaten for a lease: stopped, or its event loop blocked. Beats are times of the monotonic clock that all
    processes of a machine share, kept as the file's mtime: a step of the wall clock kills nobody, and neither
    does a machine that slept.
    """

    def __init__(self, run_folder: Path, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.folder = run_folder / "members"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._clock_ns = clock_ns

    def join(self, member: Member) -> Membership:
        """Makes `member` known; it is alive from now on, while it beats."""
        return Membership(self.folder, member, self._clock_ns)

    def alive(self, lease_s: float = 10.0) -> list[Member]:
        """Those whose process runs and has beaten within `lease_s` seconds, by id; at most 1,000."""
        oldest_ns = self._clock_ns() - int(lease_s * 1e9)
        return [member for member, beat_ns in self._running() if beat_ns >= oldest_ns]

    def running(self) -> list[Member]:
        """Those whose process runs, whether or not it beats."""
        return [member for member, _beat_ns in self._running()]

    def changed_ns(self) -> int:
        """A number that is another one when somebody joined, left, changed or was swept.

        It is the folder's mtime: two changes within a tick of the kernel's clock may share one.
        """
        return os.stat(self.folder).st_mtime_ns

    def _running(self) -> list[tuple[Member, int]]:
        names = sorted(name for name in os.listdir(self.folder) if name.endswith(_SUFFIX) and name[0] != ".")
        found = (self._look(self.folder / name) for name in names[:_MOST_MEMBERS])
        return [seen for seen in found if seen is not None]

    def _look(self, path: Path) -> tuple[Member, int] | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            member = _decoded(os.read(descriptor, _LARGEST_BYTES))
            if _is_held(descriptor):
                return None if member is None else (member, os.fstat(descriptor).st_mtime_ns)
            self._sweep(path, descriptor, member)
            return None
        finally:
            os.close(descriptor)

    def _sweep(self, path: Path, descriptor: int, member: Member | None) -> None:
        try:
            # A member that changes replaces its file: this may be the old one, with the lock already let go.
            if os.stat(path).st_ino != os.fstat(descriptor).st_ino:
                return
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except (BlockingIOError, FileNotFoundError):  # somebody else is sweeping it
            return
        if member is not None and member.address is not None:
            remove_address(member.address)


class Membership:
    """One process among the members, from `Members.join` until `leave` or its death."""

    def __init__(self, folder: Path, member: Member, clock_ns: Callable[[], int]) -> None:
        self.member = member
        self._path = folder / f"{member.id}{_SUFFIX}"
        self._draft = folder / f".{member.id}{_SUFFIX}"
        self._clock_ns = clock_ns
        self._descriptor = self._written(member)
        disown_on_fork(self)

    def beat(self) -> None:
        """Says that the event loop turns: call it from there, every second."""
        if self._descriptor < 0:
            raise StoreClosedError(f"Member {self.member.id} has left, or was inherited by a fork; join again.")
        now_ns = self._clock_ns()
        os.utime(self._descriptor, ns=(now_ns, now_ns))

    def change(
        self,
        *,
        ready: bool | None = None,
        topics: tuple[str, ...] | None = None,
        address: str | None = None,
    ) -> None:
        """Replaces what is given of the member, all at once for those who read it, and beats."""
        given = {"ready": ready, "topics": topics, "address": address}
        member = msgspec.structs.replace(
            self.member, **{name: value for name, value in given.items() if value is not None}
        )
        self._descriptor, old = self._written(member), self._descriptor
        os.close(old)
        self.member = member

    def leave(self) -> None:
        """Removes the member. Safe to repeat."""
        if self._descriptor < 0:
            return
        with suppress(FileNotFoundError):
            self._path.unlink()
        self.disown()

    def disown(self) -> None:
        """Lets go in a forked child, whose copy of the descriptor would keep a dead parent alive."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _written(self, member: Member) -> int:
        """The descriptor of a complete, locked file that has just come to be under the member's name."""
        try:
            descriptor = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{self._draft} can't be written ({error.strerror}), so this process can't join the others. "
                "Make its folder writable for this user."
            ) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, msgspec.json.encode(member))
        now_ns = self._clock_ns()
        os.utime(descriptor, ns=(now_ns, now_ns))
        os.replace(self._draft, self._path)
        return descriptor


def _decoded(text: bytes) -> Member | None:
    try:
        return msgspec.json.decode(text, type=Member)
    except msgspec.MsgspecError:
        return None


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
