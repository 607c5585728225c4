"""Events as the user declares them: types, their registry, the envelope, and evolution between versions."""

from onward.events.compatibility import Direction, Incompatibility, assert_compatible, check_compatibility
from onward.events.declaration import Event, event
from onward.events.envelope import Attributes, Envelope, check_extensions, from_headers, headers_of
from onward.events.event_types import EventType, event_type
from onward.events.evolution import decoder_for, upcast
from onward.events.failures import decode_error, encode_error
from onward.events.registry import EventRegistry, isolated_registry, registry
from onward.events.schema import json_schema, snapshot

__all__ = [
    "Attributes",
    "Direction",
    "Envelope",
    "Event",
    "EventRegistry",
    "EventType",
    "Incompatibility",
    "assert_compatible",
    "check_compatibility",
    "check_extensions",
    "decode_error",
    "decoder_for",
    "encode_error",
    "event",
    "event_type",
    "from_headers",
    "headers_of",
    "isolated_registry",
    "json_schema",
    "registry",
    "snapshot",
    "upcast",
]
