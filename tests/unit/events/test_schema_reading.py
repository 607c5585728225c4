"""Whether a reader can read what a writer writes, by JSON Schemas."""

from itertools import count
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onward.events.schema_reading import unreadable

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
NULL = {"type": "null"}


def thing(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


def obstacles(reader: Any, writer: Any) -> list[str]:
    return [f"{path}: {sentence}" for path, sentence in unreadable(reader=reader, writer=writer)]


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (STRING, STRING),
        (NUMBER, INTEGER),
        ({}, STRING),
        (True, thing(a=STRING)),
        (STRING, False),
        ({"type": ["string", "null"]}, STRING),
        ({"anyOf": [STRING, NULL]}, {"type": ["null", "string"]}),
        ({"oneOf": [STRING, {"anyOf": [INTEGER, NULL]}]}, {"anyOf": [NULL, INTEGER]}),
        ({"allOf": [STRING]}, STRING),
        ({"allOf": [STRING, {"minLength": 1}]}, {"allOf": [STRING, {"minLength": 1}]}),
        ({"enum": ["a", "b", 1, None, True, 1.5]}, {"enum": [1.5, "b", 1, None, True]}),
        (STRING, {"const": "a"}),
        (thing(a=STRING), thing(a=STRING, more=INTEGER)),
        (thing([], a=STRING), thing()),
        (thing([], a=STRING, b=STRING), thing([], b=STRING)),
        ({"type": "array", "items": NUMBER}, {"type": "array", "items": INTEGER}),
        ({"type": "array"}, {"type": "array", "items": INTEGER}),
        ({"type": "array", "items": STRING}, {"type": "array", "prefixItems": [STRING, STRING], "items": False}),
        ({"type": "object", "additionalProperties": NUMBER}, {"type": "object", "additionalProperties": INTEGER}),
        ({"type": "object", "additionalProperties": STRING}, thing(a=STRING)),
        ({"type": "object", "additionalProperties": False}, thing()),
        ({"type": "object"}, {"type": "object"}),
        ({"properties": {"a": STRING}}, thing(a=STRING)),
        (thing(a=STRING), {**thing(a=STRING), "additionalProperties": False}),
        (thing(a=STRING), {**thing(a=STRING), "additionalProperties": NULL}),
    ],
)
def test_what_the_reader_takes_is_no_obstacle(reader: Any, writer: Any) -> None:
    assert obstacles(reader, writer) == []


@pytest.mark.parametrize(
    ("reader", "writer", "expected"),
    [
        (STRING, INTEGER, ["$: integer is written where string is read"]),
        (INTEGER, NUMBER, ["$: number is written where integer is read"]),
        (STRING, {}, ["$: anything is written where string is read"]),
        (False, STRING, ["$: string is written where nothing is read"]),
        (STRING, {"type": ["string", "null"]}, ["$: null is written where string is read"]),
        ({"anyOf": [STRING, NULL]}, INTEGER, ["$: integer is written where string or null is read"]),
        (
            {"enum": ["a", "b"]},
            {"enum": ["a", "c"]},
            ["$: the value 'c' is written and is not among those that are read"],
        ),
        ({"enum": ["a"]}, STRING, ["$: any string is written where only certain values are read"]),
        ({"enum": [1]}, {"enum": [True]}, ["$: boolean is written where integer is read"]),
        (
            thing(a=STRING, b=STRING),
            thing(a=STRING),
            ["$.b: the field is required to read and not always written"],
        ),
        (
            thing(a=STRING),
            thing([], a=STRING),
            ["$.a: the field is required to read and not always written"],
        ),
        (thing(a=thing(b=STRING)), thing(a=thing(b=NULL)), ["$.a.b: null is written where string is read"]),
        (
            {**thing(a=STRING), "additionalProperties": False},
            thing(a=STRING, b=NULL),
            ["$.b: the field is written and the reader forbids fields it does not know"],
        ),
        (
            {"type": "object", "additionalProperties": STRING},
            thing(a=NULL),
            ["$.a: null is written where string is read"],
        ),
        (
            {"type": "object", "additionalProperties": STRING},
            {"type": "object", "additionalProperties": NULL},
            ["$" + "{}: null is written where string is read"],
        ),
        (
            {"type": "object", "additionalProperties": STRING},
            {"type": "object"},
            ["$" + "{}: anything is written where string is read"],
        ),
        (
            thing([], a=STRING),
            {"type": "object", "additionalProperties": NULL},
            ["$.a: null is written where string is read"],
        ),
        (
            {"type": "array", "items": STRING},
            {"type": "array", "items": NULL},
            ["$[]: null is written where string is read"],
        ),
        (
            {"type": "array", "prefixItems": [STRING, INTEGER]},
            {"type": "array", "prefixItems": [STRING, NULL]},
            ["$[1]: null is written where integer is read"],
        ),
        (
            {"type": "array", "prefixItems": [STRING, INTEGER]},
            {"type": "array", "items": STRING},
            ["$[1]: string is written where integer is read"],
        ),
        (
            {"type": "array", "items": STRING},
            {"type": "array", "prefixItems": [NULL], "items": False},
            ["$[0]: null is written where string is read"],
        ),
    ],
)
def test_what_the_reader_refuses_is_named_by_its_place(reader: Any, writer: Any, expected: list[str]) -> None:
    assert obstacles(reader, writer) == expected


