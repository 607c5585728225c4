"""The JSON Schema of an event, as other programs see its bytes, and the snapshot a user keeps of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as fields_of

from onward.events.event_types import event_type
from onward.events.pydantic_codec import is_pydantic

Schema = dict[str, Any]


def json_schema(cls: type) -> Schema:
    """The JSON Schema (2020-12) of what `cls` reads. A Decimal is a number with format "decimal"."""
    event_type(cls)
    if is_pydantic(cls):
        adapter = sys.modules["pydantic"].TypeAdapter(cls)
        schema: Schema = adapter.json_schema(by_alias=True, mode="validation")
        return schema
    schema = msgspec.json.schema(cls)
    _say_formats(fields_of.type_info(cls), schema, schema.get("$defs", {}), set())
    return schema


def snapshot(cls: type) -> Schema:
    """What to keep in a file beside the code, so that `assert_compatible` can compare later code with it."""
    found = event_type(cls)
    return {"type": found.type, "version": found.version, "schema": json_schema(cls)}


def _say_formats(found: fields_of.Type, schema: Schema, definitions: Schema, seen: set[int]) -> None:
    """Write into `schema` what msgspec leaves out: a datetime is no other text, a Decimal is a number."""
    while isinstance(found, fields_of.Metadata):
        found = found.type
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if id(schema) in seen:
        return
    seen.add(id(schema))
    match found:
        case fields_of.DateTimeType():
            schema["format"] = "date-time"
        case fields_of.TimeType():
            schema["format"] = "time"
        case fields_of.DecimalType():
            schema["type"] = "number"
    for part, within in _parts(found, schema):
        _say_formats(part, within, definitions, seen)


def _parts(found: fields_of.Type, schema: Schema) -> Iterator[tuple[fields_of.Type, Schema]]:
    """The types one level inside `found`, each with its place in `schema`."""
    match found:
        case fields_of.StructType() | fields_of.DataclassType() | fields_of.TypedDictType():
            places = schema["properties"]
            yield from ((field.type, places[field.encode_name]) for field in found.fields)
        case fields_of.NamedTupleType():
            yield from zip((field.type for field in found.fields), schema["prefixItems"], strict=True)
        case fields_of.TupleType():
            yield from zip(found.item_types, schema.get("prefixItems", ()), strict=True)
        case fields_of.CollectionType() if "items" in schema:
            yield found.item_type, schema["items"]
        case fields_of.DictType() if "additionalProperties" in schema:
            yield found.value_type, schema["additionalProperties"]
        case fields_of.UnionType():
            yield from zip(sorted(found.types, key=_place_in_union), _alternatives(schema), strict=True)


def _place_in_union(found: fields_of.Type) -> int:
    """msgspec writes a union's Structs after its other types, and null last."""
    while isinstance(found, fields_of.Metadata):
        found = found.type
    if isinstance(found, fields_of.StructType) and not found.array_like:
        return 1
    return 2 if isinstance(found, fields_of.NoneType) else 0


def _alternatives(schema: Schema) -> Iterator[Schema]:
    for alternative in schema["anyOf"]:
        yield from _alternatives(alternative) if "anyOf" in alternative else (alternative,)
