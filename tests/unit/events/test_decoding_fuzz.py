"""Whatever the bytes, decoding gives an event or an error that the pipeline knows to be about the message."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from onward.errors import DecodeError
from onward.events import Event, decode_error, decoder_for, event, event_type, isolated_registry, registry, upcast


class Colour(Enum):
    RED = "red"


class Node(msgspec.Struct, frozen=True):
    name: str = ""
    children: list["Node"] = msgspec.field(default_factory=list)


class Wide(Event, type="fuzz.wide", topic="fuzz", version=2):
    number: int
    money: Decimal
    ratio: float = 0.0
    when: datetime | None = None
    day: date | None = None
    took: timedelta | None = None
    id: UUID | None = None
    raw: bytes = b""
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"
    tree: Node = Node()
    pair: tuple[int, str] = (0, "")
    units: dict[str, int] = msgspec.field(default_factory=dict)
    marks: frozenset[int] = frozenset()
    anything: Any = None


@event(type="fuzz.plain", topic="fuzz")
@dataclass
class Plain:
    number: int
    money: Decimal
    when: datetime | None = None


@event(type="fuzz.model", topic="fuzz")
class Model(BaseModel):
    number: int
    money: Decimal
    when: datetime | None = None


with isolated_registry():

    @upcast(Wide, from_version=1)
    def wide_1_to_2(old: dict[str, Any]) -> dict[str, Any]:
        return {"number": 1, "money": 2, **old}

    from_version_1 = decoder_for(registry(), "fuzz.wide", 1, Wide)

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "struct": event_type(Wide).decode,
    "dataclass": event_type(Plain).decode,
    "model": event_type(Model).decode,
    "old version": from_version_1,
}
# UnicodeDecodeError, msgspec's and Pydantic's own errors are all ValueErrors.
ABOUT_THE_MESSAGE = (ValueError, RecursionError, DecodeError)
every_decoder = pytest.mark.parametrize("name", DECODERS)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
field_names = st.sampled_from([*Wide.__struct_fields__, "other"])


def decode(name: str, value: bytes) -> Wide | Plain | Model | DecodeError:
    """The event, or the error that the pipeline makes of what the decoder raised."""
    try:
        event: Wide | Plain | Model = DECODERS[name](value)
    except ABOUT_THE_MESSAGE as error:
        return decode_error(event_type(Wide), value, error)
    return event


def is_event_or_short_error(outcome: object) -> bool:
    return len(str(outcome)) < 5000 if isinstance(outcome, DecodeError) else isinstance(outcome, Wide | Plain | Model)


@every_decoder
@given(value=st.binary(max_size=60))
def test_random_bytes_are_an_event_or_a_message_error(name: str, value: bytes) -> None:
    assert is_event_or_short_error(decode(name, value))


@every_decoder
@given(value=json_values)
def test_random_json_is_an_event_or_a_message_error(name: str, value: Any) -> None:
    assert is_event_or_short_error(decode(name, msgspec.json.encode(value)))


@every_decoder
@given(fields=st.dictionaries(field_names, json_values, max_size=6))
def test_random_fields_are_an_event_or_a_message_error(name: str, fields: dict[str, Any]) -> None:
    assert is_event_or_short_error(decode(name, msgspec.json.encode({"number": 1, "money": 2, **fields})))


@every_decoder
@given(cut=st.integers(0, 80), flips=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=3))
def test_damaged_event_is_an_event_or_a_message_error(name: str, cut: int, flips: list[tuple[int, int]]) -> None:
    value = bytearray(b'{"number":12,"money":1.50,"when":"2026-01-02T03:04:05Z","tree":{"name":"a"},"raw":"AA=="}')
    for place, byte in flips:
        value[place] = byte
    assert is_event_or_short_error(decode(name, bytes(value[:cut] if cut < 80 else value)))


NOBODY: set[str] = set()
EVERYBODY = set(DECODERS)


@pytest.mark.parametrize(
    ("value", "readers"),
    [
        (b"[" * 100_000, NOBODY),
        (b'{"number":1,"money":2,"anything":' + b"[" * 100_000, NOBODY),
        (b'{"number":1,"money":2,"tree":' + b'{"children":[' * 100_000, NOBODY),
        (b'{"number":' + b"9" * 100_000 + b"}", NOBODY),
        (b'{"number":1,"money":1e99999999999999999999}', NOBODY),
        (b'{"number":1,"money":"' + b"9" * 100_000 + b'"}', EVERYBODY),
        (b'{"number":1,"money":"sNaN","ratio":1e999}', {"dataclass"}),  # it has no ratio, and a Decimal may be sNaN
        (b'{"number":1,"money":NaN}', NOBODY),
        (b'\xef\xbb\xbf{"number":1,"money":2}', NOBODY),
        (b'{"number":1,"money":2,"\xff":1}', {"struct", "dataclass"}),  # msgspec does not look at names it skips
        (b'{"number":1,"money":2,"when":"9999-99-99T99:99:99Z"}', NOBODY),
        (b'{"number":1,"money":2,"took":"P999999999999D"}', {"dataclass", "model"}),
        (b"", NOBODY),
        (b"null", NOBODY),
    ],
)
def test_hostile_bytes_are_an_event_to_those_who_can_read_them_and_a_message_error_to_others(
    value: bytes, readers: set[str]
) -> None:
    outcomes = {name: decode(name, value) for name in DECODERS}
    assert {name for name, outcome in outcomes.items() if not isinstance(outcome, DecodeError)} == readers
    assert all(map(is_event_or_short_error, outcomes.values()))
