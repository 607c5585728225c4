import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id

from onward import App, Event, Transaction
from onward.errors import DelayError
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
    stamp.extensions = stamp.spans = None


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


def test_a_publish_is_a_span_of_its_own_that_names_its_topic_and_its_error(spans: InMemorySpanExporter) -> None:
    tracing, _ = traced(spans)
    storefront = App("storefront", middleware=[tracing])

    async def scenario() -> None:
        async with Harness(storefront):
            await storefront.publish(Ordered(order_id="1"), Ordered(order_id="2"))
            await storefront.send(Ordered(order_id="3"), Reserved(order_id="3"))
            await storefront.publish()
            with pytest.raises(DelayError):
                await storefront.publish(Ordered(order_id="4"), delay=-1)

    asyncio.run(scenario())
    published, sent, refused = spans.get_finished_spans()
    assert {span.kind for span in (published, sent, refused)} == {SpanKind.PRODUCER}
    assert (published.name, sent.name) == ("publish traced-orders", "publish")
    assert dict(published.attributes or {}) == {
        "messaging.system": "onward",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.name": "traced-orders",
        "messaging.batch.message_count": 2,
        "onward.service": "storefront",
    }
    assert "messaging.destination.name" not in (sent.attributes or {})
    assert published.status.status_code is StatusCode.UNSET
    assert refused.status.status_code is StatusCode.ERROR


def test_an_event_published_outside_of_a_span_carries_no_context(spans: InMemorySpanExporter) -> None:
    traced(spans)
    assert encode(Ordered(order_id="1")).extra is None


def test_without_tracing_an_event_carries_no_context_and_a_publish_is_surrounded_by_nothing() -> None:
    assert stamp.extensions is None
    assert stamp.published("shop", [Ordered(order_id="1")]) is stamp.published("shop", [])
    assert encode(Ordered(order_id="1")).extra is None


def test_what_the_publisher_says_is_kept_over_the_trace(spans: InMemorySpanExporter) -> None:
    _, provider = traced(spans)
    with provider.get_tracer("test").start_as_current_span("publish"):
        assert encode(Ordered(order_id="1"), b'{"tenant": "a"}').extra == b'{"tenant": "a"}'
