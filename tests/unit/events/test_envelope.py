"""The envelope on the wire: CloudEvents headers out, anything at all in."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.errors import EncodeError
from onward.events import Attributes, Envelope, check_extensions, from_headers, headers_of

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def headers(event_type: str = "shop.order_placed", version: int = 1, **said: Any) -> list[tuple[str, bytes]]:
    written = {"id": b"0190b3c4-0000-7000-8000-000000000001", "source": b"inventory", "time": b"2026-01-02T03:04:05Z"}
    return headers_of(event_type, version, **{**written, **said})


def test_headers_are_those_of_cloudevents_in_binary_mode_type_and_version_first() -> None:
    assert headers(extensions={"traceparent": "00-ab-cd-01"}) == [
        ("ce_type", b"shop.order_placed"),
        ("ce_dataversion", b"1"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"0190b3c4-0000-7000-8000-000000000001"),
        ("ce_source", b"inventory"),
        ("ce_time", b"2026-01-02T03:04:05Z"),
        ("content-type", b"application/json"),
        ("ce_traceparent", b"00-ab-cd-01"),
    ]


def test_message_without_headers_says_nothing_and_is_version_one() -> None:
    assert from_headers([]) == Attributes(id=None, source=None, type=None, version=1, time=None, extensions={})


@pytest.mark.parametrize("value", [b"\xff", b"", None, b"x" * 1025])
def test_unreadable_attribute_is_as_if_absent(value: bytes | None) -> None:
    read = from_headers([("ce_id", value), ("ce_source", value), ("ce_type", value), ("ce_time", value)])
    assert (read.id, read.source, read.type, read.time) == (None, None, None, None)


@pytest.mark.parametrize("value", [b"0", b"-1", b"1.5", b"two", b"", b"\xff", "²".encode(), b"9" * 8])
def test_version_that_is_none_reads_as_none(value: bytes) -> None:
    assert from_headers([("ce_dataversion", value)]).version is None


@pytest.mark.parametrize(
    "value", [b"yesterday", b"2026-01-02T03:04:05", b"2026-13-02T03:04:05Z", b"0001-01-01T00:00:00+05:00"]
)
def test_time_without_zone_or_sense_reads_as_none(value: bytes) -> None:
    assert from_headers([("ce_time", value)]).time is None


def test_time_of_another_zone_is_read_as_utc() -> None:
    assert from_headers([("ce_time", b"2026-01-02T08:04:05.678+05:00")]).time == WHEN


def test_first_header_of_a_name_counts_whatever_its_case() -> None:
    read = from_headers([("CE_Type", b"first"), ("ce_type", b"second"), ("ce_ext", b"1"), ("CE_EXT", b"2")])
    assert read.type == "first"
    assert dict(read.extensions) == {"ext": "1"}


def test_headers_that_are_no_cloudevents_are_passed_over() -> None:
    assert from_headers([("type", b"x"), ("content-type", b"text/plain"), ("ce_", b"x"), ("ce_a-b", b"x")]) == (
        Attributes()
    )


def test_extension_that_is_not_text_or_too_long_is_passed_over() -> None:
    read = from_headers([("ce_a", b"\xff"), ("ce_b", b"x" * 4097), ("ce_c", b"x" * 4096)])
    assert dict(read.extensions) == {"c": "x" * 4096}


def test_at_most_32_extensions_and_128_headers_are_read() -> None:
    read = from_headers([(f"ce_e{number}", b"x") for number in range(100)])
    assert list(read.extensions) == [f"e{number}" for number in range(32)]
    filler: list[tuple[str, bytes | None]] = [("other", b"")] * 127
    assert from_headers([*filler, ("ce_type", b"in")]).type == "in"
    assert from_headers([*filler, ("other", b""), ("ce_type", b"out")]).type is None


@given(st.lists(st.tuples(st.text(max_size=8).map(lambda name: "ce_" + name), st.none() | st.binary(max_size=40))))
def test_no_header_makes_reading_fail(headers: list[tuple[str, bytes | None]]) -> None:
    read = from_headers(headers)
    assert read.time is None or read.time.utcoffset() == timedelta(0)


@given(st.sampled_from(["ce_time", "ce_dataversion", "ce_type"]), st.text() | st.datetimes().map(str))
def test_no_text_makes_reading_an_attribute_fail(name: str, value: str) -> None:
    read = from_headers([(name, value.encode("utf-8", "surrogatepass"))])
    assert read.version is None or read.version >= 1


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    st.integers(1, 1_000_000),
    st.datetimes(timezones=st.just(UTC)),
    st.dictionaries(st.sampled_from(["traceparent", "tracestate", "a", "b2"]), st.text(st.characters(codec="utf-8"))),
)
def test_any_attributes_survive_the_way_through_headers(
    text: str, version: int, time: datetime, extensions: dict[str, str]
) -> None:
    moment = time.isoformat().encode()
    read = from_headers(
        headers(text, version, id=text.encode(), source=text.encode(), time=moment, extensions=extensions)
    )
    assert (read.id, read.source, read.type) == (text, text, text)
    assert (read.version, read.time, dict(read.extensions)) == (version, time, extensions)


@pytest.mark.parametrize("name", ["", "Trace", "a-b", "a" * 21, "id", "time", "dataversion", "data"])
def test_extension_with_a_name_that_is_not_free_is_refused(name: str) -> None:
    with pytest.raises(EncodeError, match="an extension attribute named"):
        check_extensions({name: "x"})


@pytest.mark.parametrize("value", ["x" * 4097, "é" * 2049, "\ud800"])
def test_extension_that_cannot_travel_is_refused(value: str) -> None:
    with pytest.raises(EncodeError, match="'baggage' is over 4096 bytes, or has half a surrogate pair"):
        headers(extensions={"baggage": value})


def test_extensions_at_their_bounds_are_accepted() -> None:
    check_extensions({f"e{number}": "x" * 4096 for number in range(32)})
    with pytest.raises(EncodeError, match="33 extension attributes; 32 is the most"):
        check_extensions({f"e{number}": "" for number in range(33)})


def test_envelope_does_not_change() -> None:
    envelope = Envelope(
        id="1", source="till", type="t", version=1, topic="orders", partition=0, offset=0, key=None, time=WHEN
    )
    with pytest.raises(AttributeError):
        envelope.id = "other"  # type: ignore[misc]
