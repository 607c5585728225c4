"""Named places where a test may stop the world, with SIGKILL; without the settings below `reach` is an empty function.

ONWARD_FAILPOINT:     "batch.handled" kills there; "batch.handled:3" the third time; "a,b" first at a, and in a later
                      process at b. Each kills once, over all processes.
ONWARD_FAILPOINT_DIR: a folder for that count, and for `reached`, where each name reached is noted.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def _nothing(_name: str) -> None:
    """No failpoint is set."""


def _armed(targets: list[str], folder: Path) -> Callable[[str], None]:
    fired = sum(1 for _ in folder.glob("fired.*"))
    name, _, count = (targets[fired] if fired < len(targets) else "").partition(":")
    deadly = int(count or 1)
    seen: Counter[str] = Counter()

    def reach(here: str) -> None:
        seen[here] += 1
        if seen[here] == 1:
            with (folder / "reached").open("a", encoding="utf-8") as file:
                file.write(here + "\n")
        if here == name and seen[here] == deadly:
            try:
                (folder / f"fired.{fired}").touch(exist_ok=False)
            except FileExistsError:  # another process was first
                return
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


_folder = os.environ.get("ONWARD_FAILPOINT_DIR")
reach: Callable[[str], None] = (
    _armed([each for each in os.environ.get("ONWARD_FAILPOINT", "").split(",") if each], Path(_folder))
    if _folder
    else _nothing
)
