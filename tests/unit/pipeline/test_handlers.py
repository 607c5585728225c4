"""A handler's signature says what it is; a wrong one fails where it is declared, with what to change."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from onward import App, Context, Event, SyncTransaction, Transaction
from onward.errors import DeclarationError, MissingExtraError
from onward.pipeline.handlers import Handler, HandlerKind, Options, Slot, read_handler


class Ordered(Event, type="handlers.ordered", topic="handlers"):
    n: int


class Cancelled(Event, type="handlers.cancelled", topic="handlers"):
    n: int


class Client:
    """A resource."""


class OwnSession(Session):
    """A resource too: it is on a connection of its own."""


def read(source: str, *events: type, **options: Any) -> Handler:
    """The handler that a user's module "shop" declares by this source."""
    module: dict[str, Any] = {
        "__name__": "shop",
        "Annotated": Annotated,
        "AsyncSession": AsyncSession,
        "Cancelled": Cancelled,
        "Client": Client,
        "Context": Context,
        "Ordered": Ordered,
        "OwnSession": OwnSession,
        "Session": Session,
        "SyncTransaction": SyncTransaction,
        "Transaction": Transaction,
    }
    exec(source, module)  # noqa: S102 - so that signatures stand as users write them, the wrong ones too
    return read_handler(module["handle"], events, Options(**options))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("async def handle(order: Ordered, tx: Transaction): ...", HandlerKind.TRANSACTIONAL),
        ("def handle(order: Ordered, tx: SyncTransaction): ...", HandlerKind.TRANSACTIONAL),
        ("async def handle(orders: list[Ordered], tx: Transaction): ...", HandlerKind.BATCH),
        ("async def handle(order: Ordered): ...", HandlerKind.PLAIN),
        ("def handle(order: Ordered, ctx: Context): ...", HandlerKind.PLAIN),
    ],
)
def test_the_signature_alone_tells_how_a_handler_runs(source: str, kind: HandlerKind) -> None:
    handler = read(source)
    assert handler.kind is kind
    assert [each.type for each in handler.event_types] == ["handlers.ordered"]


