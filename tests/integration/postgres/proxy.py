"""Between a client and a server: it passes everything on, until it loses a COMMIT or the answer to one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 1 << 16
_PREPARED = re.compile(rb"(onward_\w+)\0([^\0]+)\0")


class Proxy:
    """Passes everything on. `port` is its own, on loopback.

    After `lose` it cuts one connection, at the COMMIT of a transaction that said `sql`: the server gets that COMMIT if
    it is to be `kept`, and the client never learns of it. Where it is `early` the client loses its connection at once,
    whatever the server still does with it. After `hold_back` it keeps the answer to that COMMIT, which is
    `held_back` then, until `go_on` is set.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._sql = b""
        self._kept = False
        self._early = False
        self._holds = self._holding = False
        self.held_back = asyncio.Event()
        self.go_on = asyncio.Event()
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self.port = 0
        self.cut = 0
        """Connections that it has cut."""

    def lose(self, sql: str, *, kept: bool, early: bool = False) -> None:
        self._sql, self._kept, self._early = sql.encode(), kept, early

    def hold_back(self, sql: str) -> None:
        self._sql, self._holds = sql.encode(), True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for to_client in self._open:
                to_client.close()
            await asyncio.gather(*filter(None, self._open.values()))

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._open[to_client] = asyncio.current_task()
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        back = asyncio.create_task(self._pass_on(server, to_client))
        lost = await self._until_it_is_lost(client, to_server)
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        if lost and self._kept:
            if self._early:
                to_client.close()
            to_server.write(lost)
            await server.read(CHUNK_BYTES)  # its answer: from here on it holds
        for writer in (to_server, to_client):
            writer.close()
        del self._open[to_client]

    async def _until_it_is_lost(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> bytes:
        said, prepared = False, dict[bytes, bytes]()
        while sent := await client.read(CHUNK_BYTES):
            prepared |= dict(_PREPARED.findall(sent))
            texts = [sent, *(text + b"\0" for name, text in prepared.items() if b"\0" + name + b"\0" in sent)]
            said = said or bool(self._sql and any(self._sql in text for text in texts))
            if said and any(b"COMMIT\0" in text for text in texts):  # and not READ COMMITTED
                self._sql, said = b"", False
                if not self._holds:
                    self.cut += 1
                    return sent
                self._holding = True
            to_server.write(sent)
            await to_server.drain()
        return b""

    async def _pass_on(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while sent := await server.read(CHUNK_BYTES):
            if self._holding:
                self._holding = False
                self.held_back.set()
                await self.go_on.wait()
            to_client.write(sent)
            await to_client.drain()
        to_client.close()
