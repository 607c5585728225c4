"""A process of its own that nobody starts again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.integration.kills.stage import ROOT, Stage


@contextmanager
def alone(stage: Stage, code: str, argument: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `code`, which says what there is to say in the stage's log; kills it at the end if it is still there."""
    with (stage.folder / "run.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, argument], env=environment, cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
