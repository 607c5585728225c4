"""Time as the machine has it."""

import asyncio
import time


class SystemClock:
    """`Clock` on the system's own."""

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
