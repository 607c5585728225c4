"""What handlers ask for beside the event: made by the App's async generators, open as long as the service runs."""

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, get_args

from onward.errors import DeclarationError

Resource = Callable[[], AsyncIterator[Any]]


def check_resources(resources: Sequence[Resource]) -> None:
    """Raises DeclarationError for what is no async generator function without parameters."""
    for resource in resources:
        name = getattr(resource, "__qualname__", repr(resource))
        if not inspect.isasyncgenfunction(resource):
            raise DeclarationError(f"Resource {name} is not an async generator: write `async def` and `yield` it once.")
        if inspect.signature(resource).parameters:
            raise DeclarationError(f"Resource {name} takes parameters: read settings inside it instead.")


def given_by(resource: Resource) -> list[Any]:
    """What a handler's parameter finds it by: its name, and its type where the annotation has one.

    Raises DeclarationError for an annotation that can't be resolved.
    """
    try:
        hint = typing.get_type_hints(resource).get("return")
    except NameError as error:
        raise DeclarationError(
            f"Resource {resource.__qualname__} has an annotation that can't be resolved ({error}): import that name at"
            " the top of the module, not under TYPE_CHECKING."
        ) from error
    return [resource.__name__, *get_args(hint)[:1]]


async def open_resources(resources: Sequence[Resource], stack: AsyncExitStack) -> dict[Any, Any]:
    """Open them in order; the stack closes them in reverse. What each gives, by what it is found by."""
    opened: dict[Any, Any] = {}
    for resource in resources:
        value = await stack.enter_async_context(asynccontextmanager(resource)())
        opened.update(dict.fromkeys(given_by(resource), value))
    return opened
