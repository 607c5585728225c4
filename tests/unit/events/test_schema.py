"""Schemas say what is on the wire: money is a number, a date is no other text."""

from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field

from onward.errors import DeclarationError
from onward.events import Event, event, json_schema, snapshot


class Span(NamedTuple):
    begin: datetime
    price: Decimal = Decimal(0)


class Extra(TypedDict):
    at: datetime


class Cash(msgspec.Struct, tag="cash", frozen=True):
    amount: Decimal


class Card(msgspec.Struct, tag="card", frozen=True):
    expires: datetime


@dataclass
class Plain:
    at: datetime


class Placed(Event, type="test.schema", topic="orders", key="order_id", version=2):
    order_id: str
    total: Annotated[Decimal, msgspec.Meta(description="in pounds")]
    at: datetime
    daily: time
    history: list[datetime]
    prices: dict[str, Decimal]
    anything: dict[str, Any]
    things: list[Any]
    pair: tuple[Decimal, str]
    nothing: tuple[()]
    span: Span
    extra: Extra
    plain: Plain
    payment: Cash | Card | int | None
    paid_at: Annotated[datetime, msgspec.Meta(description="when")] | Cash | None = None
    replaces: "Placed | None" = None


DATE = {"type": "string", "format": "date-time"}
MONEY = {"type": "number", "format": "decimal"}


def test_schema_says_what_the_wire_carries() -> None:
    schema = json_schema(Placed)
    definitions = schema["$defs"]
    fields = definitions["Placed"]["properties"]
    assert fields["order_id"] == {"type": "string"}
    assert fields["total"] == {**MONEY, "description": "in pounds"}
    assert fields["at"] == DATE
    assert fields["daily"] == {"type": "string", "format": "time"}
    assert fields["history"] == {"type": "array", "items": DATE}
    assert fields["prices"] == {"type": "object", "additionalProperties": MONEY}
    assert fields["anything"] == {"type": "object"}
    assert fields["things"] == {"type": "array"}
    assert fields["pair"]["prefixItems"] == [MONEY, {"type": "string"}]
    assert definitions["Span"]["prefixItems"] == [DATE, {**MONEY, "default": "0"}]
    assert definitions["Extra"]["properties"] == {"at": DATE}
    assert definitions["Plain"]["properties"] == {"at": DATE}
    assert definitions["Cash"]["properties"]["amount"] == MONEY
    assert definitions["Card"]["properties"]["expires"] == DATE
    assert fields["paid_at"]["anyOf"] == [
        {**DATE, "description": "when"},
        {"$ref": "#/$defs/Cash"},
        {"type": "null"},
    ]


def test_snapshot_names_the_type_and_its_version() -> None:
    found = snapshot(Placed)
    assert (found["type"], found["version"]) == ("test.schema", 2)
    assert found["schema"] == json_schema(Placed)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_schema_of_a_model_is_what_it_reads() -> None:
    @event(type="test.schema_model", topic="orders")
    class Model(BaseModel):
        name: str = Field(alias="theName")
        size: int = 1

    schema = json_schema(Model)
    assert list(schema["properties"]) == ["theName", "size"]
    assert schema["required"] == ["theName"]


def test_class_that_is_no_event_has_no_schema() -> None:
    with pytest.raises(DeclarationError, match="Plain is not an event"):
        json_schema(Plain)