def test_tagged_alternative_is_compared_with_the_one_of_its_tag() -> None:
    reader = {"anyOf": [thing(kind={"enum": ["a"]}, x=STRING), thing(kind={"enum": ["b"]}, y=STRING)]}
    writer = {"anyOf": [thing(kind={"enum": ["b"]}, y=NULL), thing(kind={"enum": ["a"]}, x=STRING)]}
    assert obstacles(reader, writer) == ["$.y: null is written where string is read"]


def test_references_are_followed_in_their_own_document() -> None:
    reader = {"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": thing(a=STRING)}}
    writer = {"$ref": "#/$defs/Other", "$defs": {"Other": thing(a=NULL)}}
    assert obstacles(reader, writer) == ["$.a: null is written where string is read"]


def tree(leaf: Any, children: Any) -> dict[str, Any]:
    return {"$ref": "#/$defs/Tree", "$defs": {"Tree": thing(leaf=leaf, children=children)}}


@pytest.mark.parametrize(
    "children",
    [
        {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        {"type": ["array", "null"], "items": {"$ref": "#/$defs/Tree"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/Tree"}},
        {"anyOf": [{"$ref": "#/$defs/Tree"}, NULL]},
    ],
)
def test_recursive_types_are_compared_once(children: Any) -> None:
    assert obstacles(tree(STRING, children), tree(STRING, children)) == []
    assert obstacles(tree(STRING, children), tree(NULL, children)) == ["$.leaf: null is written where string is read"]


def test_recursive_list_of_nothing_but_itself_comes_to_an_end() -> None:
    schema = {"$ref": "#/$defs/L", "$defs": {"L": {"type": ["array", "null"], "items": {"$ref": "#/$defs/L"}}}}
    assert obstacles(schema, schema) == []


def test_reference_that_leads_only_to_itself_is_an_error() -> None:
    endless = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}
    with pytest.raises(ValueError, match="refers to itself without end"):
        obstacles(endless, STRING)


class Pair(NamedTuple):
    """A reader's type, a writer's, and the values that the writer may write."""

    reader: Any
    writer: Any
    values: st.SearchStrategy[Any]


INTEGERS, NUMBERS, TEXTS = st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=2)
number = count()


def struct(fields: list[tuple[str, Any]]) -> Any:
    return msgspec.defstruct(f"S{next(number)}", fields)


@st.composite
def structs(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    fields = {f"f{place}": pair for place, pair in enumerate(draw(st.lists(inner, min_size=1, max_size=3)))}
    unread = draw(st.sets(st.sampled_from(sorted(fields)), max_size=1))
    reader = [(name, pair.reader) for name, pair in fields.items() if name not in unread]
    return Pair(
        struct(reader + draw(st.sampled_from([[], [("new", str | None, None)], [("needed", str)]]))),
        struct([(name, pair.writer) for name, pair in fields.items()]),
        st.fixed_dictionaries({name: pair.values for name, pair in fields.items()}),
    )


def optional(one: Any) -> Any:
    return one if one is None else one | None


def list_of(one: Any) -> Any:
    return list[one]


def dict_of(one: Any) -> Any:
    return dict[str, one]


PAIRS = st.recursive(
    st.sampled_from(
        [
            Pair(str, str, TEXTS),
            Pair(int, int, INTEGERS),
            Pair(float, int, INTEGERS),
            Pair(float, float, NUMBERS),
            Pair(int, float, NUMBERS),
            Pair(bool, bool, st.booleans()),
            Pair(None, None, st.none()),
            Pair(str, int, INTEGERS),
            Pair(None, str, TEXTS),
        ]
    ),
    lambda inner: (
        inner.map(lambda pair: Pair(list_of(pair.reader), list_of(pair.writer), st.lists(pair.values, max_size=3)))
        | inner.map(
            lambda pair: Pair(
                dict_of(pair.reader), dict_of(pair.writer), st.dictionaries(TEXTS, pair.values, max_size=3)
            )
        )
        | inner.map(lambda pair: Pair(optional(pair.reader), pair.writer, pair.values))
        | inner.map(lambda pair: Pair(pair.reader, optional(pair.writer), pair.values | st.none()))
        | inner.map(lambda pair: Pair(optional(pair.reader), optional(pair.writer), pair.values | st.none()))
        | structs(inner)
    ),
    max_leaves=6,
)


def can_read(reader: Any, written: bytes) -> bool:
    try:
        msgspec.json.decode(written, type=reader)
    except msgspec.ValidationError:
        return False
    return True


@given(st.data(), PAIRS)
def test_where_no_obstacle_is_found_the_reader_reads_what_the_writer_writes(data: st.DataObject, pair: Pair) -> None:
    assume(not unreadable(reader=msgspec.json.schema(pair.reader), writer=msgspec.json.schema(pair.writer)))
    written = msgspec.json.encode(msgspec.convert(data.draw(pair.values), pair.writer))
    assert can_read(pair.reader, written), written


@given(PAIRS)
def test_every_type_reads_what_it_writes_itself(pair: Pair) -> None:
    schema = msgspec.json.schema(pair.writer)
    assert unreadable(reader=schema, writer=schema) == []
