"""Old versions of an event read as the new one, by pure functions from version to version."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, get_type_hints

import msgspec

from onward.errors import DeclarationError, DecodeError, UnknownVersionError
from onward.events.event_types import Declaration, EventType, declaration_of, event_type
from onward.events.registry import EventRegistry, registry

_F = TypeVar("_F", bound=Callable[[Any], Any])


def _fraction(digits: str) -> Decimal:
    """A fraction is read as Decimal, so that money passes through a step to the last digit."""
    try:
        return Decimal(digits)
    except InvalidOperation as error:
        raise msgspec.DecodeError(f"Number out of range: {digits:.50}") from error


_read_fields = msgspec.json.Decoder(dict[str, Any], float_hook=_fraction).decode
_write_fields = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Upcaster:
    """One step up: a function from the fields of one version to those of a later one."""

    type: str
    from_version: int
    to_version: int
    function: Callable[[Any], Any]
    name: str  # module and qualified name, for messages
    old_class: builtins.type | None  # the event class that the function takes; None: it takes a dict


def upcast(cls: type, *, from_version: int, to_version: int | None = None) -> Callable[[_F], _F]:
    """Declare how a stored `from_version` becomes a later version of the event `cls`.

    The function takes and returns the JSON fields as a dict (fractions as Decimal); or, with its argument
    annotated as the old version's event class, takes that and returns the new event. It is called for each
    old message, so it does nothing but compute. `to_version` is that of `cls` if not said; steps chain, 1 to
    2 to 3.
    """
    declaration = declaration_of(cls)
    target = declaration.version if to_version is None else to_version
    if not 1 <= from_version < target <= declaration.version:
        raise DeclarationError(
            f"@upcast({cls.__qualname__}, from_version={from_version}) leads to version {target}, and "
            f"{cls.__qualname__} is version {declaration.version}. from_version is 1 or more and below "
            f"to_version, which is at most the version of the class."
        )

    def declared(function: _F) -> _F:
        registry().add_upcaster(
            Upcaster(
                type=declaration.type,
                from_version=from_version,
                to_version=target,
                function=function,
                name=f"{function.__module__}.{function.__qualname__}",
                old_class=_old_class(function, declaration, from_version),
            )
        )
        return function

    return declared


def decoder_for(known: EventRegistry, type: str, version: int, target_cls: type) -> Callable[[bytes], Any]:
    """The function that reads bytes of `type` in `version` as `target_cls`. Build it once, not per message.

    For the class's own version it is `EventType.decode` itself. For an older one it runs the steps up, and
    raises DecodeError where a step fails. UnknownVersionError if `version` is newer than the class;
    DecodeError if it is older and no steps lead up.
    """
    target = event_type(target_cls)
    if version == target.version:
        return target.decode
    if version > target.version:
        raise UnknownVersionError(
            f"A message is {type} version {version}; {target_cls.__qualname__} here is version "
            f"{target.version}. Deploy the consumers that know version {version} before its producers; "
            f"nothing is lost meanwhile.",
            type=type,
            version=version,
            known=target.version,
        )
    steps = list(_steps_up(known, type, version, target))

    def decode(value: bytes) -> Any:
        for step in steps:
            value = _step(step, value)
        return target.decode(value)

    return decode


def _steps_up(known: EventRegistry, type: str, version: int, target: EventType) -> Iterator[Upcaster]:
    while version < target.version:
        step = known.upcaster(type, version)
        if step is None or step.to_version > target.version:
            raise DecodeError(
                f"A message is {type} version {version}, and nothing says how to read it as version "
                f"{target.version}. Write a function under @onward.upcast({target.cls.__qualname__}, "
                f"from_version={version}), then retry the dead letter.",
                type=type,
                version=version,
            )
        yield step
        version = step.to_version


def _step(step: Upcaster, value: bytes) -> bytes:
    read = _read_fields if step.old_class is None else event_type(step.old_class).decode
    old = read(value)
    try:
        new = step.function(old)
        return _write_fields(new) if isinstance(new, dict) else event_type(type(new)).encode(new)
    except Exception as error:
        raise DecodeError(
            f"A {step.type} version {step.from_version} could not be read as version {step.to_version}: "
            f"{step.name} failed with {error!r}. Correct that function (it returns the new fields as a "
            f"dict, or the new event), then retry the dead letter.",
            type=step.type,
            version=step.from_version,
        ) from error


def _old_class(function: Callable[[Any], Any], new: Declaration, from_version: int) -> type | None:
    """The event class a step asks for by annotation, or None if it takes a dict."""
    name = function.__qualname__
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1 or inspect.iscoroutinefunction(function):
        raise DeclarationError(
            f"{name} can't be an upcaster. Write a plain function of one argument: the old fields as a "
            f"dict, or the old event."
        )
    try:
        annotation = get_type_hints(function).get(parameters[0].name)
    except NameError as error:
        raise DeclarationError(
            f"{name} has an annotation that names {error.name!r}, which is not to be found in module "
            f"{function.__module__}. Define or import that name at the top level of the module."
        ) from error
    try:
        old = declaration_of(annotation)  # type: ignore[arg-type]
    except DeclarationError:
        return None
    if (old.type, old.version) != (new.type, from_version):
        raise DeclarationError(
            f"{name} takes {old.cls.__qualname__}, which is {old.type} version {old.version}, and upcasts "
            f"{new.type} from version {from_version}. Take the class of that version, or a dict."
        )
    return old.cls
