"""Keys: text that is the same for equal keys, bounded, and checked when declared."""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from typing_extensions import TypeAliasType

from onward.errors import DeclarationError, EncodeError
from onward.events.keys import check_key, key_reader

Sku = TypeAliasType("Sku", str)


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Mood(StrEnum):
    GOOD = "good"


@dataclass
class Holder:
    value: Any


def key_text(value: object) -> str | None:
    return key_reader("test.held", "value")(Holder(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        ("ключ", "ключ"),
        (7, "7"),
        (-7, "-7"),
        (UUID("0190b3c4-0000-7000-8000-000000000001"), "0190b3c4-0000-7000-8000-000000000001"),
        (Colour.RED, "red"),
        (Size.BIG, "3"),
        (Mood.GOOD, "good"),
        (None, None),
    ],
)
def test_key_is_the_text_of_its_field(value: object, text: str | None) -> None:
    assert key_text(value) == text
    assert type(key_text(value)) in (str, type(None))


def test_event_type_without_key_has_none_whatever_its_fields() -> None:
    for cls, event in ((Holder, Holder("a")), (int, 7)):
        check_key(cls, None)
        assert key_reader("test.held", None)(event) is None


@pytest.mark.parametrize("value", [True, 1.5, Decimal(1), b"a", ["a"], ("a",), {"a": 1}])
def test_value_that_is_no_key_is_refused_when_published(value: object) -> None:
    with pytest.raises(EncodeError, match=f"has a {type(value).__name__} in its key field 'value'"):
        key_text(value)


def test_key_of_512_bytes_is_the_longest() -> None:
    assert key_text("é" * 256) == "é" * 256
    with pytest.raises(EncodeError, match="a key of 513 bytes"):
        key_text("é" * 256 + "a")


def test_key_with_half_a_surrogate_pair_does_not_slip_past_the_bound() -> None:
    with pytest.raises(EncodeError, match="a key of 600 bytes"):
        key_text("\ud800" * 200)


@given(st.text(max_size=600))
def test_no_key_is_over_the_bound(value: str) -> None:
    try:
        found = key_text(value)
    except EncodeError:
        assert len(value.encode("utf-8", "surrogatepass")) > 512
    else:
        assert found == value
        assert len(value.encode("utf-8", "surrogatepass")) <= 512


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (str, "a", "a"),
        (int, 7, "7"),
        (UUID, UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Colour, Colour.RED, "red"),
        (str | None, None, None),
        (int | str, 7, "7"),
        (Literal["a", "b"], "b", "b"),
        (Annotated[str, msgspec.Meta(description="x")], "a", "a"),
    ],
)
def test_types_with_one_text_for_equal_values_can_be_keys(annotation: Any, value: object, text: str | None) -> None:
    keyed = msgspec.defstruct("Keyed", [("id", annotation)])
    check_key(keyed, "id")
    assert key_reader("test.keyed", "id")(keyed(value)) == text


@pytest.mark.parametrize("annotation", [list[str], dict[str, int], float, bool, Decimal, bytes, Any, str | float])
def test_types_that_change_or_have_many_texts_cannot_be_keys(annotation: Any) -> None:
    with pytest.raises(DeclarationError, match="key='id', a field whose type can't be a key"):
        check_key(msgspec.defstruct("Keyed", [("id", annotation)]), "id")


def test_key_that_names_no_field_is_told_the_fields_there_are() -> None:
    with pytest.raises(DeclarationError, match=r"key='nr', which names no field of it\. It has: id, name"):
        check_key(msgspec.defstruct("Keyed", [("id", int), ("name", str)]), "nr")


def test_key_of_an_event_without_fields_is_refused() -> None:
    with pytest.raises(DeclarationError, match="It has: no fields"):
        check_key(msgspec.defstruct("Empty", []), "id")


def test_pydantic_field_is_checked_as_far_as_its_type_is_known() -> None:
    class Model(BaseModel):
        id: str
        secret: SecretStr
        odd: list[str]
        named: Sku

    check_key(Model, "id")
    check_key(Model, "secret")
    check_key(Model, "named")
    with pytest.raises(DeclarationError, match="key='odd', a field whose type can't be a key"):
        check_key(Model, "odd")
    with pytest.raises(DeclarationError, match="It has: id, secret, odd, named"):
        check_key(Model, "absent")
