"""Named places where a test may stop the world: `ONWARD_FAILPOINT=name` kills the process there, with SIGKILL.

`name:3` kills at the third time it is reached. `ONWARD_FAILPOINT_LOG=file` notes each name reached once, so that a
test can tell which were never hit. Without either, `reach` is an empty function.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable


def _nothing(_name: str) -> None:
    """No failpoint is set."""


def _armed(target: str, log: str | None) -> Callable[[str], None]:
    name, _, count = target.partition(":")
    deadly = int(count or 1)
    seen: Counter[str] = Counter()

    def reach(here: str) -> None:
        seen[here] += 1
        if log is not None and seen[here] == 1:
            with open(log, "a", encoding="utf-8") as file:
                file.write(here + "\n")
        if here == name and seen[here] == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


_target, _log = os.environ.get("ONWARD_FAILPOINT", ""), os.environ.get("ONWARD_FAILPOINT_LOG")
reach: Callable[[str], None] = _armed(_target, _log) if _target or _log else _nothing
