"""Keeps server processes and their folder, and ends both when the process that asked for them is gone.

A run of the tests may be killed at any moment, and no server of it may stay behind. So servers are children of
this program: it sees the end of its standard input however its asker died. It takes and answers JSON, a line each
way, and is run by its path alone.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

END_GRACE_S = 10.0

Answer = dict[str, int | str | None]


class Keeper:
    """The processes of one asker."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[subprocess.Popen[bytes], int]] = {}

    def answer(self, request: dict[str, Any]) -> Answer:
        """Does what is asked; an error of the system is an answer too."""
        asked: dict[str, Callable[..., Answer]] = {"start": self.start, "end": self.end, "status": self.status}
        try:
            return asked[request.pop("do")](**request)
        except OSError as error:
            return {"error": str(error)}

    def start(self, command: list[str], log: str, user: str | None, end_signal: int) -> Answer:
        """Runs `command` as `user`, its output added to the file `log`; `end_signal` will end it with this keeper."""
        with Path(log).open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=Path(log).parent,
                user=user,
                group=None if user is None else pwd.getpwnam(user).pw_gid,
                extra_groups=None if user is None else [],
            )
        self._kept[process.pid] = (process, end_signal)
        return {"pid": process.pid}

    def end(self, pid: int, sent: int) -> Answer:
        """Sends a signal and returns when the process has ended; one that takes too long is killed."""
        process, _ = self._kept.pop(pid)
        process.send_signal(sent)
        try:
            process.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return {"status": process.returncode}

    def status(self, pid: int) -> Answer:
        """None while the process runs, or is not ours."""
        kept = self._kept.get(pid)
        return {"status": kept[0].poll() if kept else None}

    def close(self) -> None:
        """All at once: their data go too, so nobody has to write anything down."""
        for process, end_signal in self._kept.values():
            process.send_signal(end_signal)
            process.send_signal(signal.SIGCONT)  # the asker may have died while it had the server frozen
        for pid, (_, end_signal) in list(self._kept.items()):
            self.end(pid, end_signal)


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # told again, it would leave what it is about to end
    raise SystemExit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, _leave)
    keeper = Keeper()
    folder = Path(tempfile.mkdtemp(prefix="onward-servers-"))
    folder.chmod(0o711)  # a server that runs as another user has to get to its own folder in it
    _say({"folder": str(folder)})
    try:
        for line in sys.stdin:
            _say(keeper.answer(json.loads(line)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at exit
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        keeper.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
