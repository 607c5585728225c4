"""Errors about messages say type, field and reason, and show a bounded piece of the bytes."""

from decimal import Decimal

import pytest
from pydantic import BaseModel

from onward.events import Event, EventType, decode_error, encode_error, event, event_type


class Placed(Event, type="test.failing", topic="orders", version=3):
    order_id: int
    totals: list[Decimal]


@event(type="test.failing_model", topic="orders")
class Model(BaseModel):
    totals: list[int]


def failure(found: EventType, value: bytes) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any error is what decode_error takes
        found.decode(value)
    assert isinstance(caught.value, Exception)
    return caught.value


def test_decode_error_names_type_version_field_and_reason() -> None:
    value = b'{"order_id": 1, "totals": [1, "x"]}'
    cause = failure(event_type(Placed), value)
    error = decode_error(event_type(Placed), value, cause)
    assert "not the test.failing version 3 that it claims to be: Invalid decimal string at $.totals[1]. " in str(error)
    assert error.fields == {"type": "test.failing", "version": 3, "path": "$.totals[1]", "value_bytes": 35}
    assert error.__cause__ is cause


def test_decode_error_of_bytes_that_are_no_json_points_at_the_whole() -> None:
    error = decode_error(event_type(Placed), b"\xff", failure(event_type(Placed), b"\xff"))
    assert error.fields["path"] == "$"
    assert "JSON is malformed" in str(error)


def test_decode_error_of_a_model_names_the_field() -> None:
    value = b'{"totals": [1, "x"]}'
    error = decode_error(event_type(Model), value, failure(event_type(Model), value))
    assert error.fields["path"] == "$.totals.1"
    assert "Input should be a valid integer" in str(error)


def test_error_without_words_is_named_by_its_class() -> None:
    assert ": KeyError at $." in str(decode_error(event_type(Placed), b"{}", KeyError()))


def test_decode_error_shows_200_bytes_and_says_how_many_there_are() -> None:
    value = b"x" * 200
    assert str(decode_error(event_type(Placed), value, ValueError("no"))).endswith("'" + "x" * 200 + "'")
    longer = b"x" * 5000
    assert str(decode_error(event_type(Placed), longer, ValueError("no"))).endswith("x'… (5000 bytes)")
    assert "x" * 201 not in str(decode_error(event_type(Placed), longer, ValueError("no")))


def test_encode_error_names_the_type_and_shows_the_event() -> None:
    bad = Placed(order_id=object(), totals=[])  # type: ignore[arg-type]
    with pytest.raises(TypeError) as caught:
        event_type(Placed).encode(bad)
    error = encode_error(event_type(Placed), bad, caught.value)
    assert str(error).startswith("A test.failing can't be written as JSON that reads back as one: Encoding objects of ")
    assert error.fields == {"type": "test.failing", "version": 3, "path": "$"}
    assert error.__cause__ is caught.value


def test_encode_error_shows_the_beginning_of_a_large_event() -> None:
    error = encode_error(event_type(Placed), Placed(order_id=1, totals=[Decimal(1)] * 999), ValueError("no"))
    assert str(error).endswith("…")
    assert len(str(error)) < 500
