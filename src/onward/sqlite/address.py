"""Where a process can be woken: a datagram socket in a private folder with a short name."""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "onward-"
_NAME = "wake"
_LONGEST_PATH_BYTES = 100  # 104 with the final zero is what macOS allows, Linux a little more


def bind_address() -> tuple[socket.socket, str]:
    """A non-blocking datagram socket and its path, in a new folder that only this user can enter.

    The run folder would be the natural place, but a socket's path may not be longer than about 100 bytes.
    """
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    if len(os.fsencode(folder)) + len(_NAME) + 1 > _LONGEST_PATH_BYTES:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp")
    path = str(Path(folder, _NAME))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.setblocking(False)
    listening.bind(path)
    return listening, path


def remove_address(path: str) -> None:
    """Removes the socket and its folder. Leaves alone what `bind_address` can't have made; safe to repeat."""
    file = Path(path)
    if file.name != _NAME or not file.parent.name.startswith(_PREFIX):
        return
    with suppress(OSError):
        if file.is_socket():
            file.unlink()
        file.parent.rmdir()
