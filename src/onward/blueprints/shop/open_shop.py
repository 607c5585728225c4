"""The interactive shop: three services under a supervisor, and the storefront with its site in this process."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn

from onward.blueprints.shop import storefront
from onward.blueprints.shop.front_desk import FrontDesk
from onward.blueprints.shop.supervised import TARGETS, SupervisedServices
from onward.blueprints.shop.web.site import Site
from onward.errors import InfrastructureError
from onward.runtime.outlook import Lookout
from onward.runtime.supervisor import ServiceState, Supervisor

DEFAULT_PORT = 8765
CONNECTIONS = 64
KEEP_ALIVE_S = 5
REQUEST_HEAD_BYTES = 16 * 1024
LAST_ANSWERS_S = 3
LOOK_S = 0.05
OPENING_LOOKS = 300


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to the shop, which has more to end than the server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def keep_open(port: int | None, opened: Callable[[str], None]) -> tuple[list[ServiceState], bool]:
    """Keep the shop open until SIGINT or SIGTERM; `opened` hears its address.

    Returns how the services ended, and whether all work in flight was finished. Without a port: 8765, or any that is
    free. Raises what is wrong with the file, the port or a service.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(TARGETS)
    supervisor.failure.add_done_callback(lambda _: stop.set())
    with contextlib.closing(listening(port)) as listener:
        async with storefront.app.lifespan():
            desk = FrontDesk()
            await desk.open_shelves()
            where = storefront.app.settings
            lookout = Lookout(where.store, where.broker)
            try:
                await supervisor.start()
                site = Site(desk, SupervisedServices(supervisor, lookout))
                await _shelved(desk, stop)
                async with _served(site, listener, stop):
                    host, actual = listener.getsockname()
                    opened(f"http://{host}:{actual}")
                    await stop.wait()
                if supervisor.failure.done():
                    supervisor.failure.result()
            finally:
                finished = await supervisor.stop_all()
    return supervisor.states(), finished


async def _shelved(desk: FrontDesk, stop: asyncio.Event) -> None:
    """Until the opening stock is on the shelves: a customer who is let in earlier finds everything sold out.

    Gives up after 15 seconds, since the page itself shows what is wrong.
    """
    for _ in range(OPENING_LOOKS):
        if await desk.levels():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await stop.wait()
                return


@contextlib.asynccontextmanager
async def _served(site: Site, listener: socket.socket, ended: asyncio.Event) -> AsyncIterator[None]:
    config = uvicorn.Config(
        site.app,
        log_level="warning",
        access_log=False,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=REQUEST_HEAD_BYTES,
        timeout_graceful_shutdown=LAST_ANSWERS_S,
        server_header=False,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    serving.add_done_callback(lambda _: ended.set())
    try:
        yield
    finally:
        site.close()
        server.should_exit = True
        await serving


def listening(port: int | None) -> socket.socket:
    """A socket on loopback. Raises InfrastructureError when a port that was asked for is taken."""
    for candidate in (DEFAULT_PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen()  # so that the address can be told before the server has started
        except OSError as error:
            listener.close()
            if candidate == 0 or port is not None:
                raise InfrastructureError(
                    f"The shop can't open at 127.0.0.1:{candidate} ({error.strerror}): choose another --port, or 0"
                    " for any that is free."
                ) from error
        else:
            return listener
    raise AssertionError("the last candidate is bound or raises")
