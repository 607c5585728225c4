"""Pydantic models as events. Pydantic is not imported: a model carries its serializer and validator."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="number")


def is_pydantic(cls: type) -> bool:
    """Whether `cls` is a Pydantic v2 model or a Pydantic dataclass."""
    return hasattr(cls, "__pydantic_validator__")


def pydantic_decode(cls: Any) -> Callable[[bytes], Any]:
    """The model's own validator, bound. Raises NameError while a field's type is not defined."""
    _complete(cls)
    decode: Callable[[bytes], Any] = cls.__pydantic_validator__.validate_json
    return decode


def pydantic_encode(cls: Any) -> Callable[[Any], bytes]:
    """Writes what `model_dump_json(by_alias=True)` does, but a Decimal as a number where that is exact.

    Pydantic reads a JSON number by way of a float, so a Decimal that a float can't hold stays text, as
    Pydantic writes it: the value read is always the value written.
    """
    _complete(cls)
    serializer = cls.__pydantic_serializer__
    to_json, to_python = serializer.to_json, serializer.to_python
    if not _mentions_decimal(cls.__pydantic_core_schema__):

        def encode(event: Any) -> bytes:
            written: bytes = to_json(event, by_alias=True)
            return written

        return encode

    def encode_numbers(event: Any) -> bytes:
        written = to_python(event, mode="json", by_alias=True)
        return _encoder.encode(_with_numbers(written, to_python(event, by_alias=True)))

    return encode_numbers


def _complete(cls: Any) -> None:
    if not getattr(cls, "__pydantic_complete__", True):
        cls.model_rebuild()


def _mentions_decimal(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("type") == "decimal" or any(map(_mentions_decimal, schema.values()))
    if isinstance(schema, (list, tuple)):
        return any(map(_mentions_decimal, schema))
    return False


def _with_numbers(written: Any, value: Any) -> Any:
    """`written` (JSON types) with each text that stands for a Decimal in `value` as that Decimal."""
    if isinstance(value, Decimal) and isinstance(written, str):
        return value if value.is_finite() and Decimal(repr(float(value))) == value else written
    if isinstance(written, dict) and isinstance(value, dict) and len(written) == len(value):
        pairs = zip(written.items(), value.values(), strict=True)
        return {name: _with_numbers(item, original) for (name, item), original in pairs}
    if isinstance(written, list) and isinstance(value, (list, tuple)) and len(written) == len(value):
        return [_with_numbers(item, original) for item, original in zip(written, value, strict=True)]
    return written
