"""Whether what was written can be read: an event that can't would be a dead letter for everybody who handles it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from typing import Any

from msgspec import inspect as fields_of

from onward.events.pydantic_codec import is_pydantic

_PLAIN: tuple[tuple[fields_of.Type, str], ...] = (
    (fields_of.StrType(), "type(event.{0}) is str"),
    (fields_of.IntType(), "type(event.{0}) is int"),
    (fields_of.BoolType(), "type(event.{0}) is bool"),
    (fields_of.FloatType(), "type(event.{0}) is float and isfinite(event.{0})"),
    (fields_of.DecimalType(), "type(event.{0}) is Decimal and event.{0}.is_finite()"),
)
"""Types without constraints, and what must hold for a value of one that was written to be read back."""


def check_for(cls: Any, decode: Callable[[bytes], Any]) -> Callable[[Any, bytes], object]:
    """A function of an event and the JSON written for it, which raises what `decode` would raise.

    Reading it back is the proof. Where all fields are plain, one expression made for the class, as dataclasses make
    their methods, says the same in a third of the time; what it does not hold for is read back.
    """

    def read_back(_event: Any, written: bytes) -> object:
        return decode(written)

    if is_pydantic(cls):
        return read_back
    info: Any = fields_of.type_info(cls)
    tests = [test.format(field.name) for field in info.fields for plain, test in _PLAIN if field.type == plain]
    if not tests or len(tests) < len(info.fields):
        return read_back
    source = f"lambda event, written: ({' and '.join(tests)}) or decode(written)"
    names = {"decode": decode, "isfinite": isfinite, "Decimal": Decimal}
    look: Callable[[Any, bytes], object] = eval(source, names)  # noqa: S307 - of the class's own field names alone
    return look
