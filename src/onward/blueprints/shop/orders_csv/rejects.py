"""The rejects file: every row left out, with its line number, the reason, and the original text."""

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onward.blueprints.shop.orders_csv.errors import OrdersFileError
from onward.blueprints.shop.orders_csv.records import Reject

COLUMNS = ("line", "reason", "original")


@contextmanager
def rejects_file(path: Path) -> Iterator[Callable[[Reject], None]]:
    """A function that keeps a reject. The file appears whole when the block ends, or not at all if it raises.

    Without rejects no file is made, and one of an earlier run is replaced by its header alone. Raises OrdersFileError
    when nothing can be written beside `path`, and when what is there is no rejects file.
    """
    if path.exists() and not _is_of_an_earlier_run(path):
        raise OrdersFileError(
            f"Rows that can't be order lines would be kept in {path}, in place of what is there, which is no such"
            " file of an earlier run. No order was published; name another file with --rejects.",
            path=str(path),
        )
    kept = 0
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OrdersFileError(
            f"Rows that can't be order lines would be kept in {path}, which can't be written"
            f" ({error.strerror}). No order was published; name another file with --rejects.",
            path=str(path),
        ) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)

            def keep(reject: Reject) -> None:
                nonlocal kept
                kept += 1
                writer.writerow((reject.line, reject.reason, _text(reject.original)))

            yield keep
            stream.flush()
            os.fsync(stream.fileno())
        if kept or path.exists():
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _is_of_an_earlier_run(path: Path) -> bool:
    """By its first line. An empty file is as good: nothing is lost with it."""
    header = ",".join(COLUMNS).encode()
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        first = stream.readline(len(header) + 2)
    return not first or first.rstrip(b"\r\n") == header


def _text(original: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return original.decode(encoding)
        except UnicodeDecodeError:
            continue
    return original.decode("ascii", errors="backslashreplace")
