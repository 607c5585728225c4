"""Says on standard error what takes long."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

PATIENCE_S = 2.0


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Says what is being done; on a terminal, after two seconds, also for how long."""
    began = monotonic()
    sys.stderr.write(f"{what} ...\n")
    done = threading.Event()
    clock = threading.Thread(target=_tick, args=(began, done), daemon=True)
    if sys.stderr.isatty():
        clock.start()
    try:
        yield
    finally:
        done.set()
        if clock.is_alive():
            clock.join()


def _tick(began: float, done: threading.Event) -> None:
    if done.wait(PATIENCE_S):
        return
    while not done.wait(1):
        sys.stderr.write(f"\r\033[K  {monotonic() - began:.0f} s")
        sys.stderr.flush()
    sys.stderr.write("\r\033[K")
    sys.stderr.flush()
