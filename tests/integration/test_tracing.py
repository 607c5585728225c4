"""One trace goes through publish, the log on a file, and handlers in two processes."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from onward import App, Event, Tracing, Transaction
from onward.telemetry import stamp
from tests.integration.children import child
from tests.integration.services import running

PATIENCE_S = 20.0
INVENTORY = """
import asyncio, json
from tests.integration.test_tracing import inventory, recorded, told
async def main():
    spans, provider = recorded()
    async with inventory(sys.argv[1], provider).lifespan():
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps([told(span) for span in spans.get_finished_spans()]), flush=True)
asyncio.run(main())
"""


class Ordered(Event, type="traced.ordered", topic="traced.orders"):
    order_id: str


class Reserved(Event, type="traced.reserved", topic="traced.stock"):
    order_id: str


def recorded() -> tuple[InMemorySpanExporter, TracerProvider]:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return spans, provider


def told(span: ReadableSpan) -> tuple[str, str, int, int, int | None]:
    """What says where a span belongs, in a form that goes between processes."""
    assert span.context is not None
    parent = span.parent.span_id if span.parent else None
    return span.name, span.kind.name, span.context.trace_id, span.context.span_id, parent


def inventory(path: Path | str, provider: TracerProvider) -> App:
    app = App("inventory", store=f"sqlite:///{path}", middleware=[Tracing(provider)])

    @app.on(Ordered)
    async def reserve(ordered: Ordered, tx: Transaction) -> Reserved:
        return Reserved(order_id=ordered.order_id)

    return app


@pytest.fixture(autouse=True)
def nothing_is_traced_afterwards() -> Iterator[None]:
    yield
    stamp.extensions = stamp.spans = None


def test_one_trace_goes_through_publish_log_and_handlers_in_two_processes(database_path: Path) -> None:
    spans, provider = recorded()

    async def scenario() -> str:
        app, shipped = App("shop", store=f"sqlite:///{database_path}", middleware=[Tracing(provider)]), asyncio.Event()

        @app.on(Reserved)
        async def ship(reserved: Reserved) -> None:
            shipped.set()

        with child(INVENTORY, database_path) as other:
            await asyncio.to_thread(other.says, "ready")
            async with running(app):
                with provider.get_tracer("test").start_as_current_span("place order"):
                    await app.publish(Ordered(order_id="1"))
                await asyncio.wait_for(shipped.wait(), PATIENCE_S)
            other.tell("stop")
            return await asyncio.to_thread(other.answers)

    theirs = [tuple(span) for span in json.loads(asyncio.run(scenario()))]
    found = {span[0]: span for span in [*map(told, spans.get_finished_spans()), *theirs]}
    way = ["place order", "publish traced.orders", "handle reserve", "handle ship"]
    assert found.keys() == set(way)
    assert [span[0] for span in theirs] == ["handle reserve"]
    assert {span[2] for span in found.values()} == {found["place order"][2]}, "one trace"
    parents = [None, *(found[name][3] for name in way[:-1])]
    assert [found[name][4] for name in way] == parents, "each is the child of the one before"
    kinds = [SpanKind.INTERNAL, SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.CONSUMER]
    assert [found[name][1] for name in way] == [kind.name for kind in kinds]
