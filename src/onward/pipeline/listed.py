"""A list handler's part of a careful pass: without what it names, or in halves, until each failure stands alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onward.errors import BatchFailed
from onward.outgoing import encode_returned
from onward.pipeline.careful import undo
from onward.pipeline.context import Context
from onward.pipeline.failures import NOBODYS_ATTEMPT
from onward.pipeline.invocation import Bound, is_cancelled
from onward.ports import Record, Unit

Items = list[tuple[Record, Any]]


@dataclass(slots=True)
class ListRun:
    """What it comes to: which events `failed`, by offset, and which are `held`, since one before them in their key did.

    Only a handler that blocks holds any. `keys` are of all its events, by offset.
    """

    unit: Unit
    bound: Bound
    context: Callable[[Record], Context | None]
    keys: dict[int, str | None]
    failed: dict[int, BaseException]
    held: list[Record] = field(default_factory=list)

    async def run(self, items: Items) -> None:
        """Those that did not fail before. Raises TransactionEnded, and what is nobody's attempt."""
        items = self._not_behind(items)
        if not items:
            return
        unit, bound = self.unit, self.bound
        await unit.mark()
        try:
            events = [event for _, event in items]
            encode_returned(await bound.call(events, unit, self.context(items[0][0])), unit.outputs)
            await unit.keep()
        except NOBODYS_ATTEMPT:
            raise
        except BatchFailed as error:
            named = {index: cause for index, cause in error.failures.items() if 0 <= index < len(items)}
            if not named:
                named = dict.fromkeys(range(len(items)), error)
            blamed = {items[index][0][0]: cause for index, cause in named.items()}
            name = bound.handler.name
            await undo(unit, {(offset, name): cause for offset, cause in blamed.items()}, items[-1][0][0])
            self.failed.update(blamed)
            await self.run([item for index, item in enumerate(items) if index not in named])
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            first, half = items[0][0][0], len(items) // 2
            if not half:
                await undo(unit, {(first, bound.handler.name): error}, first)
                self.failed[first] = error
                return
            await undo(unit, {}, items[half - 1][0][0])
            await self.run(items[:half])
            await self.run(items[half:])

    def _not_behind(self, items: Items) -> Items:
        if not (self.failed and self.bound.handler.blocks):
            return items
        first: dict[str, int] = {}
        for offset in sorted(self.failed, reverse=True):
            key = self.keys[offset]
            if key is not None:
                first[key] = offset
        behind = {item[0][0] for item in items if item[0][3] in first and first[item[0][3]] < item[0][0]}
        self.held += [record for record, _ in items if record[0] in behind]
        return [item for item in items if item[0][0] not in behind]
