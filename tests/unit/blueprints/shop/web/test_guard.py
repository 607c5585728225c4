"""The guard lets the page's own requests through, and nothing else."""

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message, Receive, Scope, Send

from onward.blueprints.shop.web import guard
from onward.blueprints.shop.web.guard import BODY_BYTES, Guard
from tests.unit.blueprints.shop.web.fakes import FakeDesk, FakeServices
from tests.unit.blueprints.shop.web.visitor import ORDER, visiting


def test_the_page_may_run_its_own_scripts_and_nothing_inline(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            page = await visitor.client.get("/")
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert page.headers["x-content-type-options"] == "nosniff"
            assert "<script>" not in page.text
            assert " style=" not in page.text
            assert "http://" not in page.text
            assert "https://" not in page.text

    asyncio.run(visit())


def test_the_token_is_in_the_page_and_in_a_cookie_that_scripts_cannot_read(
    desk: FakeDesk, services: FakeServices
) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            assert visitor.client.cookies["shop_csrf"] == visitor.token
            visitor.client.cookies.clear()
            page = await visitor.client.get("/")
            assert page.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")

    asyncio.run(visit())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"origin": "http://127.0.0.1:8765"}, 201),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"x-csrf-token": "another-token-of-some-length"}, 403),
        ({"x-csrf-token": ""}, 403),
        ({"host": "evil.example:8765"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost:8765"}, 201),
        ({"host": "[::1]:8765"}, 201),
    ],
)
def test_only_the_pages_own_requests_change_anything(
    desk: FakeDesk, services: FakeServices, headers: dict[str, str], status: int
) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            answer = await visitor.post("/api/orders", ORDER, **headers)
            assert answer.status_code == status
            assert len(desk.orders) == (1 if status == 201 else 0)
            assert "content-security-policy" in answer.headers

    asyncio.run(visit())


def test_a_request_without_the_cookie_is_refused_whatever_its_header_says(
    desk: FakeDesk, services: FakeServices
) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            visitor.client.cookies.clear()
            answer = await visitor.post("/api/orders", ORDER)
            assert answer.status_code == 403
            assert "Load it again" in answer.json()["error"]

    asyncio.run(visit())


def test_a_forged_cookie_never_reaches_the_page(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            visitor.client.cookies.clear()
            forged = 'shop_csrf="\\"><script>alert(1)</script>"'
            page = await visitor.client.get("/", headers={"cookie": forged})
            assert "alert(1)" not in page.text
            assert "set-cookie" in page.headers

    asyncio.run(visit())


def answer_to(messages: Iterable[Message]) -> list[Message]:
    """What the guard answers to a page's request that arrives in these parts and then stays silent."""
    sent: list[Message] = []
    parts = iter(messages)

    async def inner(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("the request must not get through")

    async def receive() -> Message:
        for message in parts:
            return message
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def send(message: Message) -> None:
        sent.append(message)

    token = "t" * 32
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [
            (b"host", b"localhost"),
            (b"cookie", f"shop_csrf={token}".encode()),
            (b"x-csrf-token", token.encode()),
        ],
    }
    asyncio.run(Guard(inner)(scope, receive, send))
    return sent


def test_a_large_body_is_refused_before_it_is_read_to_its_end() -> None:
    parts: list[Message] = [{"type": "http.request", "body": b"x" * 1024, "more_body": True}] * 1000
    arriving = iter(parts)
    answer = answer_to(arriving)
    assert answer[0]["status"] == 413
    assert len(list(arriving)) == 1000 - BODY_BYTES // 1024 - 1


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.01)
    assert answer_to([])[0]["status"] == 413
