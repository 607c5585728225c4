"""An app inside of a web framework, with its lifespan there: it publishes over HTTP and leaves handling to others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from onward import App, Event, Transaction
from tests.integration.services import handle

PATIENCE_S = 20.0
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (order_id TEXT NOT NULL)"


class Ordered(Event, type="web.ordered", topic="web.orders", key="order_id"):
    order_id: str


def shop(path: Path) -> App:
    app = App("shop", store=f"sqlite:///{path}", schema=SCHEMA)

    @app.on(Ordered)
    async def book(ordered: Ordered, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect VALUES (:order_id)", order_id=ordered.order_id)

    return app


@asynccontextmanager
async def serving(web: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    server = uvicorn.Server(uvicorn.Config(web, host="127.0.0.1", port=0, lifespan="on", log_level="warning"))
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started and not task.done():
                await asyncio.sleep(0.005)
        (port,) = {sock.getsockname()[1] for each in server.servers for sock in each.sockets}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield client
    finally:
        server.should_exit = True
        await task


def test_a_web_app_whose_lifespan_is_the_apps_handles_what_it_publishes(database_path: Path) -> None:
    app, handled = App("shop", store=f"sqlite:///{database_path}"), asyncio.Queue[str]()

    @app.on(Ordered)
    async def book(ordered: Ordered, tx: Transaction) -> None:
        handled.put_nowait(ordered.order_id)

    async def order(request: Request) -> Response:
        await app.publish(Ordered(order_id=request.path_params["order_id"]))
        return Response(await asyncio.wait_for(handled.get(), PATIENCE_S))

    web = Starlette(routes=[Route("/orders/{order_id}", order, methods=["POST"])], lifespan=app.lifespan)

    async def scenario() -> None:
        async with serving(web) as client:
            assert (await client.post("/orders/one")).text == "one"
        assert app._engine is None, "the lifespan's end closes what it opened"

    asyncio.run(scenario())


def test_a_web_app_publishes_over_http_and_holds_no_partition(database_path: Path) -> None:
    app = shop(database_path)

    async def order(request: Request) -> Response:
        await app.publish(Ordered(order_id=request.path_params["order_id"]))
        seen = (await app.read("SELECT (SELECT count(*) FROM effect), (SELECT count(*) FROM onward_lease)")).rows
        return JSONResponse(dict(zip(("handled", "held"), seen[0], strict=True)), 202)

    routes = [Route("/orders/{order_id}", order, methods=["POST"])]
    web = Starlette(routes=routes, lifespan=partial(app.lifespan, consume=False))

    async def scenario() -> None:
        async with serving(web) as client:
            answers = await asyncio.gather(*(client.post(f"/orders/{n}") for n in range(20)))
            assert {answer.status_code for answer in answers} == {202}
            assert [answer.json() for answer in answers] == [{"handled": 0, "held": 0}] * 20
            await handle(shop(database_path))
            assert (await client.post("/orders/last")).json()["handled"] == 20
        assert app._engine is None, "the lifespan's end closes what it opened"

    asyncio.run(scenario())
