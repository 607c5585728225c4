"""UUIDv7 (RFC 9562) for events: unique, in order of time, and ascending within a process."""

from __future__ import annotations

import os
import threading
import time
from binascii import hexlify
from datetime import UTC, datetime
from struct import Struct

_COUNTER_BITS = 26  # bytes 6 to 9 without version and variant: RFC 9562 section 6.2, method 1
_COUNTER_END = 1 << _COUNTER_BITS
_SEED_MASK = (_COUNTER_END >> 1) - 1  # a fresh counter leaves room for 33 million in its millisecond
_ID_BYTES = 16
_ONE_ID = Struct("16s")
_LOW_BYTES = bytes(range(256))
_TEXT = "00000000-0000-0000-0000-000000000000"
_ONE_TEXT = Struct(f"{len(_TEXT)}s")
_DIGITS_AT = [place for place, sign in enumerate(_TEXT) if sign != "-"]
_FEW_TEXTS = 2  # up to so many, one at a time is as fast


class _Clock:
    """The last (millisecond, counter) given out. It never goes back, though the machine's clock may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0

    def take(self, count: int) -> tuple[int, int]:
        """Reserve `count` places; the millisecond and the first counter of them."""
        now_ms = time.time_ns() // 1_000_000
        with self._lock:
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                self._counter = int.from_bytes(os.urandom(4)) & _SEED_MASK
            elif self._counter + count > _COUNTER_END:
                self._last_ms += 1
                self._counter = 0
            first = self._counter
            self._counter = first + count
            return self._last_ms, first


_clock = _Clock()


def _begin_anew() -> None:
    # A child of fork would go on from its parent's counter, and its copy of the lock may be held for ever.
    global _clock
    _clock = _Clock()


os.register_at_fork(after_in_child=_begin_anew)


def uuid7() -> str:
    """A new id as text, greater than every one this process gave out before."""
    ms, counter = _clock.take(1)
    head = (ms << 32) | _counter_bits(counter)
    digits = f"{head:020x}{os.urandom(6).hex()}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid7_bytes(count: int) -> list[bytes]:
    """`count` new ids of 16 bytes, ascending, greater than every one before; up to 16 million at once."""
    return split(uuid7_joined(count))


def split(joined: bytes) -> list[bytes]:
    """Ids of 16 bytes that stand one behind the other."""
    return [one for (one,) in _ONE_ID.iter_unpack(joined)]


def uuid7_joined(count: int) -> bytes:
    """`uuid7_bytes`, one behind the other."""
    if not 0 <= count <= _SEED_MASK // 2:
        raise ValueError(f"{count} ids were asked for at once; ask for 0 to {_SEED_MASK // 2:,}")
    ms, first = _clock.take(count)
    if count == 1:
        return ((ms << 32) | _counter_bits(first)).to_bytes(10) + os.urandom(6)
    ids = bytearray(os.urandom(_ID_BYTES * count))
    place, counter = 0, first
    while place < count:
        block = min(count - place, 256 - (counter & 0xFF))
        start, end = place * _ID_BYTES, (place + block) * _ID_BYTES
        head = ((ms << 32) | _counter_bits(counter)).to_bytes(10)
        for index in range(9):
            ids[start + index : end : _ID_BYTES] = head[index : index + 1] * block
        low = counter & 0xFF
        ids[start + 9 : end : _ID_BYTES] = _LOW_BYTES[low : low + block]
        place += block
        counter += block
    return bytes(ids)


def uuid7_texts(count: int) -> list[bytes]:
    """`uuid7_bytes` in canonical text, as ASCII."""
    if count <= _FEW_TEXTS:
        return [uuid7().encode() for _ in range(count)]
    return texts(uuid7_joined(count))


def texts(joined: bytes) -> list[bytes]:
    """`text` of each, as ASCII, of ids of 16 bytes that stand one behind the other."""
    digits = hexlify(joined)
    written = bytearray(_TEXT.encode() * (len(joined) // _ID_BYTES))
    for index, place in enumerate(_DIGITS_AT):
        written[place :: len(_TEXT)] = digits[index :: 2 * _ID_BYTES]
    return [one for (one,) in _ONE_TEXT.iter_unpack(written)]


def text(id_bytes: bytes) -> str:
    """The canonical text of an id's 16 bytes."""
    digits = id_bytes.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def time_of(id_bytes: bytes) -> datetime:
    """When a UUIDv7 was made, to the millisecond, in UTC; ValueError if these bytes are no UUIDv7."""
    if len(id_bytes) != _ID_BYTES or id_bytes[6] >> 4 != 7 or id_bytes[8] >> 6 != 2:
        raise ValueError(f"{id_bytes!r:.80} is not a UUIDv7: it has no time in it")
    ms = int.from_bytes(id_bytes[:6])
    try:
        return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"the UUIDv7 {text(id_bytes)} has a time beyond the year 9999") from error


def _counter_bits(counter: int) -> int:
    """The counter in bytes 6 to 9, around the version (7) and the variant (binary 10)."""
    return 0x7000_8000 | (counter >> 14) << 16 | counter & 0x3FFF
