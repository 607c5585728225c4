"""Codecs of Structs and dataclasses: money exact, new fields passed over, wrong fields refused early."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.errors import DeclarationError
from onward.events.codec import codec_for


class Order(msgspec.Struct, frozen=True):
    order_id: int
    customer_id: int
    total: Decimal


@dataclass
class Plain:
    order_id: int
    customer_id: int
    total: Decimal


both = pytest.mark.parametrize("cls", [Order, Plain])


@both
def test_foreign_json_with_a_number_for_money_is_read_exactly(cls: Callable[..., Any]) -> None:
    codec = codec_for(cls)  # type: ignore[arg-type]
    order = codec.decode(b'{"order_id": 123, "customer_id": 456, "total": 100.0}')
    assert order == cls(123, 456, Decimal("100.0"))
    assert json.loads(codec.encode(order)) == {"order_id": 123, "customer_id": 456, "total": 100.0}
    assert codec.encode(order) == b'{"order_id":123,"customer_id":456,"total":100.0}'


@both
def test_money_as_text_is_read_as_well(cls: Callable[..., Any]) -> None:
    decode = codec_for(cls).decode  # type: ignore[arg-type]
    assert decode(b'{"order_id":1,"customer_id":2,"total":"0.10"}').total == Decimal("0.10")


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_finite_decimal_comes_back_digit_for_digit(total: Decimal) -> None:
    codec = codec_for(Order)
    read = codec.decode(codec.encode(Order(1, 2, total))).total
    assert read.as_tuple() == total.as_tuple()


@both
def test_field_this_code_does_not_know_is_passed_over(cls: Callable[..., Any]) -> None:
    decode = codec_for(cls).decode  # type: ignore[arg-type]
    assert decode(b'{"order_id":1,"customer_id":2,"total":3,"new":[1]}') == cls(1, 2, Decimal(3))


def test_codec_of_a_struct_has_no_python_in_the_way() -> None:
    codec = codec_for(Order)
    assert isinstance(codec.encode.__self__, msgspec.json.Encoder)  # type: ignore[attr-defined]
    assert isinstance(codec.decode.__self__, msgspec.json.Decoder)  # type: ignore[attr-defined]


def test_class_of_no_known_kind_is_refused() -> None:
    class Ordinary:
        name: str

    with pytest.raises(DeclarationError, match=r"Ordinary is neither an onward.Event, a dataclass nor a Pydantic"):
        codec_for(Ordinary)


def test_field_that_json_cannot_carry_is_refused_by_its_path() -> None:
    class Inner(msgspec.Struct):
        number: list[complex]

    class Outer(msgspec.Struct):
        name: str
        inner: Inner | None = None

    with pytest.raises(DeclarationError, match=r"has the field inner.number of type complex, which JSON can't"):
        codec_for(Outer)


def test_union_that_cannot_be_told_apart_is_refused() -> None:
    class One(msgspec.Struct):
        a: int

    class Two(msgspec.Struct):
        b: int

    class Either(msgspec.Struct):
        which: One | Two

    with pytest.raises(DeclarationError, match=r"Either can't be read from JSON: .*union"):
        codec_for(Either)


def test_dict_with_decimal_keys_is_refused() -> None:
    # Decimals are written as numbers, and a number as a JSON name is no JSON.
    class Priced(msgspec.Struct):
        by_price: dict[Annotated[Decimal, msgspec.Meta(description="price")], int]

    with pytest.raises(DeclarationError, match="by_price, a dict with Decimal keys"):
        codec_for(Priced)


def test_dict_with_text_keys_is_accepted() -> None:
    class Stock(msgspec.Struct):
        units: dict[str, int]

    assert codec_for(Stock).decode(b'{"units":{"a":1}}') == Stock({"a": 1})
