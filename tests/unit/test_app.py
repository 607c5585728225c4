"""An app refuses a wrong declaration where it is written, before anything is opened."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from onward import App, Event, Transaction
from onward.errors import DeclarationError


class Placed(Event, type="app.placed", topic="app"):
    n: int


async def take(placed: Placed, tx: Transaction) -> None: ...


async def gives_at_once() -> int:
    return 1


async def asks(name: str) -> AsyncIterator[int]:
    yield 1


async def asks_nothing() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("name", ["", "a b", "shop!", "n" * 101])
def test_a_services_name_is_letters_digits_and_dashes(name: str) -> None:
    with pytest.raises(DeclarationError, match="a service's name is 1 to 100 letters, digits, '-' or '_'"):
        App(name)


def test_two_handlers_of_one_name_are_refused() -> None:
    app = App("shop")
    app.on(Placed)(take)
    with pytest.raises(DeclarationError, match=r"can't have another handler called 'take'.* give it name="):
        app.on(Placed)(take)
    app.on(Placed, name="take_again")(take)
    assert [handler.name for handler in app.handlers] == ["take", "take_again"]


def test_the_name_that_transactional_handlers_share_is_taken() -> None:
    with pytest.raises(DeclarationError, match="another handler called 'transactional'"):
        App("shop").on(Placed, name="transactional")(take)


@pytest.mark.parametrize(
    ("resource", "sentence"),
    [(gives_at_once, "is not an async generator: write `async def` and `yield` it once"), (asks, "takes parameters")],
)
def test_a_resource_is_an_async_generator_without_parameters(resource: Callable[..., Any], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        App("shop", resources=[resource])


def test_an_invariant_is_a_query_with_a_name_of_its_own() -> None:
    app = App("shop")
    with pytest.raises(DeclarationError, match="is a SELECT that returns one row for each violation"):
        app.invariant("emptied", "DELETE FROM stock")
    app.invariant("no debts", "select 1 where 0")
    app.invariant("no debts at all", "WITH t AS (SELECT 1) SELECT * FROM t WHERE 0")
    with pytest.raises(DeclarationError, match="has an invariant called 'no debts' already"):
        app.invariant("no debts", "SELECT 1")


class Rates:
    """What a resource may yield."""


async def rates() -> AsyncIterator[Rates]:
    yield Rates()


async def unsaid():  # type: ignore[no-untyped-def]
    yield Rates()


async def convert(placed: Placed, rates: Rates) -> None: ...


async def convert_by_name(placed: Placed, table: Annotated[Any, "unsaid"]) -> None: ...


@pytest.mark.parametrize(
    ("resources", "has"), [([], "none"), ([unsaid], "'unsaid'"), ([asks_nothing], "'asks_nothing', int")]
)
def test_a_parameter_that_no_resource_fills_is_told_before_anything_is_opened(
    resources: list[Any], has: str, database_path: Path
) -> None:
    app = App("shop", store=f"sqlite:///{database_path}", resources=resources)
    app.on(Placed)(convert)
    sentence = rf"'convert' asks for 'rates' \(Rates\), which no resource of the App gives \(it has: {has}\)\. Add .*"
    with pytest.raises(DeclarationError, match=sentence + r"AsyncIterator\[Rates\], to App\(resources="):
        _ = app.plan
    with pytest.raises(DeclarationError, match=sentence):
        asyncio.run(app.publish(Placed(n=1)))
    assert not database_path.exists()


def test_parameters_are_filled_by_the_type_or_by_the_name_of_a_resource() -> None:
    app = App("shop", resources=[rates, unsaid])
    app.on(Placed)(convert)
    app.on(Placed)(convert_by_name)
    assert [handler.name for handler in app.plan.handlers] == ["convert", "convert_by_name"]
