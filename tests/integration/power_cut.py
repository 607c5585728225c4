"""A disk that remembers what was written and what was synced, so that the power can be cut at every step of a run.

What it takes a disk to promise, and no more: a synced file keeps its bytes; of what was written since, any sector
may be there or not, in any order; a synced folder keeps its names. The first sync of a new log or journal syncs its
folder, as SQLite's `unixSync` does.
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import apsw

SECTOR_BYTES = 512
DISK_NUMBER = itertools.count()
SYNCS_ITS_FOLDER = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


@dataclass(frozen=True)
class Written:
    file: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncated:
    file: str
    size: int


@dataclass(frozen=True)
class Synced:
    file: str
    folder_too: bool


@dataclass(frozen=True)
class Created:
    file: str


@dataclass(frozen=True)
class Deleted:
    file: str
    folder_too: bool


@dataclass(frozen=True)
class Reached:
    """Not of the disk: the run has come so far, and what it did until here must survive."""

    mark: int


Step = Written | Truncated | Synced | Created | Deleted | Reached


class RecordedDisk:
    """A VFS of SQLite that works as the usual one and records each step that changes a file."""

    def __init__(self) -> None:
        self.name = f"recorded-{next(DISK_NUMBER)}"
        self.steps: list[Step] = []
        self.mutex = threading.RLock()
        self._vfs = _RecordingVFS(self)

    def reached(self, mark: int) -> None:
        self.steps.append(Reached(mark))

    def everywhere(self) -> range:
        """Every number of steps that the power may be cut after."""
        return range(1, len(self.steps) + 1)

    def copied(self) -> int:
        """How often a log was copied into its database."""
        return sum(isinstance(step, Synced) and step.file.endswith(".db") for step in self.steps)

    def begun_anew(self) -> int:
        """How often a write-ahead log was written from its beginning again, over what it held."""
        heads = [step for step in self.steps if isinstance(step, Written) and step.file.endswith("-wal")]
        return sum(step.offset == 0 for step in heads) - 1

    def close(self) -> None:
        self._vfs.unregister()

    def cuts(self, at: Container[int], random: Random) -> Iterator[tuple[int, Survivors]]:
        """For each number of steps in `at`: the last mark reached by then, and what the disk may hold after a cut."""
        survivors = Survivors()
        mark = 0
        for number, step in enumerate(self.steps, 1):
            if isinstance(step, Reached):
                mark = step.mark
            else:
                survivors.take(step)
            if number in at:
                yield mark, survivors.after_a_cut(random)


@dataclass
class _File:
    named: bool  # whether its folder surely has it
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written | Truncated] = field(default_factory=list)
    deleted: bool = False  # but its folder may still have it

    def sync(self) -> None:
        for step in self.pending:
            _apply(step, self.durable)
        self.pending.clear()
        self.named = True


class Survivors:
    """The files of a disk: what is surely there, and what may be."""

    def __init__(self, files: dict[str, _File] | None = None) -> None:
        self._files: dict[str, _File] = files or {}

    def take(self, step: Written | Truncated | Synced | Created | Deleted) -> None:
        if isinstance(step, Created):
            if step.file not in self._files or self._files[step.file].deleted:
                self._files[step.file] = _File(named=False)
            return
        file = self._files[step.file]
        if isinstance(step, Written | Truncated):
            file.pending.append(step)
            return
        if isinstance(step, Synced):
            file.sync()
        else:
            file.deleted = True
        if step.folder_too:
            self._files = {name: each for name, each in self._files.items() if not each.deleted}
            for each in self._files.values():
                each.named = True

    def after_a_cut(self, random: Random) -> Survivors:
        """One of the states that the disk may be in: from nothing unsynced kept to all of it."""
        odds = random.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        kept: dict[str, _File] = {}
        for name, file in self._files.items():
            if (file.deleted or not file.named) and random.random() >= 0.5:
                continue
            content = bytearray(file.durable)
            for step in file.pending:
                for piece in _sectors(step):
                    if random.random() < odds:
                        _apply(piece, content)
            kept[name] = _File(named=True, durable=content)
        return Survivors(kept)

    def write_to(self, folder: Path) -> None:
        for name, file in self._files.items():
            (folder / Path(name).name).write_bytes(file.durable)


class _RecordingVFS(apsw.VFS):
    def __init__(self, disk: RecordedDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return super().xOpen(name, flags)
        with self._disk.mutex:
            if not Path(path).exists():
                self._disk.steps.append(Created(path))
            return _RecordingFile(self._disk, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        with self._disk.mutex:
            super().xDelete(filename, syncdir)
            self._disk.steps.append(Deleted(filename, syncdir))


class _RecordingFile(apsw.VFSFile):
    def __init__(self, disk: RecordedDisk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = path
        self._syncs_folder = bool(flags[0] & SYNCS_ITS_FOLDER)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        with self._disk.mutex:
            super().xWrite(data, offset)
            self._disk.steps.append(Written(self._path, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        with self._disk.mutex:
            super().xTruncate(newsize)
            self._disk.steps.append(Truncated(self._path, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        with self._disk.mutex:  # the real disk is not asked: only the recorded one will lose its power
            self._disk.steps.append(Synced(self._path, self._syncs_folder))
            self._syncs_folder = False


def _sectors(step: Written | Truncated) -> Iterator[Written | Truncated]:
    if isinstance(step, Truncated):
        yield step
        return
    start, end = step.offset, step.offset + len(step.data)
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield Written(step.file, start, step.data[start - step.offset : stop - step.offset])
        start = stop


def _apply(step: Written | Truncated, content: bytearray) -> None:
    if isinstance(step, Truncated):
        del content[step.size :]
        return
    end = step.offset + len(step.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[step.offset : end] = step.data


@contextmanager
def restored(survivors: Survivors, tmp_path: Path) -> Iterator[Path]:
    """The database on a real disk that holds what survived."""
    folder = tmp_path / "disk"
    folder.mkdir(exist_ok=True)
    survivors.write_to(folder)
    yield folder / "onward.db"
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextmanager
def recorded_disk() -> Iterator[RecordedDisk]:
    disk = RecordedDisk()
    try:
        yield disk
    finally:
        disk.close()
