"""Delayed events move into the log when they are due, each by one commit that also ends its waiting."""

from __future__ import annotations

from itertools import groupby

import apsw

from onward.delays import micros_of
from onward.sqlite.delayed import DueEvent, take
from onward.sqlite.failures import translate
from onward.sqlite.log import FileLog
from onward.telemetry.failpoints import reach


class DelayedEvents:
    """`Delayed` on the file."""

    def __init__(self, log: FileLog) -> None:
        self._log = log

    def next_due(self) -> int | None:
        ((due,),) = self._log.database.read("SELECT min(due) FROM onward_delayed")
        return None if due is None else int(due)

    async def deliver(self) -> int:
        log = self._log
        try:
            async with log.database.transaction() as connection:
                reach("timers.begun")
                due = take(connection, log.names, micros_of(log.now()))
                for (topic, micros), group in groupby(due, _place):
                    log.append_due(topic, [each.outgoing for each in group], micros)
                reach("timers.written")
        except BaseException as error:
            log.forget()
            if isinstance(error, apsw.Error):
                raise translate(error, "Delivering delayed events") from error
            raise
        reach("timers.delivered")
        return len(due)


def _place(due: DueEvent) -> tuple[str, int]:
    """Neighbours of one topic that were published together are appended together."""
    return due.outgoing.topic, due.micros
