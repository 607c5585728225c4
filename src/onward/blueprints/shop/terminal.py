"""What a replay shows while it runs: bars on a terminal, a plain line now and then elsewhere. All on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_S = 2.0


class Shown(Protocol):
    """Told how far a replay is, as often as one likes."""

    def read(self, rows: int) -> None: ...

    def published(self, invoices: int, of: int, waiting: int) -> None: ...


@contextmanager
def shown(console: Console) -> Iterator[Shown]:
    """Bars if the console is a terminal, else lines; removed or ended when the block ends."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._reading = progress.add_task("Reading", total=None, note="rows")
        self._publishing = progress.add_task("Publishing", total=None, note="invoices", visible=False)

    def read(self, rows: int) -> None:
        self._progress.update(self._reading, completed=rows)

    def published(self, invoices: int, of: int, waiting: int) -> None:
        self._progress.update(self._reading, visible=False)
        note = f"invoices; {waiting:,} events wait to be handled" if waiting else "invoices"
        self._progress.update(self._publishing, completed=invoices, total=of, note=note, visible=True)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at = 0.0

    def read(self, rows: int) -> None:
        self._say(f"read {rows:,} rows")

    def published(self, invoices: int, of: int, waiting: int) -> None:
        self._say(f"published {invoices:,} of {of:,} invoices; {waiting:,} events wait to be handled")

    def _say(self, line: str) -> None:
        now = monotonic()
        if now - self._said_at >= LINE_S:
            self._said_at = now
            self._console.print(line, highlight=False, soft_wrap=True)
