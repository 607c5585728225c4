"""CSV records from bytes, each with its line number and original text; a damaged line costs only itself."""

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from onward.blueprints.shop.orders_csv.errors import OrdersFileError

LINE_BYTES = 64 * 1024
RECORD_LINES = 16
KEPT_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of one record; `line` is its first line's number in the file, from 1."""

    line: int
    original: bytes
    fields: list[str]


@dataclass(frozen=True, slots=True)
class Reject:
    """Text that can't be an order line, and why. `original` is at most 4,096 bytes of it."""

    line: int
    reason: str
    original: bytes


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed if it is gzip whatever its name says. Raises OrdersFileError."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                yield raw
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise OrdersFileError(
            f"{path} is damaged: it stops being gzip before its end ({error}). No order was published;"
            " fetch the file again.",
            path=str(path),
        ) from error
    except OSError as error:
        raise OrdersFileError(
            f"{path} can't be read: {error.strerror or error}. No order was published; check its name and rights.",
            path=str(path),
        ) from error


def records(stream: BinaryIO) -> Iterator[Record | Reject]:
    """Every record of the stream in order, blank lines left out. Memory: a few lines of at most 64 KiB.

    Text is UTF-8 or, where it is not, Windows-1252. A quoted field may span up to 16 lines; where a quote is
    never closed, its line alone is rejected and reading goes on with the next.
    """
    lines = _Lines(stream)
    while (first := lines.take()) is not None:
        number, raw, whole = first
        if not whole:
            yield Reject(number, f"the line is over {LINE_BYTES:,} bytes long", raw[:KEPT_BYTES])
        elif b'"' in raw:
            yield _quoted(lines, number, raw)
        elif text := raw.strip(b"\r\n"):
            decoded = _decoded(text)
            if decoded is None:
                yield Reject(number, _ENCODING, text[:KEPT_BYTES])
            else:
                yield Record(number, text, decoded.split(","))


_ENCODING = "the text is neither UTF-8 nor Windows-1252"


def _quoted(lines: "_Lines", number: int, raw: bytes) -> Record | Reject:
    """A record that has quotes: takes further lines while a quoted field is open."""
    taken = [raw]
    tried: list[tuple[int, bytes, bool]] = []
    while True:
        text = b"".join(taken).strip(b"\r\n")
        decoded = _decoded(text)
        if decoded is None:
            return Reject(number, _ENCODING, text[:KEPT_BYTES])
        try:
            fields = next(csv.reader([decoded], strict=True))
        except csv.Error as error:
            if "unexpected end" not in str(error):
                return Reject(number, f"the quotes are wrong: {error}", text[:KEPT_BYTES])
        else:
            return Record(number, text, fields)
        further = lines.take() if len(taken) < RECORD_LINES else None
        if further is not None:
            tried.append(further)
        if further is None or not further[2]:
            lines.give_back(tried)
            return Reject(number, "a quote is opened and never closed", raw.strip(b"\r\n")[:KEPT_BYTES])
        taken.append(further[1])


def _decoded(text: bytes) -> str | None:
    for encoding in ("utf-8", "cp1252"):
        try:
            return text.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


class _Lines:
    """Physical lines with their numbers; a few can be given back. The last item says whether the line is whole."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._number = 0
        self._returned: deque[tuple[int, bytes, bool]] = deque()

    def take(self) -> tuple[int, bytes, bool] | None:
        if self._returned:
            return self._returned.popleft()
        raw = self._stream.readline(LINE_BYTES)
        if not raw:
            return None
        self._number += 1
        whole = raw.endswith(b"\n") or len(raw) < LINE_BYTES
        rest = raw
        while not rest.endswith(b"\n") and len(rest) == LINE_BYTES:
            rest = self._stream.readline(LINE_BYTES)
        return self._number, raw.removeprefix(_BOM) if self._number == 1 else raw, whole

    def give_back(self, lines: list[tuple[int, bytes, bool]]) -> None:
        self._returned.extendleft(reversed(lines))
