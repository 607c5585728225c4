"""Can a reader with one JSON Schema read all that a writer with another may write? Pure, over plain dicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onward.events.schema_values import kind_of, takes, value_obstacles

Schema = dict[str, Any]
Obstacle = tuple[str, str]  # path and sentence

_MAX_DEPTH = 100
_BODIES = ("properties", "items", "prefixItems", "additionalProperties")


def unreadable(*, reader: Schema, writer: Schema) -> list[Obstacle]:
    """Each place where the writer's schema allows what the reader's refuses; empty if there is none.

    A reader passes over fields it does not know, unless its schema forbids them. A writer writes no others
    than its schema names. `$ref` within the same document, `anyOf`, `oneOf` and a single `allOf` are
    followed.
    """
    return list(_Reading(reader, writer, set()).obstacles("$", reader, writer))


@dataclass(frozen=True, slots=True)
class _Reading:
    reader_root: Schema
    writer_root: Schema
    under_way: set[tuple[int, int]]  # pairs of schemas being compared: a recursive type meets itself again

    def obstacles(self, path: str, reader: Any, writer: Any) -> Iterator[Obstacle]:
        accepted = list(_alternatives(self.reader_root, reader))
        for written in _alternatives(self.writer_root, writer):
            yield from self._best(path, accepted, written)

    def _best(self, path: str, accepted: list[Schema], written: Schema) -> list[Obstacle]:
        """The obstacles of the reader's alternative that comes closest to what is written."""
        kind = kind_of(written)
        candidates = [one for one in accepted if takes(kind_of(one), kind)]
        if not candidates:
            kinds = " or ".join(dict.fromkeys(map(kind_of, accepted))) or "nothing"
            return [(path, f"{kind} is written where {kinds} is read")]
        return min((self._pair(path, one, written) for one in candidates), key=len)

    def _pair(self, path: str, reader: Schema, written: Schema) -> list[Obstacle]:
        pair = (_identity(reader), _identity(written))
        if pair in self.under_way:
            return []
        self.under_way.add(pair)
        try:
            return [
                *((path, sentence) for sentence in value_obstacles(reader, written)),
                *self._items(path, reader, written),
                *self._fields(path, reader, written),
            ]
        finally:
            self.under_way.discard(pair)

    def _items(self, path: str, reader: Schema, written: Schema) -> Iterator[Obstacle]:
        if kind_of(reader) != "array":
            return
        read, wrote = reader.get("prefixItems", []), written.get("prefixItems", [])
        for index in range(max(len(read), len(wrote))):
            ours, theirs = _item(reader, index), _item(written, index)
            yield from self.obstacles(f"{path}[{index}]", ours, theirs)
        yield from self.obstacles(f"{path}[]", reader.get("items", True), written.get("items", True))

    def _fields(self, path: str, reader: Schema, written: Schema) -> Iterator[Obstacle]:
        if kind_of(reader) != "object":
            return
        read, wrote = reader.get("properties", {}), written.get("properties", {})
        always_written = written.get("required", [])
        for name in reader.get("required", []):
            if name not in always_written:
                yield f"{path}.{name}", "the field is required to read and not always written"
        other_read = reader.get("additionalProperties", True)
        for name, theirs in wrote.items():
            if name in read:
                yield from self.obstacles(f"{path}.{name}", read[name], theirs)
            elif other_read is False:
                yield f"{path}.{name}", "the field is written and the reader forbids fields it does not know"
            else:
                yield from self.obstacles(f"{path}.{name}", other_read, theirs)
        other_written = _values_of_map(written)
        if other_written is None:
            return
        for name, ours in read.items():
            if name not in wrote:
                yield from self.obstacles(f"{path}.{name}", ours, other_written)
        yield from self.obstacles(f"{path}{{}}", other_read, other_written)


def _alternatives(root: Schema, schema: Any, depth: int = 0) -> Iterator[Schema]:
    """A schema as a flat list of schemas of one kind each; `false` gives none, `true` one of any kind."""
    if isinstance(schema, bool):
        if schema:
            yield {}
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"a JSON Schema refers to itself without end near {schema!r:.100}")
    if "$ref" in schema:
        yield from _alternatives(root, _resolve(root, schema["$ref"]), depth + 1)
        return
    for keyword in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(keyword, ())
        if parts and (keyword != "allOf" or len(parts) == 1):
            for part in parts:
                yield from _alternatives(root, part, depth + 1)
            return
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        yield from ({"const": value} for value in values)
    elif isinstance(schema.get("type"), list):
        yield from ({**schema, "type": kind} for kind in schema["type"])
    else:
        yield schema


def _resolve(root: Schema, reference: str) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def _item(schema: Schema, index: int) -> Any:
    prefix = schema.get("prefixItems", [])
    return prefix[index] if index < len(prefix) else schema.get("items", True)


def _values_of_map(schema: Schema) -> Any:
    """What an object's values under any name are; None for an object of named fields alone."""
    values = schema.get("additionalProperties", True)
    if isinstance(values, dict):
        return values
    return None if "properties" in schema or values is False else {}


def _identity(schema: Schema) -> int:
    """The same for each appearance of one schema, though `_alternatives` may have copied its outside."""
    bodies = (schema[keyword] for keyword in _BODIES if isinstance(schema.get(keyword), (dict, list)))
    return id(next(bodies, schema))
