"""What a JSON Schema of one kind says of single values: the kind, the fixed value, the bounds, the format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_ANY = "anything"
_SIZES = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))
_EXACT = ("pattern", "multipleOf", "contentEncoding")


def kind_of(schema: Schema) -> str:
    """The JSON kind of a schema without alternatives: "integer", "object", …, or "anything"."""
    if "const" not in schema:
        kind = schema.get("type", _ANY)
        return "object" if kind == _ANY and "properties" in schema else str(kind)
    match schema["const"]:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case _:
            return "number"


def takes(reader_kind: str, written_kind: str) -> bool:
    """Whether a value of the written kind can be one of the reader's kind; an integer is a number."""
    return reader_kind in (_ANY, written_kind) or (reader_kind, written_kind) == ("number", "integer")


def value_obstacles(reader: Schema, written: Schema) -> Iterator[str]:
    """A sentence for each way in which a `reader` of the same kind refuses values of `written`."""
    if "const" in reader:
        if "const" not in written:
            yield f"any {kind_of(written)} is written where only certain values are read"
        elif reader["const"] != written["const"]:
            yield f"the value {written['const']!r} is written and is not among those that are read"
        return
    written = _bounded_by_value(written)
    if _least(written) < _least(reader):
        yield f"values are written that are below the least one read, {_least(reader)[0]}"
    if _most(written) > _most(reader):
        yield f"values are written that are above the most that is read, {_most(reader)[0]}"
    for least, most in _SIZES:
        if written.get(least, 0) < reader.get(least, 0):
            yield f"{least} {reader[least]} is required to read, and less is written"
        if most in reader and written.get(most, float("inf")) > reader[most]:
            yield f"{most} {reader[most]} is required to read, and more is written"
    for keyword in _exact_keywords(reader):
        if reader[keyword] != written.get(keyword):
            yield f"{keyword} {reader[keyword]!r} is required to read, and other values are written"


def _exact_keywords(reader: Schema) -> Iterator[str]:
    """A number's format says nothing about what can be read: Decimal reads what float writes."""
    yield from (keyword for keyword in _EXACT if keyword in reader)
    if "format" in reader and kind_of(reader) == "string":
        yield "format"


def _bounded_by_value(written: Schema) -> Schema:
    match written.get("const"):
        case bool():
            return written
        case int() | float() as value:
            return {"type": kind_of(written), "minimum": value, "maximum": value}
        case str() as value:
            return {"type": "string", "minLength": len(value), "maxLength": len(value)}
        case _:
            return written


def _least(schema: Schema) -> tuple[float, int]:
    """The lower bound in an order of its own: (5, 1) lies above (5, 0), because 5 itself is out."""
    inclusive = (schema.get("minimum", float("-inf")), 0)
    exclusive = schema.get("exclusiveMinimum", float("-inf"))
    step = (exclusive + 1, 0) if kind_of(schema) == "integer" else (exclusive, 1)
    return max(inclusive, step) if "exclusiveMinimum" in schema else inclusive


def _most(schema: Schema) -> tuple[float, int]:
    inclusive = (schema.get("maximum", float("inf")), 0)
    exclusive = schema.get("exclusiveMaximum", float("inf"))
    step = (exclusive - 1, 0) if kind_of(schema) == "integer" else (exclusive, -1)
    return min(inclusive, step) if "exclusiveMaximum" in schema else inclusive
