"""Partitions: the same as every Kafka client gives, one key at a time or many side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward import partitioning
from onward.partitioning import partition_of, partitions_of

# From UtilsTest.testMurmur2 of Apache Kafka: signed 32-bit numbers.
KAFKA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
MORE_THAN_ALL_HASHES = 1 << 31


@pytest.mark.parametrize(("key", "signed"), KAFKA_VECTORS.items())
def test_hash_is_that_of_kafkas_java_client(key: bytes, signed: int) -> None:
    assert partition_of(key, MORE_THAN_ALL_HASHES) == signed & 0x7FFF_FFFF
    assert partitions_of([key] * 20, MORE_THAN_ALL_HASHES) == [signed & 0x7FFF_FFFF] * 20


@pytest.mark.parametrize(("key", "partition"), [(b"21", 0), (b"foobar", 6), (b"abc", 3)])
def test_partition_is_the_positive_hash_modulo_the_count(key: bytes, partition: int) -> None:
    # The vectors above without their sign bit: 1173551340, 1357151166 and 479470107.
    assert partition_of(key, 12) == partition


def test_empty_key_has_a_partition() -> None:
    assert partition_of(b"", 12) == partitions_of([b""] * 20, 12)[0]


def test_no_keys_have_no_partitions() -> None:
    assert partitions_of([], 12) == []


def test_one_partition_takes_every_key() -> None:
    assert partitions_of([b"a", b"bc"], 1) == [0, 0]


@given(st.lists(st.binary(max_size=40), max_size=60), st.integers(1, 2000))
def test_batch_gives_what_one_at_a_time_gives(keys: list[bytes], count: int) -> None:
    assert partitions_of(keys, count) == [partition_of(key, count) for key in keys]


@given(st.integers(0, 40).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=16)))
def test_keys_of_one_length_side_by_side_give_what_one_at_a_time_gives(keys: list[bytes]) -> None:
    count = MORE_THAN_ALL_HASHES
    assert partitions_of(keys, count) == [partition_of(key, count) for key in keys]


def test_extreme_bytes_do_not_spill_into_the_next_key() -> None:
    keys = [b"\xff" * 15, b"\x00" * 15] * 20
    count = MORE_THAN_ALL_HASHES
    assert partitions_of(keys, count) == [partition_of(key, count) for key in keys]


def test_more_keys_than_lanes_are_taken_in_turns() -> None:
    keys = [b"%08d" % number for number in range(2 * partitioning._MOST_LANES + 5)]
    assert partitions_of(keys, 7) == [partition_of(key, 7) for key in keys]


def test_many_lengths_in_one_batch_keep_their_order() -> None:
    keys = [str(number).encode() for number in range(85, 1200)]
    assert partitions_of(keys, 13) == [partition_of(key, 13) for key in keys]
