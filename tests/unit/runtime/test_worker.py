import subprocess
import sys

import pytest

ENDS = """
import atexit, logging, sys, threading
from onward.runtime.worker import run_to_end

async def work():
    {work}

logging.basicConfig(stream=sys.stderr)
atexit.register(print, "an exit hook ran")
threading.Thread(target=threading.Event().wait).start()  # an interpreter that ends properly waits for it
sys.exit(run_to_end(work()))
"""


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("raise SystemExit(0)", "SystemExit ended the event loop"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt ended the event loop"),
        ("raise ValueError('odd')", "ValueError: odd"),
    ],
)
def test_what_a_worker_raises_ends_its_process_at_once(work: str, said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS.format(work=work)], capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 1
    assert said in ended.stderr
    assert ended.stdout == ""


def test_an_unfinished_drain_ends_its_process_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDS.format(work="return 3")], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout) == (3, "")
