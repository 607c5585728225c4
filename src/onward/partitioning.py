"""The partition of a key, as Kafka's Java client computes it, so that every client agrees on it.

Source: `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`, Apache Kafka.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

_SEED = 0x9747B28C
_M = 0x5BD1E995
_WORD = 0xFFFF_FFFF
_POSITIVE = 0x7FFF_FFFF
_LANE_BYTES = 8
_FEW_KEYS = 16  # below this many keys of one length, one at a time is as fast
_MOST_LANES = 4096  # bounds the big integers: 32 KiB each


def partition_of(key: bytes, count: int) -> int:
    """The partition, 0 to `count` - 1, of a key; `count` is 1 or more."""
    return (_murmur2(key) & _POSITIVE) % count


def partitions_of(keys: Sequence[bytes], count: int) -> list[int]:
    """The partition of each key, in their order: `partition_of` for batches."""
    if len({*map(len, keys)}) <= 1:
        return _of_one_length(keys, count)
    by_length: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        by_length.setdefault(len(key), []).append(index)
    partitions = [0] * len(keys)
    for indexes in by_length.values():
        found = _of_one_length([keys[index] for index in indexes], count)
        for index, partition in zip(indexes, found, strict=True):
            partitions[index] = partition
    return partitions


@lru_cache(maxsize=4096)
def _murmur2(key: bytes) -> int:
    """The hash as an unsigned 32-bit number."""
    length = len(key)
    h = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * _M & _WORD
        k = (k ^ k >> 24) * _M & _WORD
        h = h * _M & _WORD ^ k
    if length != whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _WORD
    h = (h ^ h >> 13) * _M & _WORD
    return h ^ h >> 15


def _of_one_length(keys: Sequence[bytes], count: int) -> list[int]:
    return _in_lanes(keys, count) if len(keys) >= _FEW_KEYS else [partition_of(key, count) for key in keys]


def _in_lanes(keys: Sequence[bytes], count: int) -> list[int]:
    partitions: list[int] = []
    for start in range(0, len(keys), _MOST_LANES):
        hashes = _murmur2_lanes(keys[start : start + _MOST_LANES])
        partitions.extend([(h & _POSITIVE) % count for h in hashes])
    return partitions


def _murmur2_lanes(keys: Sequence[bytes]) -> memoryview:
    """The hashes of keys of one length, computed side by side.

    Each key has a lane of 64 bits in one big integer, of which 32 are in use: a product with the 31-bit
    constant stays inside its lane, and one AND cuts all lanes back. What a right shift brings over from the
    lane above lands in bits 32 to 63 and goes with the same AND. numpy would do the same, and takes longer to
    import than all of onward.
    """
    lanes, length = len(keys), len(keys[0])
    data = b"".join(keys)
    ones = _ones(lanes)
    low = ones * _WORD
    whole = length & ~3
    h = ones * (_SEED ^ length)
    for start in range(0, whole, 4):
        k = _column(data, start, 4, length, lanes) * _M & low
        k = ((k ^ k >> 24) & low) * _M & low
        h = h * _M & low ^ k
    if length != whole:
        h = (h ^ _column(data, whole, length - whole, length, lanes)) * _M & low
    h = ((h ^ h >> 13) & low) * _M & low
    h = (h ^ h >> 15) & low
    return memoryview(h.to_bytes(lanes * _LANE_BYTES, "little")).cast("Q")


def _column(data: bytes, start: int, width: int, length: int, lanes: int) -> int:
    """Bytes `start` to `start + width` of each key, as a little-endian number in the key's lane."""
    spread = bytearray(lanes * _LANE_BYTES)
    for index in range(width):
        spread[index::_LANE_BYTES] = data[start + index :: length]
    return int.from_bytes(spread, "little")


@lru_cache(maxsize=64)
def _ones(lanes: int) -> int:
    """The number 1 in each lane."""
    return int.from_bytes(b"\x01\0\0\0\0\0\0\0" * lanes, "little")
