"""One OpenTelemetry trace through publish, log and handler. Needs the extra `tracing`; costs nothing when unused.

The W3C context of the span that publishes goes into the event as the CloudEvents extension `traceparent`, and the
handler's span is its child, in whichever process that runs. `app.publish` and `app.send` are spans of their own; what
goes out with a transaction, a handler's or another, is published by the span that is current there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from onward.errors import MissingExtraError
from onward.events import Envelope, event_type
from onward.telemetry import stamp

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

FIELDS = ("traceparent", "tracestate")

_handled: ContextVar[bytes | None] = ContextVar("onward_handled", default=None)
"""The context of the handler that has just returned: what it returned is published after its span has ended."""


class Handling(Protocol):
    """What is asked of a handler's Context."""

    @property
    def service(self) -> str: ...

    @property
    def handler(self) -> str: ...

    @property
    def envelope(self) -> Envelope: ...

    @property
    def attempt(self) -> int: ...


class Tracing:
    """Middleware, `App("inventory", middleware=[Tracing()])`: a span a handler call, and a publish from then on.

    Spans go to `provider`, by default the process's own. A list handler's span is the child of its first event.
    Raises MissingExtraError without opentelemetry.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise MissingExtraError("Tracing needs the extra `tracing`: pip install 'onward[tracing]'.") from error
        self._tracer = trace.get_tracer("onward", tracer_provider=provider)
        self._kinds = trace.SpanKind
        self._propagator = TraceContextTextMapPropagator()
        stamp.extensions = self._extensions
        stamp.spans = self._published

    async def __call__(self, event: Any, ctx: Handling, call_next: Callable[[], Awaitable[Any]]) -> Any:
        envelope = ctx.envelope
        carrier = {name: envelope.extensions[name] for name in FIELDS if name in envelope.extensions}
        _handled.set(None)
        with self._tracer.start_as_current_span(
            f"handle {ctx.handler}",
            context=self._propagator.extract(carrier),
            kind=self._kinds.CONSUMER,
            attributes={
                "messaging.system": "onward",
                "messaging.operation.type": "process",
                "messaging.operation.name": ctx.handler,
                "messaging.destination.name": envelope.topic,
                "messaging.destination.partition.id": str(envelope.partition),
                "messaging.message.id": envelope.id,
                "onward.service": ctx.service,
                "onward.attempt": ctx.attempt,
            },
        ):
            try:
                return await call_next()
            finally:
                _handled.set(self._current())

    @contextmanager
    def _published(self, service: str, events: Sequence[object]) -> Iterator[None]:
        topics = {event_type(type(event)).topic for event in events}
        (topic,) = topics if len(topics) == 1 else ("",)
        attributes: dict[str, str | int] = {
            "messaging.system": "onward",
            "messaging.operation.type": "send",
            "messaging.operation.name": "publish",
            "messaging.batch.message_count": len(events),
            "onward.service": service,
        }
        if topic:
            attributes["messaging.destination.name"] = topic
        name = f"publish {topic}".strip()
        with self._tracer.start_as_current_span(name, kind=self._kinds.PRODUCER, attributes=attributes):
            yield

    def _extensions(self) -> bytes | None:
        return self._current() or _handled.get()

    def _current(self) -> bytes | None:
        """The context of the current span as extensions; None where there is none."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return msgspec.json.encode(carrier) if carrier else None
