"""Bounds and formats: what a reader of the same kind refuses of single values."""

from typing import Any

import pytest

from onward.events.schema_values import kind_of, takes, value_obstacles


def number(**bounds: Any) -> dict[str, Any]:
    return {"type": "number", **bounds}


def integer(**bounds: Any) -> dict[str, Any]:
    return {"type": "integer", **bounds}


def string(**bounds: Any) -> dict[str, Any]:
    return {"type": "string", **bounds}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "array"}, "array"),
        ({}, "anything"),
        ({"properties": {}}, "object"),
        ({"const": None}, "null"),
        ({"const": True}, "boolean"),
        ({"const": 1}, "integer"),
        ({"const": 1.5}, "number"),
        ({"const": "a"}, "string"),
    ],
)
def test_kind_is_that_of_the_type_or_of_the_fixed_value(schema: dict[str, Any], kind: str) -> None:
    assert kind_of(schema) == kind


def test_a_number_takes_an_integer_and_anything_takes_all() -> None:
    assert takes("number", "integer")
    assert takes("anything", "object")
    assert takes("string", "string")
    assert not takes("integer", "number")
    assert not takes("string", "anything")


@pytest.mark.parametrize(
    ("reader", "written"),
    [
        (number(), number(minimum=1)),
        (number(minimum=1), number(minimum=1)),
        (number(minimum=1), number(exclusiveMinimum=1)),
        (number(exclusiveMinimum=0), number(minimum=0.5)),
        (integer(minimum=1), integer(exclusiveMinimum=0)),
        (integer(exclusiveMinimum=0), integer(minimum=1)),
        (integer(exclusiveMaximum=10), integer(maximum=9)),
        (number(maximum=9), number(exclusiveMaximum=9)),
        (number(minimum=1, maximum=9), {"const": 5}),
        (number(exclusiveMinimum=1), {"const": 1.5}),
        (string(minLength=1, maxLength=3), string(minLength=2, maxLength=3)),
        (string(minLength=1, maxLength=3), {"const": "abc"}),
        ({"type": "array", "maxItems": 3}, {"type": "array", "maxItems": 2}),
        (string(pattern="a+"), string(pattern="a+")),
        (string(), string(format="uuid", pattern="x", contentEncoding="base64")),
        (string(format="uuid"), string(format="uuid")),
        (number(format="decimal"), number()),
        ({"type": "boolean"}, {"const": True}),
        ({"type": "null"}, {"const": None}),
        ({"const": "a"}, {"const": "a"}),
    ],
)
def test_value_within_the_readers_bounds_is_no_obstacle(reader: dict[str, Any], written: dict[str, Any]) -> None:
    assert list(value_obstacles(reader, written)) == []


@pytest.mark.parametrize(
    ("reader", "written", "sentence"),
    [
        (number(minimum=1), number(), "values are written that are below the least one read, 1"),
        (number(exclusiveMinimum=1), number(minimum=1), "values are written that are below the least one read, 1"),
        (integer(minimum=5), {"const": 4}, "values are written that are below the least one read, 5"),
        (number(maximum=9), number(maximum=10), "values are written that are above the most that is read, 9"),
        (number(exclusiveMaximum=9), number(maximum=9), "values are written that are above the most that is read, 9"),
        (string(minLength=2), string(), "minLength 2 is required to read, and less is written"),
        (string(maxLength=2), string(), "maxLength 2 is required to read, and more is written"),
        (string(maxLength=2), {"const": "abc"}, "maxLength 2 is required to read, and more is written"),
        ({"type": "array", "minItems": 1}, {"type": "array"}, "minItems 1 is required to read, and less is written"),
        (string(pattern="a"), string(pattern="b"), "pattern 'a' is required to read, and other values are written"),
        (number(multipleOf=2), number(), "multipleOf 2 is required to read, and other values are written"),
        (string(format="uuid"), string(), "format 'uuid' is required to read, and other values are written"),
        (string(format="uuid"), {"const": "a"}, "format 'uuid' is required to read, and other values are written"),
        (
            string(contentEncoding="base64"),
            string(),
            "contentEncoding 'base64' is required to read, and other values are written",
        ),
        ({"const": "a"}, string(), "any string is written where only certain values are read"),
        ({"const": "a"}, {"const": "b"}, "the value 'b' is written and is not among those that are read"),
    ],
)
def test_value_beyond_the_readers_bounds_is_named(
    reader: dict[str, Any], written: dict[str, Any], sentence: str
) -> None:
    assert list(value_obstacles(reader, written)) == [sentence]
