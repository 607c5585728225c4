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


async def open_resources(resources: Sequence[Resource], stack: AsyncExitStack) -> dict[Any, Any]:
    """Open them in order; the stack closes them in reverse. By name, and by type where the annotation has one."""
    opened: dict[Any, Any] = {}
    for resource in resources:
        value = await stack.enter_async_context(asynccontextmanager(resource)())
        opened[resource.__name__] = value
        hint = typing.get_type_hints(resource).get("return")
        for kind in get_args(hint)[:1]:
            opened[kind] = value
    return opened