def test_parameters_are_told_by_their_types_and_resources_by_type_or_name() -> None:
    handler = read(
        "async def handle(order: Ordered | Cancelled, ctx: Context, one: Client, two: Annotated[Client, 'spare'],"
        " tx: Transaction) -> Cancelled | list[Ordered] | None: ..."
    )
    assert [(each.name, each.slot) for each in handler.parameters] == [
        ("order", Slot.EVENT),
        ("ctx", Slot.CONTEXT),
        ("one", Slot.RESOURCE),
        ("two", Slot.RESOURCE),
        ("tx", Slot.TX),
    ]
    assert [each.wants for each in handler.parameters[2:4]] == [Client, "spare"]
    assert [each.type for each in handler.event_types] == ["handlers.ordered", "handlers.cancelled"]
    assert [each.type for each in handler.outputs] == ["handlers.cancelled", "handlers.ordered"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("async def handle(order, tx: Transaction): ...", r"says for no event what it handles: write @app\.on"),
        ("async def handle(order: 'Missing'): ...", "annotation that can't be resolved .*'Missing'.* at the top of"),
        ("async def handle(order: Ordered, *rest: int): ...", r"takes \*args or \*\*kwargs: name what it needs"),
        ("async def handle(order: Ordered, client): ...", "parameter 'client' has no type"),
        ("async def handle(): ...", "the first parameter is the event"),
        ("async def handle(tx: Transaction, order: Ordered): ...", "the first parameter is the event"),
        (
            "async def handle(order: Ordered, a: Context, b: Context): ...",
            "asks for the transaction, the session or the context twice",
        ),
        ("async def handle(order: Ordered, tx: Transaction, t: Transaction): ...", "context twice: once is enough"),
        ("async def handle(order: Client): ...", "Client is not an event"),
        ("async def handle(orders: list[Ordered]): ...", "takes a list of events: it also needs the transaction"),
        ("async def handle(order: Ordered):\n    yield", "yields: return an event, or a list of events"),
        ("def handle(order: Ordered):\n    yield", "yields: return an event, or a list of events"),
        ("async def handle(order: Ordered, tx: SyncTransaction): ...", "is `async def`: ask for `tx: Transaction`"),
        ("def handle(order: Ordered, tx: Transaction): ...", "is a plain `def`: ask for `tx: SyncTransaction`"),
        ("async def handle(order: Ordered) -> Client: ...", "returns Client, which is no event"),
    ],
)
def test_a_wrong_signature_says_what_to_change(source: str, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^shop\.handle.*{sentence}"):
        read(source)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"concurrency": 0}, "concurrency is 1 to 1000, not 0"),
        ({"concurrency": 1001}, "concurrency is 1 to 1000, not 1001"),
        ({"start": "yesterday"}, "start is 'now', 'earliest' or an aware datetime, not 'yesterday'"),
        ({"start": datetime(2026, 1, 1)}, "has no time zone: add one"),  # noqa: DTZ001 - the mistake itself
        ({"name": ""}, "a handler's name has 1 to 200 characters"),
        ({"name": "n" * 201}, "a handler's name has 1 to 200 characters"),
        ({"fatal": (KeyboardInterrupt,)}, "fatal= lists exception classes, not <class 'KeyboardInterrupt'>"),
        ({"fatal": (ValueError(),)}, r"fatal= lists exception classes, not ValueError\(\)"),
    ],
)
def test_a_wrong_option_says_what_to_change(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^shop\.handle: .*{sentence}"):
        read("async def handle(order: Ordered): ...", **options)


def test_concurrency_is_not_for_handlers_with_a_transaction() -> None:
    with pytest.raises(DeclarationError, match="one event after the other: concurrency is for handlers without tx"):
        read("async def handle(order: Ordered, tx: Transaction): ...", concurrency=2)


def test_what_is_declared_and_what_is_annotated_must_agree() -> None:
    with pytest.raises(DeclarationError, match="declared for Cancelled but its first parameter says Ordered"):
        read("async def handle(order: Ordered): ...", Cancelled)


@pytest.mark.parametrize("start", ["now", "earliest", datetime(2026, 1, 1, tzinfo=UTC)])
def test_a_start_is_kept_as_text(start: str | datetime) -> None:
    handler = read("async def handle(order: Ordered): ...", start=start)
    assert handler.start_text in ("now", "earliest", "2026-01-01T00:00:00+00:00")
    assert handler.start == start


def test_the_function_comes_back_as_it_was() -> None:
    app = App("shop")

    async def take(order: Ordered, tx: Transaction) -> None: ...

    assert app.on(Ordered)(take) is take
    assert [handler.name for handler in app.handlers] == ["take"]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("async def handle(order: Ordered, session: AsyncSession): ...", HandlerKind.TRANSACTIONAL),
        ("def handle(order: Ordered, session: Session, ctx: Context): ...", HandlerKind.TRANSACTIONAL),
        ("async def handle(order: Ordered, tx: Transaction, session: AsyncSession): ...", HandlerKind.TRANSACTIONAL),
        ("def handle(orders: list[Ordered], session: Session): ...", HandlerKind.BATCH),
        ("def handle(order: Ordered, session: Annotated[Session, 'elsewhere']): ...", HandlerKind.PLAIN),
        ("def handle(order: Ordered, session: OwnSession): ...", HandlerKind.PLAIN),
    ],
)
def test_a_session_of_sqlalchemy_is_on_the_events_transaction(source: str, kind: HandlerKind) -> None:
    assert read(source).kind is kind


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("async def handle(order: Ordered, session: Session): ...", "is `async def`: ask for `session: AsyncSession`"),
        ("def handle(order: Ordered, session: AsyncSession): ...", "is a plain `def`: ask for `session: Session`"),
        (
            "def handle(order: Ordered, session: Session, other: Session): ...",
            "asks for the transaction, the session or the context twice: once is enough",
        ),
    ],
)
def test_a_session_that_the_handler_can_t_use_says_what_to_ask_for(source: str, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^shop\.handle.*{sentence}"):
        read(source)


def test_a_session_without_what_it_needs_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(MissingExtraError, match=r"greenlet is not installed.*pip install 'onward\[sqlalchemy\]'"):
        read("async def handle(order: Ordered, session: AsyncSession): ...")
