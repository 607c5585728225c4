"""Child processes that run a few lines of Python and tell how far they are by lines on their standard output."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT / "src"), str(ROOT)]


class Child:
    """A running child: `says` waits for its next line, `tell` sends it one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def says(self, line: str) -> None:
        said = self.answers()
        assert said == line, f"the child said {said!r} in place of {line!r}"

    def answers(self) -> str:
        """Its next line, whatever that is."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ends(self) -> None:
        assert self.process.wait(60) == 0


@contextmanager
def child(code: str, *arguments: object) -> Iterator[Child]:
    """Runs `code` with `arguments` in `sys.argv[1:]`; kills it at the end if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {PATHS!r}\n{code}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Child(process)
        finally:
            process.kill()
