"""Topics, event types and sources of a file, by the small integers that its rows hold."""

from __future__ import annotations

from dataclasses import dataclass
from time import time

import apsw

from onward.errors import RegistrationError
from onward.ports import WireType
from onward.sqlite.fetch import fetch
from onward.topics import Retention, Topic


@dataclass(frozen=True, slots=True)
class StoredTopic:
    """A topic's row and its lanes, by partition."""

    id: int
    topic: Topic
    lanes: tuple[int, ...]
    broker: str  # who holds its log; "" for this file


class Names:
    """Topics, event types and sources as small integers; looked up once, then remembered.

    What was created in a transaction that rolled back is not there: `forget` after every rollback.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.forget()

    def forget(self) -> None:
        self._topics: dict[str, StoredTopic] = {}
        self._kinds: dict[tuple[str, int], int] = {}
        self._wire_types: dict[int, WireType] = {0: WireType("", 1)}
        self._sources: dict[str, int] = {}
        self._source_names: dict[int, str] = {}

    def topic(self, name: str) -> StoredTopic | None:
        found = self._topics.get(name)
        if found is not None:
            return found
        rows = fetch(
            self._connection,
            "SELECT id, partitions, keep_age_s, keep_bytes, backlog_bytes, broker FROM onward_topic WHERE name = ?",
            (name,),
        )
        if not rows:
            return None
        ((topic_id, partitions, *kept, broker),) = rows
        lanes = fetch(self._connection, "SELECT id FROM onward_lane WHERE topic = ? ORDER BY partition", (topic_id,))
        found = StoredTopic(
            topic_id, Topic(name, partitions, Retention(*kept)), tuple(lane for (lane,) in lanes), broker
        )
        self._topics[name] = found
        return found

    def create_topic(self, topic: Topic, broker: str = "") -> StoredTopic:
        """Create it in the open transaction, or return what is there. Raises RegistrationError for another broker's."""
        found = self.topic(topic.name)
        if found is not None:
            if found.broker != broker:
                raise RegistrationError(
                    f"Topic {topic.name!r} is on record in this file as one whose log is {_whose(found.broker)}, and"
                    f" now it is to be {_whose(broker)}: their offsets mean different events. Give the service another"
                    " file (ONWARD_STORE), or its former broker. Nothing was handled.",
                    topic=topic.name,
                )
            return found
        kept = topic.retention
        self._connection.execute(
            "INSERT INTO onward_topic (name, partitions, keep_age_s, keep_bytes, backlog_bytes, created_at, broker)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (topic.name, topic.partitions, kept.age_s, kept.bytes, kept.backlog_bytes, time(), broker),
        )
        topic_id = self._connection.last_insert_rowid()
        self._connection.executemany(
            "INSERT INTO onward_lane (topic, partition) VALUES (?, ?)",
            [(topic_id, partition) for partition in range(topic.partitions)],
        )
        created = self.topic(topic.name)
        assert created is not None
        return created

    def anew(self, stored: StoredTopic) -> StoredTopic:
        """The topic as it is now: another process may have changed how it is kept."""
        self._topics.pop(stored.topic.name, None)
        return self.topic(stored.topic.name) or stored

    def keep(self, topic: Topic) -> bool:
        """Keep a topic that is there by this retention, in the open transaction; whether that is another one."""
        kept = topic.retention
        self._connection.execute(
            "UPDATE onward_topic SET keep_age_s = ?2, keep_bytes = ?3, backlog_bytes = ?4"
            " WHERE name = ?1 AND (keep_age_s, keep_bytes, backlog_bytes) IS NOT (?2, ?3, ?4)",
            (topic.name, kept.age_s, kept.bytes, kept.backlog_bytes),
        )
        self._topics.pop(topic.name, None)
        return self._connection.changes() > 0

    def kind(self, event_type: str, version: int) -> int:
        """The number of a wire type, created in the open transaction if need be. "" is 0."""
        if not event_type:
            return 0
        found = self._kinds.get((event_type, version))
        if found is None:
            self._connection.execute(
                "INSERT INTO onward_kind (type, version) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (event_type, version),
            )
            ((found,),) = fetch(
                self._connection, "SELECT id FROM onward_kind WHERE type = ? AND version = ?", (event_type, version)
            )
            self._kinds[event_type, version] = found
        return found

    def wire_type(self, kind: int) -> WireType:
        found = self._wire_types.get(kind)
        if found is None:
            ((event_type, version),) = fetch(
                self._connection, "SELECT type, version FROM onward_kind WHERE id = ?", (kind,)
            )
            found = self._wire_types[kind] = WireType(event_type, version)
        return found

    def source(self, name: str) -> int:
        found = self._sources.get(name)
        if found is None:
            self._connection.execute("INSERT INTO onward_source (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            ((found,),) = fetch(self._connection, "SELECT id FROM onward_source WHERE name = ?", (name,))
            self._sources[name] = found
        return found

    def source_name(self, source: int) -> str:
        found = self._source_names.get(source)
        if found is None:
            ((found,),) = fetch(self._connection, "SELECT name FROM onward_source WHERE id = ?", (source,))
            self._source_names[source] = found
        return found


def _whose(broker: str) -> str:
    return f"on {broker}" if broker else "in the file itself"
