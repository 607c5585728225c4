"""The run folder: where processes that share a file keep what must not be inside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from onward.errors import StoreError, StoreReadOnlyError

if sys.platform == "win32":
    raise StoreError(
        "onward's SQLite broker and store need POSIX file locks, which this system does not have: "
        "run it on Linux or macOS, or name another broker and store."
    )


def run_folder(database: str | Path) -> Path:
    """The folder `<file>-run` beside `database`, made private to this user when it is not there yet.

    It holds locks, members and nothing that must survive a restart. Symlinks are followed first, so that
    every name of one file leads to one folder. Raises `StoreError` where it can't be made.
    """
    file = Path(os.path.realpath(database))
    _check_parent(file)
    folder = file.with_name(file.name + "-run")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except PermissionError as error:
        raise StoreReadOnlyError(
            f"The folder {file.parent} can't be written by this user, and {file.name} keeps its log and "
            "locks there. Nothing was written; make the folder writable, or choose a file elsewhere.",
            path=str(file),
        ) from error
    except OSError as error:
        raise StoreError(
            f"The folder {folder} can't be made ({error.strerror}). Nothing was written; move what is in the way.",
            path=str(file),
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreReadOnlyError(
            f"The folder {folder} belongs to another user, so this process can't take its turn to write. "
            "Nothing was written; run as the user who owns it.",
            path=str(file),
        )
    return folder


def _check_parent(file: Path) -> None:
    if file.is_dir():
        raise StoreError(f"{file} is a folder, not a database: name a file in it.", path=str(file))
    if not file.parent.is_dir():
        raise StoreError(
            f"The folder {file.parent} does not exist, so {file.name} can't be opened or made there. "
            "Create the folder, or correct the path.",
            path=str(file),
        )
