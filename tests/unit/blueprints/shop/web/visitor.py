"""A browser of sorts: loads the page, and sends what a page sends."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from onward.blueprints.shop.web.site import Site
from tests.unit.blueprints.shop.web.fakes import FakeDesk, FakeServices

ADDRESS = "http://127.0.0.1:8765"
ORDER = {"customer": "Ada", "payment_method": "card-4242", "items": [{"sku": "OS-MUG", "quantity": 2}]}


class Visitor:
    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client = client
        self.token = token

    async def post(self, path: str, json: object = None, **headers: str) -> httpx.Response:
        sent = {"x-csrf-token": self.token, **headers}
        return await self.client.post(path, json={} if json is None else json, headers=sent)


@asynccontextmanager
async def visiting(desk: FakeDesk, services: FakeServices) -> AsyncIterator[Visitor]:
    """A visitor who has loaded the page."""
    transport = httpx.ASGITransport(app=Site(desk, services).app)
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
        page = await client.get("/")
        found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
        assert found is not None
        yield Visitor(client, found[1])
