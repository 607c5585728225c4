"""Kafka messages read as records: whatever anybody's client may have written."""

import gc
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from onward import ids
from onward.brokers.kafka import wire
from onward.errors import DecodeError
from onward.ports import Outgoing, Record, WireType
from onward.relay.columns import columns_of

LIMIT = 100
PLAIN = [("ce_type", b"shop.paid"), ("ce_dataversion", b"1"), ("ce_id", b"7")]


def message(
    value: bytes | None = b"{}",
    *,
    key: bytes | None = None,
    headers: list[tuple[str, Any]] | None = None,
    partition: int = 0,
    offset: int = 5,
    timestamp: tuple[int, int] = (1, 1_700_000_000_123),
) -> Message:
    return Message(
        topic="orders",
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=headers,
        timestamp=timestamp,
    )


def read(*messages: Message) -> list[Record]:
    found, told = wire.records(messages, LIMIT)
    assert told == []
    return [record for partition in found.values() for record in partition]


def typed(headers: list[tuple[str, Any]] | None) -> WireType:
    (record,) = read(message(headers=headers))
    return wire.wire_type(record[1])


def test_records_are_by_partition_in_their_order() -> None:
    messages = [message(partition=number % 2, offset=number) for number in (0, 2, 1, 3, 4)]
    found, _ = wire.records(messages, LIMIT)
    assert {partition: [record[0] for record in records] for partition, records in found.items()} == {
        0: [0, 2, 4],
        1: [1, 3],
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, ("", 1)),
        ([], ("", 1)),
        (PLAIN, ("shop.paid", 1)),
        ([("ce_type", b"shop.paid")], ("shop.paid", 1)),
        ([("CE_TYPE", b"shop.paid"), ("x", b"\xff"), ("ce_dataversion", b"3")], ("shop.paid", 3)),
        ([("ce_id", b"7"), ("ce_type", b"shop.paid")], ("shop.paid", 1)),
        ([("ce_type", b"first"), ("ce_dataversion", b"2"), ("ce_type", b"second")], ("first", 2)),
        ([("ce_type", b"\xff"), ("ce_dataversion", b"1")], ("", 1)),
        ([("ce_type", b"x" * 2000), ("ce_dataversion", b"1")], ("", 1)),
        ([("ce_type", b""), ("ce_dataversion", b"1")], ("", 1)),
        ([("ce_type", None), ("ce_dataversion", b"1")], ("", 1)),
    ],
)
def test_type_and_version_are_those_of_the_headers(headers: Any, expected: tuple[str, int]) -> None:
    assert typed(headers) == WireType(*expected)


@pytest.mark.parametrize("version", [b"0", b"two", b"1.0", b""])
def test_a_version_that_is_none_is_a_fault_of_its_type(version: bytes) -> None:
    found = typed([("ce_type", b"shop.paid"), ("ce_dataversion", version)])
    assert found.type == "shop.paid"
    assert isinstance(found.fault, DecodeError)


def test_what_onward_writes_needs_no_other_header_to_be_routed() -> None:
    headers = wire.headers(Outgoing("orders", "shop.paid", 1, b"{}", None), bytes(16), "till", b"now")
    (record,) = read(message(headers=headers))
    assert record[1] == b"shop.paid"


@pytest.mark.parametrize(
    ("key", "expected"), [(None, None), (b"", ""), ("schlüssel".encode(), "schlüssel"), (b"\xff\x00a", "\\xff\x00a")]
)
def test_a_key_is_text_also_where_its_bytes_are_not(key: bytes | None, expected: str | None) -> None:
    (record,) = read(message(key=key))
    assert record[3] == expected


def test_no_value_and_an_empty_one_stay_what_they_are() -> None:
    assert [record[2] for record in read(message(None), message(b""))] == [None, b""]


def test_a_value_over_the_limit_is_cut_and_its_type_says_so() -> None:
    whole, cut = read(message(b"x" * LIMIT, headers=PLAIN), message(b"y" * (LIMIT + 1), headers=PLAIN))
    assert (whole[2], wire.wire_type(whole[1])) == (b"x" * LIMIT, WireType("shop.paid", 1))
    assert cut[2] == b"y" * LIMIT
    found = wire.wire_type(cut[1])
    assert (found.type, found.version) == ("shop.paid", 1)
    with pytest.raises(DecodeError, match="more than 100 bytes"):
        raise found.fault or AssertionError


def test_an_envelope_is_what_the_headers_say() -> None:
    outgoing = Outgoing("orders", "shop.paid", 2, b"{}", "42", b'{"traceparent":"00-ab"}', source="elsewhere")
    own_id = bytes.fromhex("0190163d8694739aaea5966c26f8ad91")
    headers = wire.headers(outgoing, own_id, "till", b"2026-01-02T03:04:05.678Z")
    (record,) = read(message(key=b"42", headers=headers))
    found = wire.envelope("orders", 3, record, "topic-id")
    assert (found.id, found.source) == ("0190163d-8694-739a-aea5-966c26f8ad91", "elsewhere")
    assert (found.type, found.version, found.key) == ("shop.paid", 2, "42")
    assert (found.topic, found.partition, found.offset) == ("orders", 3, 5)
    assert found.time == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    assert found.extensions == {"traceparent": "00-ab"}


