"""The site's answers, one address after the other."""

import asyncio
import re

import pytest

from onward.blueprints.shop.catalogue import PRODUCTS
from onward.blueprints.shop.web.site import MAX_LAG, STATIC, Site
from onward.errors import StoreFullError
from tests.unit.blueprints.shop.web.fakes import FakeDesk, FakeServices
from tests.unit.blueprints.shop.web.visitor import ORDER, visiting


def test_the_catalogue_has_prices_in_pence_and_stock_where_it_is_known(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            products = (await visitor.client.get("/api/catalogue")).json()["products"]
            assert len(products) == 12
            (mug,) = (product for product in products if product["sku"] == "OS-MUG")
            assert (mug["pence"], mug["free"]) == (1250, 3)
            assert {product["free"] for product in products} == {3, None}
            for product in products:
                picture = await visitor.client.get(product["picture"])
                assert picture.headers["content-type"].startswith("image/svg")

    asyncio.run(visit())


def test_an_order_is_taken_once_and_named(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            answer = await visitor.post("/api/orders", ORDER)
            assert (answer.status_code, answer.json()) == (201, {"order_id": "OS-1001"})
            assert list(desk.orders) == ["OS-1001"]

    asyncio.run(visit())


def test_a_wrong_order_is_a_sentence(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            answer = await visitor.post("/api/orders", {**ORDER, "items": []})
            assert (answer.status_code, answer.json()) == (422, {"error": "The basket is empty."})

    asyncio.run(visit())


@pytest.mark.parametrize("path", ["/api/orders", "/api/rush", "/api/deliveries"])
def test_what_fails_below_is_told_to_the_person(desk: FakeDesk, services: FakeServices, path: str) -> None:
    desk.broken = StoreFullError("The disk is full.")

    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            answer = await visitor.post(path, ORDER)
            assert (answer.status_code, answer.json()) == (503, {"error": "The disk is full."})

    asyncio.run(visit())


def test_a_service_is_stopped_and_started_by_name(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            assert (await visitor.post("/api/services/payment/stop")).status_code == 202
            assert services.running() == ["inventory", "shipping"]
            assert (await visitor.post("/api/services/payment/start")).status_code == 202
            assert services.running() == ["inventory", "payment", "shipping"]
            assert (await visitor.post("/api/services/mafia/stop")).status_code == 404
            assert (await visitor.post("/api/services/payment/kill")).status_code == 404

    asyncio.run(visit())


def test_a_crowd_is_let_in_only_while_the_services_keep_up(desk: FakeDesk, services: FakeServices) -> None:
    async def visit() -> None:
        async with visiting(desk, services) as visitor:
            assert (await visitor.post("/api/rush")).json() == {"orders": 250}
            services.lag("payment", MAX_LAG + 1)
            refused = await visitor.post("/api/rush")
            assert refused.status_code == 429
            assert desk.rushes == 1

    asyncio.run(visit())


def test_the_live_stream_begins_with_all_there_is(desk: FakeDesk, services: FakeServices) -> None:
    site = Site(desk, services)

    async def visit() -> bytes:
        parts: list[bytes] = []

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError("never")

        async def send(message: dict[str, object]) -> None:
            body = message.get("body")
            if isinstance(body, bytes):
                parts.append(body)
                site.close()

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/live",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        async with asyncio.timeout(5):
            await site.app(scope, receive, send)  # type: ignore[arg-type]
        return b"".join(parts)

    text = asyncio.run(visit()).decode()
    assert re.findall(r"^event: (\w+)$", text, re.MULTILINE) == ["levels", "services"]
    assert '"rate_per_s":12.3' in text


def test_every_static_file_the_page_names_is_there() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="/static/([^"]+)"', page))
    modules = [
        name for path in (STATIC / "js").iterdir() for name in re.findall(r'from "\./([^"]+)"', path.read_text())
    ]
    assert {"js/main.js", "css/frame.css"} <= named
    assert {name for name in named if not (STATIC / name).is_file()} == set()
    assert {f"js/{name}" for name in modules} | {"js/main.js"} == {
        f"js/{path.name}" for path in (STATIC / "js").iterdir()
    }
    assert {product.picture for product in PRODUCTS} == {
        f"products/{path.name}" for path in (STATIC / "products").iterdir()
    }
