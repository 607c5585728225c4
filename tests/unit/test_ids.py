"""UUIDv7: unique, ascending within a process, of the right time, and different after a fork."""

import os
import threading
import uuid
from datetime import UTC, datetime

import pytest

from onward import ids
from onward.ids import text, texts, time_of, uuid7, uuid7_bytes, uuid7_texts

T0_MS = 1_767_323_045_678  # 2026-01-02T03:04:05.678Z


class Machine:
    """The clock of a machine, and its source of random bytes, in a test's hand."""

    def __init__(self) -> None:
        self.ms = T0_MS
        self.byte = b"\x00"

    def time_ns(self) -> int:
        return self.ms * 1_000_000 + 999_999

    def urandom(self, size: int) -> bytes:
        return self.byte * size


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("onward.ids.time.time_ns", machine.time_ns)
    monkeypatch.setattr("onward.ids.os.urandom", machine.urandom)
    monkeypatch.setattr(ids, "_clock", ids._Clock())
    return machine


def counter_of(one: bytes) -> int:
    value = int.from_bytes(one)
    return (value >> 64 & 0xFFF) << 14 | value >> 48 & 0x3FFF


def test_id_is_a_uuid_of_version_7_and_variant_10() -> None:
    for one in [uuid7(), *map(text, uuid7_bytes(300))]:
        parsed = uuid.UUID(one)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
        assert str(parsed) == one


@pytest.mark.parametrize("count", [0, 1, 2, 3, 300])
def test_ids_in_text_are_those_in_bytes(machine: Machine, count: int) -> None:
    machine.byte = b"\xa5"
    in_bytes = uuid7_bytes(count)
    ids._clock = ids._Clock()
    assert uuid7_texts(count) == [text(one).encode() for one in in_bytes]


def test_layout_is_that_of_the_standard(machine: Machine) -> None:
    machine.byte = b"\xff"
    (one,) = uuid7_bytes(1)
    # 48 bits of milliseconds, version, 12 + 14 bits of counter (its top bit clear), variant, 48 random bits
    assert one.hex() == f"{T0_MS:012x}" + "77ff" + "bfff" + "ffffffffffff"
    machine.ms += 1
    machine.byte = b"\x00"
    assert uuid7() == f"{T0_MS + 1:012x}"[:8] + "-" + f"{T0_MS + 1:012x}"[8:] + "-7000-8000-000000000000"


def test_ids_ascend_whichever_way_they_are_asked_for() -> None:
    made: list[str] = []
    for count in (1, 2, 255, 256, 257, 1000, 0, 3):
        made.extend(map(text, uuid7_bytes(count)))
        made.append(uuid7())
    assert len(made) == 1782
    assert made == sorted(set(made))


@pytest.mark.parametrize("first", [0, 1, 200, 255, 256, 0x3FFF, 0x3F00, 0x4000 - 300])
def test_batch_counts_without_a_gap_over_every_byte(machine: Machine, first: int) -> None:
    uuid7_bytes(first)
    batch = uuid7_bytes(700)
    assert [counter_of(one) for one in batch] == list(range(first, first + 700))
    assert {time_of(one) for one in batch} == {datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)}


def test_ids_ascend_when_the_clock_goes_back(machine: Machine) -> None:
    before = uuid7()
    machine.ms -= 3_600_000
    after = uuid7()
    assert after > before
    assert time_of(uuid.UUID(after).bytes) == time_of(uuid.UUID(before).bytes)


def test_full_counter_borrows_from_the_next_millisecond(machine: Machine) -> None:
    machine.byte = b"\xff"  # the counter begins at the highest value it can begin at
    first = uuid7_bytes(1)[0]
    most = (1 << 25) // 2 - 1
    ids._clock.take(most)
    ids._clock.take(most)
    last = uuid7_bytes(4)[-1]
    assert time_of(last) > time_of(first)
    assert last > first
    assert counter_of(last) == 3


def test_new_millisecond_begins_at_a_random_count(machine: Machine) -> None:
    machine.byte = b"\x01"
    assert counter_of(uuid7_bytes(1)[0]) == 0x1010101 & 0x1FFFFFF
    machine.ms += 1
    machine.byte = b"\x02"
    assert counter_of(uuid7_bytes(1)[0]) == 0x2020202 & 0x1FFFFFF


@pytest.mark.parametrize("count", [-1, 1 << 24])
def test_batch_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} ids were asked for at once"):
        uuid7_bytes(count)


def test_threads_never_share_an_id() -> None:
    made: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: made.append([one for _ in range(50) for one in uuid7_bytes(20)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    everything = [one for part in made for one in part]
    assert len(everything) == len(set(everything)) == 4000
    assert all(part == sorted(part) for part in made)


def test_child_of_a_fork_makes_ids_of_its_own_though_a_lock_was_held() -> None:
    mine = uuid7_bytes(1)
    reader, writer = os.pipe()
    with ids._clock._lock:
        child = os.fork()
        if child == 0:
            os.write(writer, b"".join(uuid7_bytes(3)))
            os._exit(0)
    os.close(writer)
    try:
        sent = os.read(reader, 48)
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    theirs = [sent[place : place + 16] for place in (0, 16, 32)]
    assert len({*mine, *theirs, *uuid7_bytes(3)}) == 7


def test_beginning_anew_does_not_wait_for_a_lock_that_nobody_will_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_clock", ids._Clock())
    with ids._clock._lock:
        ids._begin_anew()
        assert uuid.UUID(uuid7()).version == 7


def test_time_of_an_id_is_when_it_was_made(machine: Machine) -> None:
    assert time_of(uuid7_bytes(1)[0]) == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


@pytest.mark.parametrize("value", [b"", b"x" * 15, uuid.UUID(int=0).bytes, uuid.uuid4().bytes, b"\x70" * 16])
def test_bytes_that_are_no_uuid7_have_no_time(value: bytes) -> None:
    with pytest.raises(ValueError, match="is not a UUIDv7"):
        time_of(value)


def test_time_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="has a time beyond the year 9999"):
        time_of(b"\xff" * 6 + b"\x70\x00\x80" + b"\x00" * 7)


def test_texts_of_many_ids_are_the_text_of_each() -> None:
    many = uuid7_bytes(300)
    assert texts(b"".join(many)) == [text(one).encode() for one in many]
    assert texts(b"") == []
