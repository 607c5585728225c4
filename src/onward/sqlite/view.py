"""`StoreView` of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onward.inspection.finding import Finding
from onward.inspection.letter import Letter, divided
from onward.inspection.report import Progress, Report, untold
from onward.inspection.status import Status
from onward.inspection.view import LogsView, Ruling
from onward.sqlite.accepting import accept
from onward.sqlite.audit import audit
from onward.sqlite.changing import changing
from onward.sqlite.health import examine
from onward.sqlite.inspection import inspecting
from onward.sqlite.letters import discard, letter, letters, retry
from onward.sqlite.refused import drop, refused, refused_one, send_again
from onward.sqlite.status import status


class FileView:
    """A file that is there, or, for `examine`, that may come. `logs` has those that the file does not hold."""

    def __init__(self, path: Path, logs: LogsView | None = None) -> None:
        self._path = path
        self._logs = logs

    def status(self) -> Status:
        with inspecting(self._path) as inspection:
            return status(inspection, self._logs)

    def audit(self, *, deep: bool = False, progress: Progress = untold) -> Report:
        return audit(self._path, deep=deep, progress=progress, logs=self._logs)

    def letters(
        self, ids: Sequence[int] | None = None, *, service: str | None = None, every_state: bool = False
    ) -> list[Letter]:
        with inspecting(self._path) as inspection:
            if ids is None:
                found = letters(inspection, service=service, every_state=every_state)
                return refused(inspection, service=service) + found
            return [letter(inspection, each) if each > 0 else refused_one(inspection, each) for each in ids]

    def rule(self, ruling: Ruling, ids: Sequence[int] | None) -> int:
        with changing(self._path) as change:
            if ruling is Ruling.ACCEPT:
                return accept(change.connection, ids or ())
            dead, never_taken = divided(ids)
            if ruling is Ruling.DISCARD:
                count, topics = discard(change.connection, dead)
                change.wake(topics)
                return count + drop(change.connection, never_taken)
            count, topics = retry(change.connection, dead)
            sent, outboxes = send_again(change.connection, never_taken)
            change.wake(topics | outboxes)
            return count + sent

    def examine(self) -> list[Finding]:
        return examine(self._path, self._logs)