def test_an_envelope_without_headers_is_known_by_its_place_and_kafka_s_time() -> None:
    (record,) = read(message(headers=None))
    found = wire.envelope("orders", 3, record, "topic-id")
    assert (found.id, found.source, found.type, found.version) == ("topic-id/3/5", "kafka", "", 1)
    assert found.time == datetime(2023, 11, 14, 22, 13, 20, 123000, UTC)


def test_an_event_without_a_type_says_neither_type_nor_version() -> None:
    headers = wire.headers(Outgoing("orders", "", 1, b"{}", None), bytes(16), "till", b"now")
    assert [name for name, _ in headers] == ["ce_specversion", "ce_id", "ce_source", "ce_time", "content-type"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ce_type", "ce_dataversion", "ce_id", "ce_time", "other", "CE_TYPE"]),
            st.binary(max_size=20) | st.none(),
        ),
        max_size=4,
    ),
    st.binary(max_size=8) | st.none(),
)
def test_no_message_makes_reading_fail(headers: list[tuple[str, Any]], key: bytes | None) -> None:
    (record,) = read(message(key=key, headers=headers))
    hash(record[1])
    wire.wire_type(record[1])
    wire.envelope("orders", 0, record, "topic-id")


def test_a_record_holds_nothing_for_the_garbage_collector_to_follow() -> None:
    headers = wire.headers(Outgoing("orders", "shop.paid", 1, b"{}", None), bytes(16), "till", b"now")
    (record,) = read(message(b"{}", key=b"7", headers=headers))
    for _ in range(2):  # first what it holds, then the record itself
        gc.collect()
    assert not gc.is_tracked(record)


def test_events_sent_together_have_the_headers_that_each_has_alone() -> None:
    event = Outgoing("orders", "shop.paid", 1, b"{}", None)
    events = [
        event,
        event,
        event._replace(version=2),
        event._replace(source="bank", id=b"7"),
        event._replace(extra=b'{"traceparent":"00-1"}'),
        event._replace(type=""),
    ]
    together = wire.Headings()
    for number, each in enumerate(events):
        new_id, time = bytes([number]) * 16, b"%d" % number
        assert together.of(each, new_id, "till", time) == wire.headers(each, new_id, "till", time)


def test_an_id_in_text_goes_out_as_its_bytes_would() -> None:
    event = Outgoing("orders", "shop.paid", 1, b"{}", None)
    (new_id,) = ids.uuid7_bytes(1)
    together = wire.Headings()
    assert together.of(event, ids.text(new_id).encode(), "till", b"now") == together.of(event, new_id, "till", b"now")


def test_headings_of_more_kinds_than_are_remembered_are_each_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_KINDS", 2)
    together = wire.Headings()
    for number in (1, 2, 3, 1):
        event = Outgoing("orders", f"shop.paid_{number}", 1, b"{}", None)
        assert together.of(event, bytes(16), "till", b"now") == wire.headers(event, bytes(16), "till", b"now")


def test_a_relay_s_number_stands_behind_type_and_version_of_what_else_it_would_be() -> None:
    event = Outgoing("orders", "shop.paid", 1, b"{}", None, id=b"7", source="bank")
    events = [
        event,
        event._replace(id=b"8"),
        event._replace(version=2),
        event._replace(source="till"),
        event._replace(extra=b'{"traceparent":"00-1"}'),
        event._replace(type=""),
        event._replace(id=bytes(16)),
    ]
    columns = columns_of(events, "")
    times, numbers = ([b"%s %d" % (name, place) for place in range(len(events))] for name in (b"at", b"of"))
    found = wire.numbered(columns.kind_of_each(), columns.extras, wire.id_texts(columns.ids), times, numbers)
    for event, written, time, number in zip(events, found, times, numbers, strict=True):
        assert written.pop(2) == ("onward-number", number)
        assert written == wire.headers(event, b"", "", time)


def test_ids_are_written_as_text_whatever_they_are() -> None:
    first, second = bytes(range(16)), bytes(range(240, 256))
    assert wire.id_texts(first + second) == [
        b"00010203-0405-0607-0809-0a0b0c0d0e0f",
        b"f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff",
    ]
    assert wire.id_texts([first, b"order 7"]) == [b"00010203-0405-0607-0809-0a0b0c0d0e0f", b"order 7"]
    assert wire.id_texts(b"") == []


@pytest.mark.parametrize(
    ("micros", "expected"),
    [
        (0, b"1970-01-01T00:00:00Z"),
        (1_767_323_045_000_001, b"2026-01-02T03:04:05.000001Z"),
        (1_767_323_045_678_900, b"2026-01-02T03:04:05.678900Z"),
    ],
)
def test_a_moment_is_written_to_the_microsecond_in_utc(micros: int, expected: bytes) -> None:
    assert wire.moment(micros) == expected
