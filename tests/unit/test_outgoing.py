"""What publishing takes can be read by whoever handles it; what can't is refused where it was made."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as any_
from msgspec import Meta
from pydantic import BaseModel

from onward.errors import DeclarationError, EncodeError
from onward.events import Event, event, event_type
from onward.outgoing import MAX_EVENT_BYTES, encode, encode_all, encode_returned, put_off
from onward.ports import Alike, Outgoing
from onward.telemetry import stamp


class Plain(Event, type="test.out.plain", topic="out", key="name"):
    name: str
    count: int = 0
    done: bool = False
    share: float = 0.0
    total: Decimal = Decimal(0)


class Nested(Event, type="test.out.nested", topic="out"):
    names: list[str]
    at: datetime | None = None
    small: Annotated[int, Meta(le=10)] = 0


@event(type="test.out.dataclass", topic="out")
@dataclass(frozen=True)
class Placed:
    total: Decimal


@event(type="test.out.model", topic="out")
class Model(BaseModel):
    total: int


def wrong(value: object) -> Any:
    """As a program without a type checker has it."""
    return value


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: Plain(name="a", count=wrong("1")), "$.count"),
        (lambda: Plain(name="a", count=wrong(True)), "$.count"),
        (lambda: Plain(name="a", done=wrong(1)), "$.done"),
        (lambda: Plain(name="a", total=Decimal("NaN")), "$"),
        (lambda: Plain(name="a", total=Decimal("-Infinity")), "$"),
        (lambda: Plain(name="a", share=float("inf")), "$.share"),
        (lambda: Plain(name="a", share=wrong("0.5")), "$.share"),
        (lambda: Plain(name=wrong(7)), "$.name"),
        (lambda: Nested(names=["a", wrong(None)]), "$.names[1]"),
        (lambda: Nested(names=[], small=11), "$.small"),
        (lambda: Nested(names=[], at=wrong("today")), "$.at"),
        (lambda: Placed(total=Decimal("NaN")), "$"),
        (lambda: Model.model_construct(total=wrong("many")), "$.total"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_an_event_that_nobody_could_read_is_refused_with_its_field(make: Callable[[], object], path: str) -> None:
    with pytest.raises(EncodeError, match="Nothing was published") as caught:
        encode(make())
    assert caught.value.fields["path"] == path


texts = any_.text(any_.characters(exclude_categories=["Cs"]), max_size=20)
times = any_.none() | any_.datetimes(timezones=any_.just(UTC))
plains: any_.SearchStrategy[object] = any_.builds(
    Plain,
    name=texts,
    count=any_.integers(-(2**63), 2**63 - 1),
    done=any_.booleans(),
    share=any_.floats(allow_nan=False, allow_infinity=False),
    total=any_.decimals(allow_nan=False, allow_infinity=False),
)
nested: any_.SearchStrategy[object] = any_.builds(
    Nested, names=any_.lists(texts, max_size=3), at=times, small=any_.integers(-5, 10)
)


@given(any_.lists(plains, max_size=5) | any_.lists(plains | nested, max_size=5))
def test_many_go_out_as_each_would_alone(made: list[object]) -> None:
    assert list(encode_all(made)) == list(map(encode, made))


@given(any_.lists(plains, min_size=2, max_size=5), any_.slices(5))
def test_events_by_columns_are_those_that_were_made_one_by_one(made: list[object], part: slice) -> None:
    found, alone = encode_all(made), list(map(encode, made))
    assert isinstance(found, Alike)
    assert list(found) == alone
    assert [found[place] for place in range(-len(found), len(found))] == [*alone, *alone]
    assert found[part] == alone[part]
    with pytest.raises(IndexError):
        found[len(alone)]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (Plain(name="a"), Plain(name=wrong(7))),
        (Plain(name="a"), Plain(name="x" * 600)),
        (Plain(name="a"), Plain(name="a", share=float("nan"))),
        (Nested(names=[]), Nested(names=["x" * (1 << 20)])),
        (Nested(names=[]), Plain(name="a", total=Decimal("NaN"))),
    ],
    ids=["type", "key", "nan", "size", "mixed"],
)
def test_the_one_of_many_that_is_refused_is_named(good: object, bad: object, index: int) -> None:
    many = [good, good, good]
    many[index] = bad
    with pytest.raises(EncodeError) as alone:
        encode(bad)
    with pytest.raises(EncodeError) as among_others:
        encode_all(many)
    assert str(among_others.value) == str(alone.value)


@given(plains | nested | any_.builds(Placed, total=any_.decimals(allow_nan=False, allow_infinity=False)))
def test_whatever_is_taken_reads_back_equal(made: object) -> None:
    value = encode(made).value
    assert value is not None
    assert event_type(type(made)).decode(value) == made


@pytest.mark.parametrize("many", [False, True], ids=["alone", "among others"])
def test_an_event_of_more_than_1_mib_is_refused_with_its_size(many: bool) -> None:
    big = Plain(name="x" * MAX_EVENT_BYTES)
    with pytest.raises(EncodeError, match=r"'test\.out\.plain' is 1,048,\d{3} bytes as JSON and may be 1,048,576"):
        encode_all([Plain(name="small"), big]) if many else encode(big)


@pytest.mark.parametrize(
    ("returned", "names"),
    [
        (None, []),
        (Plain(name="a"), ["a"]),
        ([Plain(name="a"), None, Plain(name="b")], ["a", "b"]),
        ((Plain(name="a"),), ["a"]),
        ([], []),
    ],
)
def test_what_a_handler_returns_goes_out_in_its_order(returned: object, names: list[str]) -> None:
    outputs: list[Outgoing] = []
    encode_returned(returned, outputs)
    assert [each.key for each in outputs] == names


def test_an_event_returned_first_of_its_type_goes_out_as_any_other() -> None:
    @event(type="test.out.first", topic="out")
    @dataclass(frozen=True)
    class First:
        n: int

    outputs: list[Outgoing] = []
    encode_returned(First(n=1), outputs)
    encode_returned(First(n=2), outputs)
    assert [each.value for each in outputs] == [b'{"n":1}', b'{"n":2}']


def test_what_is_put_off_is_due_then_and_otherwise_the_same() -> None:
    made = encode_all([Plain(name="a"), Plain(name="b")])
    assert put_off(made, None) == made
    assert put_off(made, 5) == [each._replace(due=5) for each in made]


def test_what_goes_out_is_marked_unless_its_publisher_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamp, "extensions", lambda: b'{"mark":"1"}')
    made = [Plain(name="a"), Plain(name="b")]
    assert [each.extra for each in (encode(made[0]), *encode_all(made))] == [b'{"mark":"1"}'] * 3
    assert encode(made[0], b'{"tenant":"a"}').extra == b'{"tenant":"a"}'


@pytest.mark.parametrize("returned", [7, "text", [Plain(name="a"), 7]])
def test_a_handler_that_returned_no_event_is_told_what_it_may_return(returned: object) -> None:
    with pytest.raises(DeclarationError, match="It may return an event, a list of events, or None"):
        encode_returned(returned, [])
