"""Declaring events: what a class or decorated class becomes, and what a wrong one is told."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from onward.errors import DeclarationError
from onward.events import Event, event, event_type


class OrderPlaced(Event, type="test.order_placed", topic="orders", key="order_id"):
    order_id: int
    customer_id: int
    total: Decimal


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int = 1


class Everything(Event, type="test.everything", topic="all", key="id"):
    id: UUID
    when: datetime
    colour: Colour
    lines: tuple[Line, ...]
    prices: dict[str, Decimal]
    raw: bytes
    note: str | None = None
    choice: int | str = 0
    tags: list[str] = msgspec.field(default_factory=list)


class Node(Event, type="test.node", topic="nodes"):
    name: str
    children: list["Node"] = msgspec.field(default_factory=list)
    leaf: "Leaf | None" = None


class Leaf(msgspec.Struct, frozen=True):
    size: int


def test_event_class_has_the_type_it_declares() -> None:
    found = event_type(OrderPlaced)
    assert (found.type, found.version, found.topic, found.key, found.cls) == (
        "test.order_placed",
        1,
        "orders",
        "order_id",
        OrderPlaced,
    )


def test_event_is_constructed_by_keyword_or_position_and_says_its_fields() -> None:
    order = OrderPlaced(order_id=1, customer_id=2, total=Decimal("9.50"))
    assert order == OrderPlaced(1, 2, Decimal("9.50"))
    assert repr(order) == "OrderPlaced(order_id=1, customer_id=2, total=Decimal('9.50'))"


def test_event_does_not_change() -> None:
    order = OrderPlaced(order_id=1, customer_id=2, total=Decimal(3))
    with pytest.raises(AttributeError, match="immutable"):
        order.total = Decimal(4)  # type: ignore[misc]


def test_equal_events_are_one_in_a_set() -> None:
    assert len({OrderPlaced(1, 2, Decimal(3)), OrderPlaced(1, 2, Decimal(3)), OrderPlaced(1, 2, Decimal(4))}) == 2


def test_every_kind_of_field_is_read_as_it_was_written() -> None:
    found = event_type(Everything)
    written = Everything(
        id=UUID("0190b3c4-0000-7000-8000-000000000001"),
        when=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        colour=Colour.GREEN,
        lines=(Line("a", 2), Line("b")),
        prices={"a": Decimal("1.10")},
        raw=b"\x00\xff",
        choice="x",
        tags=["t"],
    )
    assert found.decode(found.encode(written)) == written


def test_event_may_name_itself_and_classes_defined_after_it() -> None:
    found = event_type(Node)
    tree = Node("root", children=[Node("child", leaf=Leaf(3))])
    assert found.decode(found.encode(tree)) == tree
    assert event_type(Node) is found


def test_abstract_base_gives_its_topic_key_and_fields_to_events() -> None:
    class ShopEvent(Event, abstract=True, topic="shop", key="order_id"):
        order_id: str

    class Deeper(ShopEvent, abstract=True):
        pass

    class Placed(Deeper, type="shop.placed"):
        pass

    class Counted(Deeper, type="shop.counted", topic="counts", key=None):
        pass

    assert (event_type(Placed).topic, event_type(Placed).key) == ("shop", "order_id")
    assert (event_type(Counted).topic, event_type(Counted).key) == ("counts", None)
    with pytest.raises(DeclarationError, match="is not an event"):
        event_type(ShopEvent)


def test_dataclass_becomes_an_event_and_stays_itself() -> None:
    @dataclass
    class Plain:
        order_id: int
        total: Decimal
        lines: list[Line] = field(default_factory=list)

    declared = event(type="test.plain", topic="orders", key="order_id", version=2)(Plain)
    found = event_type(declared)
    assert declared is Plain
    assert (found.type, found.version, found.topic, found.key) == ("test.plain", 2, "orders", "order_id")
    assert found.decode(found.encode(Plain(1, Decimal("2.50"), [Line("a")]))) == Plain(1, Decimal("2.50"), [Line("a")])


def test_frozen_slotted_dataclass_becomes_an_event() -> None:
    @event(type="test.frozen", topic="orders")
    @dataclass(frozen=True, slots=True)
    class Frozen:
        name: str

    assert event_type(Frozen).decode(b'{"name": "x"}') == Frozen("x")


def test_pydantic_model_becomes_an_event() -> None:
    @event(type="test.model", topic="orders", key="name")
    class Model(BaseModel):
        name: str

    found = event_type(Model)
    assert found.decode(found.encode(Model(name="x"))) == Model(name="x")
    assert found.key_of(Model(name="x")) == "x"


def test_declared_event_keeps_no_type_for_its_subclass() -> None:
    @event(type="test.parent", topic="orders")
    @dataclass
    class Parent:
        name: str

    class Child(Parent):
        pass

    with pytest.raises(DeclarationError, match="Child is not an event"):
        event_type(Child)


def test_event_without_type_is_told_what_to_write() -> None:
    with pytest.raises(DeclarationError, match=r'Untyped has no type. Write class Untyped\(Event, type="'):

        class Untyped(Event, topic="orders"):
            pass


def test_event_without_topic_is_told_what_to_write() -> None:
    with pytest.raises(DeclarationError, match=r"Lost has no topic. Write class Lost\(Event, type='a', topic=\""):

        class Lost(Event, type="a"):
            pass


def test_abstract_event_with_a_type_is_refused() -> None:
    with pytest.raises(DeclarationError, match="Both is abstract and has a type"):

        class Both(Event, type="a", topic="t", abstract=True):
            pass


@pytest.mark.parametrize("name", ["", "a b", "a" * 201, "é", "a\n", 5])
def test_type_that_is_no_wire_name_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match="Bad has type="):

        class Bad(Event, type=name, topic="t"):
            pass


@pytest.mark.parametrize("topic", ["", "a/b", "a" * 201, "t\n", None])
def test_topic_that_is_no_topic_name_is_refused(topic: str) -> None:
    with pytest.raises(DeclarationError, match="Bad has topic="):

        class Bad(Event, type="a", topic=topic):
            pass


@pytest.mark.parametrize("version", [0, -1, "2", 1.0, True, 1_000_001])
def test_version_that_is_no_whole_number_from_one_is_refused(version: int) -> None:
    with pytest.raises(DeclarationError, match="Bad has version="):

        class Bad(Event, type="a", topic="t", version=version):
            pass


def test_longest_names_are_accepted() -> None:
    class Long(Event, type="a" * 200, topic="t" * 200, version=1_000_000):
        pass

    assert event_type(Long).type == "a" * 200


def test_changeable_event_is_refused() -> None:
    with pytest.raises(DeclarationError, match="frozen=False"):

        class Changing(Event, type="a", topic="t", frozen=False):  # type: ignore[misc]
            pass


def test_event_known_by_the_place_of_its_fields_is_refused() -> None:
    with pytest.raises(DeclarationError, match="array_like=True"):

        class Listed(Event, type="a", topic="t", array_like=True):
            pass


def test_what_msgspec_refuses_is_said_as_a_declaration_error() -> None:
    with pytest.raises(DeclarationError, match="Twisted can't be an event: Required field 'b' cannot follow"):

        class Twisted(Event, type="a", topic="t"):
            a: int = 1
            b: int  # type: ignore[misc]


def test_unresolvable_name_in_a_field_is_told_when_the_type_is_asked_for() -> None:
    class Broken(Event, type="a", topic="t"):
        field: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match="names 'NoSuchName', which is not to be found in module"):
        event_type(Broken)


@pytest.mark.parametrize("thing", [int, "text", None, Line])
def test_what_is_no_event_is_told_how_to_become_one(thing: type) -> None:
    with pytest.raises(DeclarationError, match=r"is not an event\. Derive it from onward.Event"):
        event_type(thing)


def test_refused_declaration_leaves_nothing_in_the_registry() -> None:
    with pytest.raises(DeclarationError):

        class Wrong(Event, type="test.twice", topic="t", key="absent"):
            pass

    class Right(Event, type="test.twice", topic="t"):
        pass

    assert event_type(Right).type == "test.twice"
