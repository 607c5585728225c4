"""The key of an event: the field whose value keeps events in order, as text."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from msgspec import inspect as fields_of

from onward.errors import DeclarationError, EncodeError
from onward.events.pydantic_codec import is_pydantic

MAX_KEY_BYTES = 512
_SHORT_CHARS = MAX_KEY_BYTES // 4  # a character takes at most 4 bytes of UTF-8
_STABLE = (
    fields_of.StrType,
    fields_of.IntType,
    fields_of.UUIDType,
    fields_of.NoneType,
    fields_of.EnumType,
    fields_of.LiteralType,
)


def check_key(cls: type, key: str | None) -> None:
    """Refuse a key that names no field, or a field whose text is not one and the same for equal values."""
    if key is None:
        return
    types = _field_types(cls)
    if key not in types:
        names = ", ".join(types) or "no fields"
        raise DeclarationError(
            f"{cls.__qualname__} has key={key!r}, which names no field of it. It has: {names}. "
            f"Name one of them, or leave key out if its events need no order."
        )
    if not _is_stable(types[key], unknown_is_stable=is_pydantic(cls)):
        raise DeclarationError(
            f"{cls.__qualname__} has key={key!r}, a field whose type can't be a key. "
            f"A key is str, int, UUID or an Enum of these, or None for no key: equal keys must read the same."
        )


def key_reader(type_name: str, key: str | None) -> Callable[[Any], str | None]:
    """A function from event to key text: str as it is, int and UUID as str() has them, None for no key."""
    if key is None:
        return _no_key
    get = attrgetter(key)

    def key_of(event: Any) -> str | None:
        value = get(event)
        if type(value) is str and len(value) <= _SHORT_CHARS:
            return value
        return _text(type_name, key, value)

    return key_of


def _no_key(_event: Any) -> None:
    return None


def _text(type_name: str, key: str, value: object) -> str | None:
    if value is None:
        return None
    plain = value.value if isinstance(value, enum.Enum) else value
    if isinstance(plain, bool) or not isinstance(plain, (str, int, uuid.UUID)):
        raise EncodeError(
            f"A {type_name} has a {type(value).__name__} in its key field {key!r}. "
            f"A key is str, int, UUID or None; nothing was published.",
            type=type_name,
            key=key,
        )
    text = str(plain)
    key_bytes = len(text.encode("utf-8", "surrogatepass"))
    if key_bytes > MAX_KEY_BYTES:
        raise EncodeError(
            f"A {type_name} has a key of {key_bytes} bytes in its field {key!r}; {MAX_KEY_BYTES} is the "
            f"most. Use a short identifier as the key; nothing was published.",
            type=type_name,
            key=key,
        )
    return text


def _field_types(cls: Any) -> dict[str, Any]:
    """Python names of the fields of an event class, with their types as msgspec sees them or as annotated."""
    if is_pydantic(cls):
        fields = cls.__pydantic_fields__
        return {name: field.annotation for name, field in fields.items()}
    info: Any = fields_of.type_info(cls)
    return {field.name: field.type for field in info.fields}


def _is_stable(found: Any, *, unknown_is_stable: bool) -> bool:
    if not isinstance(found, fields_of.Type):
        try:
            found = fields_of.type_info(found)
        except TypeError:
            return unknown_is_stable
    if isinstance(found, fields_of.Metadata):
        return _is_stable(found.type, unknown_is_stable=unknown_is_stable)
    if isinstance(found, fields_of.UnionType):
        return all(_is_stable(part, unknown_is_stable=unknown_is_stable) for part in found.types)
    if isinstance(found, fields_of.CustomType):
        return unknown_is_stable
    return isinstance(found, _STABLE)
