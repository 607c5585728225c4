"""The storefront's site: a page, its data, its live stream, and the buttons behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from onward.blueprints.shop.web.control import ServiceControl
from onward.blueprints.shop.web.desk import Desk
from onward.blueprints.shop.web.forms import basket_of
from onward.blueprints.shop.web.guard import Guard
from onward.blueprints.shop.web.live import Live, TooManyPages
from onward.blueprints.shop.web.views import catalogue_view
from onward.errors import OnwardError

STATIC = Path(str(files("onward.blueprints.shop"))) / "static"
MAX_LAG = 20_000
_CSRF_PLACE = "{{csrf}}"


class Site:
    """The site as an ASGI app in `app`; `close` ends its live streams so that a server can stop at once."""

    def __init__(self, desk: Desk, control: ServiceControl) -> None:
        self._desk = desk
        self._control = control
        self._live = Live(desk, control)
        self._page = (STATIC / "index.html").read_text(encoding="utf-8")
        self.app = Starlette(
            routes=[
                Route("/", self._show_page),
                Route("/api/catalogue", self._show_catalogue),
                Route("/api/live", self._stream),
                Route("/api/orders", self._answering(self._order), methods=["POST"]),
                Route("/api/rush", self._answering(self._rush), methods=["POST"]),
                Route("/api/deliveries", self._answering(self._restock), methods=["POST"]),
                Route("/api/services/{name}/{verb}", self._answering(self._turn), methods=["POST"]),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            middleware=[Middleware(Guard)],
            lifespan=self._watching,
        )

    def close(self) -> None:
        self._live.close()

    @contextlib.asynccontextmanager
    async def _watching(self, _: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(self._live.watch())
        try:
            yield
        finally:
            self._live.close()
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch

    def _answering(self, act: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The same action, with what went wrong below told to the page as a sentence."""

        async def answer(request: Request) -> Response:
            try:
                return await act(request)
            except OnwardError as error:
                return JSONResponse({"error": str(error)}, 503)

        return answer

    async def _show_page(self, request: Request) -> Response:
        return HTMLResponse(self._page.replace(_CSRF_PLACE, request.state.csrf))

    async def _show_catalogue(self, _: Request) -> Response:
        return JSONResponse(catalogue_view(await self._desk.levels()))

    async def _stream(self, _: Request) -> Response:
        stream = self._live.stream()
        try:
            first = await anext(stream)
        except TooManyPages:
            return JSONResponse({"error": "Too many pages of the shop are open; close some."}, 503)

        async def whole() -> AsyncIterator[bytes]:
            async with contextlib.aclosing(stream):
                yield first
                async for part in stream:
                    yield part

        return StreamingResponse(whole(), media_type="text/event-stream")

    async def _order(self, request: Request) -> Response:
        basket = basket_of(await request.body())
        if isinstance(basket, str):
            return JSONResponse({"error": basket}, 422)
        return JSONResponse({"order_id": await self._desk.place(basket)}, 201)

    async def _rush(self, _: Request) -> Response:
        if any(service.lag > MAX_LAG for service in await self._control.snapshot()):
            sentence = f"A service is over {MAX_LAG:,} events behind; let it catch up first."
            return JSONResponse({"error": sentence}, 429)
        return JSONResponse({"orders": await self._desk.rush()}, 202)

    async def _restock(self, _: Request) -> Response:
        await self._desk.restock()
        return JSONResponse({}, 202)

    async def _turn(self, request: Request) -> Response:
        verbs = {"stop": self._control.stop, "start": self._control.start}
        name, verb = request.path_params["name"], request.path_params["verb"]
        if verb not in verbs:
            return JSONResponse({"error": "A service can be stopped or started."}, 404)
        try:
            await verbs[verb](name)
        except KeyError:
            return JSONResponse({"error": f"There is no service {name[:40]!r} here."}, 404)
        return JSONResponse({}, 202)
