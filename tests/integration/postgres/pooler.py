"""Between a client and a server: it tells the client another process id than the server's, as poolers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

BACKEND_KEY = b"K\0\0\0\x0c"  # what follows is the process id that the server tells, four bytes
CHUNK_BYTES = 1 << 16


@asynccontextmanager
async def pooler(server_port: int) -> AsyncIterator[int]:
    """Its port, on loopback. Each client has a server's connection of its own."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        server, to_server = await asyncio.open_connection("127.0.0.1", server_port)
        back = asyncio.create_task(renaming(server, to_client))
        while sent := await client.read(CHUNK_BYTES):
            to_server.write(sent)
        to_server.close()
        await back
        to_client.close()

    async def renaming(server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        renamed = False
        while sent := await server.read(CHUNK_BYTES):
            before, key, after = sent.partition(BACKEND_KEY)
            if key and not renamed:
                sent, renamed = before + key + b"\0\0\0\1" + after[4:], True
            to_client.write(sent)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.gather(*serving)
