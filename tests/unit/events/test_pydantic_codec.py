"""Codecs of Pydantic models: as Pydantic writes and reads, money exact."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, field_serializer
from pydantic.dataclasses import dataclass as pydantic_dataclass

from onward.events.pydantic_codec import is_pydantic, pydantic_decode, pydantic_encode


class Order(BaseModel):
    order_id: int
    customer_id: int
    total: Decimal


class Line(BaseModel):
    sku: str
    price: Decimal


class Basket(BaseModel):
    lines: list[Line]
    by_sku: dict[str, Decimal] = {}
    pair: tuple[Decimal, str] = (Decimal(0), "")
    discount: Decimal | None = None
    prices: set[Decimal] = set()


class Note(BaseModel):
    text: str = Field(alias="noteText")


class Masked(BaseModel):
    total: Decimal
    shown: list[int]

    @field_serializer("shown", when_used="json")
    def _as_text(self, shown: list[int]) -> str:
        return "-".join(map(str, shown))


class Later(BaseModel):
    leaf: "Undefined"  # type: ignore[name-defined]  # noqa: F821


class Early(BaseModel):
    leaf: "Leaf"


class Leaf(BaseModel):
    size: int


@pydantic_dataclass
class Checked:
    name: str
    total: Decimal


def test_foreign_json_is_read_and_written_with_money_as_a_number() -> None:
    order = pydantic_decode(Order)(b'{"order_id": 123, "customer_id": 456, "total": 100.0}')
    assert order == Order(order_id=123, customer_id=456, total=Decimal("100.0"))
    written = json.loads(pydantic_encode(Order)(order))
    assert written == {"order_id": 123, "customer_id": 456, "total": 100.0}
    assert not isinstance(written["total"], str)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_finite_decimal_comes_back_equal(total: Decimal) -> None:
    order = Order(order_id=1, customer_id=2, total=total)
    assert pydantic_decode(Order)(pydantic_encode(Order)(order)).total == total


def test_decimal_that_a_float_cannot_hold_stays_text() -> None:
    written = pydantic_encode(Order)(Order(order_id=1, customer_id=2, total=Decimal("12345678901234567.89")))
    assert json.loads(written)["total"] == "12345678901234567.89"


def test_money_is_a_number_wherever_it_lies() -> None:
    basket = Basket(
        lines=[Line(sku="a", price=Decimal("1.50"))],
        by_sku={"a": Decimal("2.5")},
        pair=(Decimal("3.5"), "x"),
        discount=Decimal("0.5"),
    )
    written = pydantic_encode(Basket)(basket)
    assert json.loads(written) == {
        "lines": [{"sku": "a", "price": 1.5}],
        "by_sku": {"a": 2.5},
        "pair": [3.5, "x"],
        "discount": 0.5,
        "prices": [],
    }
    assert pydantic_decode(Basket)(written) == basket


def test_money_in_a_set_is_written_as_pydantic_writes_it() -> None:
    written = pydantic_encode(Basket)(Basket(lines=[], prices={Decimal("1.5")}))
    assert json.loads(written)["prices"] == ["1.5"]


def test_a_models_own_serializer_has_the_last_word() -> None:
    written = json.loads(pydantic_encode(Masked)(Masked(total=Decimal("1.5"), shown=[1, 2])))
    assert written == {"total": 1.5, "shown": "1-2"}


def test_aliases_are_written_and_read() -> None:
    written = pydantic_encode(Note)(Note(noteText="x"))
    assert json.loads(written) == {"noteText": "x"}
    assert pydantic_decode(Note)(written) == Note(noteText="x")


def test_pydantic_dataclass_validates_what_it_reads() -> None:
    assert is_pydantic(Checked)
    assert pydantic_decode(Checked)(pydantic_encode(Checked)(Checked("x", Decimal(1)))) == Checked("x", Decimal(1))
    with pytest.raises(ValidationError):
        pydantic_decode(Checked)(b'{"name": 5, "total": 1}')


def test_model_that_names_a_later_class_is_completed() -> None:
    assert pydantic_decode(Early)(b'{"leaf": {"size": 1}}') == Early(leaf=Leaf(size=1))


@pytest.mark.parametrize("make", [pydantic_decode, pydantic_encode])
def test_model_with_an_unknown_name_is_a_name_error(make: Any) -> None:
    with pytest.raises(NameError):
        make(Later)


def test_plain_class_is_no_model() -> None:
    assert not is_pydantic(int)
