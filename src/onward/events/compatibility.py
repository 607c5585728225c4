"""Whether two versions of an event's schema can read each other's events, and where they can't."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from onward.errors import IncompatibleChangeError
from onward.events.event_types import event_type
from onward.events.evolution import decoder_for
from onward.events.registry import registry
from onward.events.schema import Schema, json_schema
from onward.events.schema_reading import unreadable


class Direction(StrEnum):
    """Whose events can't be read by whom. In a rolling deploy both versions read and write."""

    NEW_CANNOT_READ_OLD = "new can't read old"
    OLD_CANNOT_READ_NEW = "old can't read new"


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One place where one schema writes what the other can't read."""

    path: str  # "$.lines[].sku"; [] is each item of a list, {} each value of a dict
    direction: Direction
    sentence: str

    def __str__(self) -> str:
        return f"{self.direction} at {self.path}: {self.sentence}"


def check_compatibility(old: Schema, new: Schema) -> list[Incompatibility]:
    """What stands between two JSON Schemas of one event, both ways; empty if each reads the other's.

    Takes the schemas of `json_schema`, or snapshots. A keyword that onward does not know is taken as no
    obstacle.
    """
    old, new = old.get("schema", old), new.get("schema", new)
    forward = unreadable(reader=new, writer=old)
    backward = unreadable(reader=old, writer=new)
    return [
        *(Incompatibility(path, Direction.NEW_CANNOT_READ_OLD, sentence) for path, sentence in forward),
        *(Incompatibility(path, Direction.OLD_CANNOT_READ_NEW, sentence) for path, sentence in backward),
    ]


def assert_compatible(cls: type, snapshot: Schema) -> None:
    """For a user's test: IncompatibleChangeError if `cls` breaks with the `snapshot` kept of it.

    Within one version each must read the other. Where the class has a higher version than the snapshot,
    upcasters must lead up from it; UnknownVersionError or DecodeError says which is missing.
    """
    found = event_type(cls)
    if snapshot["type"] != found.type:
        raise IncompatibleChangeError(
            f"{cls.__qualname__} has type {found.type!r}, its snapshot {snapshot['type']!r}. Stored events "
            f"would no longer be found: keep the type for good, and declare a second event for a new one."
        )
    if snapshot["version"] != found.version:
        decoder_for(registry(), found.type, snapshot["version"], cls)
        return
    obstacles = check_compatibility(snapshot, json_schema(cls))
    if obstacles:
        listed = "\n".join(f"  {obstacle}" for obstacle in obstacles)
        raise IncompatibleChangeError(
            f"{cls.__qualname__} and the snapshot of version {found.version} can't read each other's "
            f"events:\n{listed}\nGive new fields a default and keep old ones, or declare "
            f"version={found.version + 1} with an @onward.upcast from version {found.version}.",
            type=found.type,
            version=found.version,
            obstacles=obstacles,
        )
