"""Taking back the blame for a process that was ended on purpose."""

from __future__ import annotations

import asyncio

from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections

_FORGIVE = "UPDATE onward.account SET unclean = greatest(0, unclean - 1) WHERE owner = $1"


def forgive(url: str, member: str) -> None:
    """The end of this member is no unclean start of the partitions it held; those before it stay counted.

    Blocks: not for an event loop. Raises StoreError, after which its own stays counted too.
    """

    async def change() -> None:
        connections = Connections(Address.read(url))
        try:
            async with connections.transaction() as session:
                await session.run(_FORGIVE, (member,), "Taking back the blame for a process that was ended on purpose")
        finally:
            connections.close()

    asyncio.run(change())
