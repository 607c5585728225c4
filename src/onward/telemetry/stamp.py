"""What publishing does for tracing: it marks every event, beside what its publisher says, and is a span itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

extensions: Callable[[], bytes | None] | None = None
"""Gives CloudEvents extensions as a JSON object of texts, or None for none; None while nobody asked for it."""

spans: Callable[[str, Sequence[object]], AbstractContextManager[None]] | None = None
"""Surrounds a publish of these events by this service; None while nobody asked for it."""

_NO_SPAN = nullcontext()


def published(service: str, events: Sequence[object]) -> AbstractContextManager[None]:
    """What to publish in, from the encoding on, so that the events carry the span they are published in."""
    return _NO_SPAN if spans is None or not events else spans(service, events)
