"""What a service is made of, read off its declarations: nothing is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from onward.events import EventType, json_schema
from onward.pipeline.handlers import Handler
from onward.runtime.service import ServicePlan
from onward.settings import Settings, shown


@dataclass(frozen=True, slots=True)
class DescribedEvent:
    """An event type; `schema` is the JSON Schema of its bytes."""

    type: str
    version: int
    topic: str
    key: str | None
    python: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DescribedHandler:
    """A handler: `handles` and `publishes` are wire types with their versions."""

    name: str
    kind: str
    start: str
    handles: tuple[str, ...]
    publishes: tuple[str, ...]
    topics: tuple[str, ...]
    concurrency: int | None
    calls_per_s: float | None
    max_attempts: int
    alone: bool
    python: str


@dataclass(frozen=True, slots=True)
class DescribedTopic:
    """A topic as this service declares it, and what it uses it for."""

    name: str
    partitions: int
    keep_age_s: float
    keep_bytes: int
    consumed: bool
    published: bool


@dataclass(frozen=True, slots=True)
class Description:
    """One service: its settings, handlers, events, topics and what must always hold."""

    service: str
    broker: str
    store: str
    handlers: tuple[DescribedHandler, ...]
    events: tuple[DescribedEvent, ...]
    topics: tuple[DescribedTopic, ...]
    invariants: tuple[str, ...]
    resources: tuple[str, ...]


def describe(plan: ServicePlan, settings: Settings) -> Description:
    """Never connects. Raises DeclarationError for an event whose fields can't be used."""
    handled = {event for handler in plan.handlers for event in handler.event_types}
    published = {event for handler in plan.handlers for event in handler.outputs}
    consumed_topics = {event.topic for event in handled}
    published_topics = {event.topic for event in published}
    return Description(
        service=plan.name,
        broker=shown(settings.broker),
        store=shown(settings.store),
        handlers=tuple(map(_handler, plan.handlers)),
        events=tuple(_event(event) for event in sorted(handled | published, key=_place)),
        topics=tuple(
            DescribedTopic(
                name=topic.name,
                partitions=topic.partitions,
                keep_age_s=topic.retention.age_s,
                keep_bytes=topic.retention.bytes,
                consumed=topic.name in consumed_topics,
                published=topic.name in published_topics,
            )
            for topic in sorted(plan.all_topics(), key=lambda topic: topic.name)
        ),
        invariants=tuple(plan.invariants),
        resources=tuple(getattr(resource, "__name__", repr(resource)) for resource in plan.resources),
    )


def _handler(handler: Handler) -> DescribedHandler:
    plain = handler.kind.value == "plain"
    return DescribedHandler(
        name=handler.name,
        kind=handler.kind.value,
        start=handler.start_text,
        handles=_names(handler.event_types),
        publishes=_names(handler.outputs),
        topics=handler.topics,
        concurrency=handler.concurrency if plain else None,
        calls_per_s=handler.calls_per_s,
        max_attempts=handler.retry.max_attempts,
        alone=handler.alone or plain,
        python=f"{handler.function.__module__}.{handler.function.__qualname__}",
    )


def _event(event: EventType) -> DescribedEvent:
    return DescribedEvent(
        type=event.type,
        version=event.version,
        topic=event.topic,
        key=event.key,
        python=f"{event.cls.__module__}.{event.cls.__qualname__}",
        schema=json_schema(event.cls),
    )


def _names(events: Iterable[EventType]) -> tuple[str, ...]:
    return tuple(f"{event.type} v{event.version}" for event in events)


def _place(event: EventType) -> tuple[str, int]:
    return event.type, event.version
