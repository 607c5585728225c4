"""Bytes to event and back, for msgspec Structs, dataclasses and Pydantic models; chosen once per class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as fields_of

from onward.errors import DeclarationError
from onward.events.pydantic_codec import is_pydantic, pydantic_decode, pydantic_encode

# A Decimal goes as a JSON number with all its digits: what other people's clients send and expect.
_encoder = msgspec.json.Encoder(decimal_format="number")


class Codec(NamedTuple):
    """How one class is written and read. Both raise the errors of the library underneath."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def codec_for(cls: type) -> Codec:
    """The fastest codec there is for `cls`.

    DeclarationError if the class can't be carried as JSON; NameError if a field's type is not defined yet.
    """
    if is_pydantic(cls):
        return Codec(pydantic_encode(cls), pydantic_decode(cls))
    if not (issubclass(cls, msgspec.Struct) or dataclasses.is_dataclass(cls)):
        raise DeclarationError(
            f"{cls.__qualname__} is neither an onward.Event, a dataclass nor a Pydantic model. "
            f"Derive it from onward.Event, or write @onward.event(…) above @dataclass."
        )
    try:
        decode = msgspec.json.Decoder(cls).decode
        _check_fields(cls)
    except TypeError as error:
        raise DeclarationError(f"{cls.__qualname__} can't be read from JSON: {error}.") from error
    return Codec(_encoder.encode, decode)


def _check_fields(cls: type) -> None:
    """Refuse what the decoder takes silently and then fails on at every message."""
    for path, found in _types_within(fields_of.type_info(cls), "", set()):
        if isinstance(found, fields_of.CustomType):
            raise DeclarationError(
                f"{cls.__qualname__} has the field {path} of type {found.cls.__qualname__}, which JSON "
                f"can't carry. Use str, int, float, bool, Decimal, datetime, date, UUID, bytes, an Enum, a "
                f"list, tuple, dict or set of these, a Struct or a dataclass."
            )
        if isinstance(found, fields_of.DictType) and _is_decimal(found.key_type):
            raise DeclarationError(
                f"{cls.__qualname__} has the field {path}, a dict with Decimal keys. JSON keys are text: use str."
            )


def _is_decimal(found: fields_of.Type) -> bool:
    return any(isinstance(part, fields_of.DecimalType) for _, part in _types_within(found, "", set()))


def _types_within(found: fields_of.Type, path: str, seen: set[int]) -> Iterator[tuple[str, fields_of.Type]]:
    if id(found) in seen:
        return
    seen.add(id(found))
    yield path, found
    for value in msgspec.structs.astuple(found):
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, fields_of.Field):
                yield from _types_within(item.type, f"{path}.{item.name}" if path else item.name, seen)
            elif isinstance(item, fields_of.Type):
                yield from _types_within(item, path, seen)
