"""`RecordView` of a file."""

from __future__ import annotations

from pathlib import Path

from onward.inspection.accounts import Subscribed
from onward.inspection.record import running
from onward.sqlite import moving, registrations
from onward.sqlite.accounts import subscriptions
from onward.sqlite.changing import changing
from onward.sqlite.inspection import inspecting


class FileRecord:
    """A file that is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def subscriptions(self) -> list[Subscribed]:
        with inspecting(self._path) as inspection:
            return subscriptions(inspection)

    def rename(self, service: str, old: str, new: str) -> list[str]:
        self._refuse_running(service)
        with changing(self._path) as change:
            return registrations.rename(change.connection, service, old, new)

    def retire(self, service: str, name: str, topic: str | None = None) -> list[str]:
        self._refuse_running(service)
        with changing(self._path) as change:
            return registrations.retire(change.connection, service, name, topic)

    def move(self, service: str, name: str, *, alone: bool) -> list[str]:
        self._refuse_running(service)
        with changing(self._path) as change:
            return moving.move(change.connection, service, name, alone=alone)

    def _refuse_running(self, service: str) -> None:
        with inspecting(self._path) as inspection:
            found = [member.pid for member in inspection.members() if member.service == service]
        if found:
            raise running(service, [f"pid {', '.join(map(str, found))}"])
