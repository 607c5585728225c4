import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from onward import App, Event, Transaction
from onward.outgoing import encode
from onward.telemetry import stamp
from onward.telemetry.tracing import Tracing
from onward.testing import Harness


class Ordered(Event, type="tracing.ordered", topic="traced-orders"):
    order_id: str


class Reserved(Event, type="tracing.reserved", topic="traced-stock"):
    order_id: str


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is traced in this test; nothing is afterwards."""
    yield InMemorySpanExporter()
    stamp.extensions = None


def traced(spans: InMemorySpanExporter) -> tuple[Tracing, TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider), provider


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def test_one_trace_goes_through_publish_log_and_two_services(spans: InMemorySpanExporter) -> None:
    tracing, provider = traced(spans)
    inventory, shipping = App("inventory", middleware=[tracing]), App("shipping", middleware=[tracing])

    @inventory.on(Ordered)
    async def reserve(ordered: Ordered, tx: Transaction) -> Reserved:
        return Reserved(order_id=ordered.order_id)

    @shipping.on(Reserved)
    async def ship(reserved: Reserved, tx: Transaction) -> None:
        return None

    async def scenario() -> None:
        async with Harness(inventory, shipping) as harness:
            with provider.get_tracer("test").start_as_current_span("place order"):
                await harness.publish(Ordered(order_id="1"))
            await harness.settle()

    asyncio.run(scenario())
    by_name = {span.name: span for span in spans.get_finished_spans()}
    assert set(by_name) == {"place order", "handle reserve", "handle ship"}
    placed, reserving, shipped = by_name["place order"], by_name["handle reserve"], by_name["handle ship"]
    assert placed.context is not None
    assert reserving.context is not None
    assert parent_id(reserving) == placed.context.span_id
    assert parent_id(shipped) == reserving.context.span_id
    assert {format_trace_id(span.context.trace_id) for span in by_name.values() if span.context} == {
        format_trace_id(placed.context.trace_id)
    }


def test_an_event_published_outside_of_a_span_carries_no_context(spans: InMemorySpanExporter) -> None:
    traced(spans)
    assert encode(Ordered(order_id="1")).extra is None


def test_without_tracing_an_event_carries_no_context() -> None:
    assert stamp.extensions is None
    assert encode(Ordered(order_id="1")).extra is None


def test_what_the_publisher_says_is_kept_over_the_trace(spans: InMemorySpanExporter) -> None:
    _, provider = traced(spans)
    with provider.get_tracer("test").start_as_current_span("publish"):
        assert encode(Ordered(order_id="1"), b'{"tenant": "a"}').extra == b'{"tenant": "a"}'
