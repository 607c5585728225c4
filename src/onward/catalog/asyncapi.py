"""Services as an AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from onward.catalog.description import DescribedEvent, Description

Document = dict[str, Any]


def asyncapi(described: Sequence[Description], version: str = "1.0.0") -> Document:
    """One document for all of these services; `version` is that of the system described.

    Channels are topics, messages are event types with their versions, operations are handlers: `receive` for what
    one handles, `send` for what it publishes.
    """
    events = {(event.type, event.version): event for service in described for event in service.events}
    definitions: Document = {}
    messages = {_name(event): _message(event, definitions) for event in events.values()}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": ", ".join(service.service for service in described), "version": version},
        "defaultContentType": "application/json",
        "channels": _channels(described, list(events.values())),
        "operations": {name: body for service in described for name, body in _operations(service)},
        "components": {"messages": messages, **({"schemas": definitions} if definitions else {})},
    }


def _channels(described: Sequence[Description], events: Sequence[DescribedEvent]) -> Document:
    topics = {topic.name: topic for service in described for topic in service.topics}
    return {
        _identifier(name): {
            "address": name,
            "description": f"{topic.partitions} partitions, in order per key",
            "messages": {
                _name(event): {"$ref": f"#/components/messages/{_name(event)}"}
                for event in events
                if event.topic == name
            },
        }
        for name, topic in sorted(topics.items())
    }


def _operations(service: Description) -> list[tuple[str, Document]]:
    found: list[tuple[str, Document]] = []
    by_name = {f"{event.type} v{event.version}": event for event in service.events}
    for handler in service.handlers:
        for action, named in (("receive", handler.handles), ("send", handler.publishes)):
            by_topic: dict[str, list[DescribedEvent]] = {}
            for name in named:
                by_topic.setdefault(by_name[name].topic, []).append(by_name[name])
            for topic, events in by_topic.items():
                channel = _identifier(topic)
                key = _identifier(f"{service.service}.{handler.name}.{action}.{topic}")
                operation = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel}"},
                    "summary": f"{handler.kind} handler {handler.name} of {service.service}",
                    "messages": [{"$ref": f"#/channels/{channel}/messages/{_name(event)}"} for event in events],
                }
                found.append((key, operation))
    return found


def _message(event: DescribedEvent, definitions: Document) -> Document:
    """The message of an event; the definitions its schema refers to move to the document's own."""
    prefix = f"{_name(event)}."
    schema = _moved(event.schema, prefix)
    for name, definition in schema.pop("$defs", {}).items():
        definitions[_identifier(prefix + name)] = definition
    return {
        "name": event.type,
        "title": event.python.rpartition(".")[2],
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "description": "CloudEvents 1.0 attributes in binary content mode",
            "properties": {"ce_type": {"const": event.type}},
        },
        "payload": schema,
        "x-onward-version": event.version,
        "x-onward-key": event.key,
    }


def _moved(schema: Any, prefix: str) -> Any:
    if isinstance(schema, dict):
        return {
            name: "#/components/schemas/" + _identifier(prefix + value.rpartition("/")[2])
            if name == "$ref" and isinstance(value, str)
            else _moved(value, prefix)
            for name, value in schema.items()
        }
    if isinstance(schema, list):
        return [_moved(item, prefix) for item in schema]
    return schema


def _name(event: DescribedEvent) -> str:
    return _identifier(f"{event.type}.v{event.version}")


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)
