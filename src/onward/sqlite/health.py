"""An examination of this machine and one file: each finding says what is so and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import apsw

from onward.errors import OnwardError
from onward.sqlite.accounts import Subscribed, subscriptions
from onward.sqlite.connection import OLDEST_SQLITE
from onward.sqlite.inspection import Inspection, count_of, run_folder_of
from onward.sqlite.members import Member, Members

OLDEST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 1 << 28
EXTRAS = {
    "metrics": "prometheus_client",
    "tracing": "opentelemetry",
    "pydantic": "pydantic",
    "reload": "watchfiles",
    "demo": "starlette",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` says what to do where it is not fine."""

    subject: str
    fine: bool
    sentence: str
    remedy: str = ""


def examine(path: Path) -> list[Finding]:
    """Everything that can be looked at without changing anything; never raises for what is wrong."""
    found = [_python(), _sqlite(), _extras(), *_sockets(), *_disk(path)]
    if not path.exists():
        found.append(Finding("file", True, f"{path} is not there yet; the first service or publisher makes it."))
        return found
    try:
        inspection = Inspection.open(path)
    except OnwardError as error:
        return [*found, Finding("file", False, str(error), "Mend what the sentence names, then look again.")]
    try:
        found += _file(path, inspection)
        found += _processes(path, inspection)
    except OnwardError as error:
        found.append(Finding("file", False, str(error), "Keep a copy of the file, then restore a backup."))
    finally:
        inspection.close()
    return found


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= OLDEST_PYTHON
    return Finding("python", fine, version, "" if fine else "Install Python 3.11 or newer.")


def _sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    fine = tuple(map(int, version.split("."))) >= OLDEST_SQLITE
    oldest = ".".join(map(str, OLDEST_SQLITE))
    return Finding(
        "sqlite", fine, version, "" if fine else f"Run `pip install --upgrade apsw`: {oldest} is the oldest."
    )


def _extras() -> Finding:
    missing = [name for name, module in EXTRAS.items() if find_spec(module) is None]
    if not missing:
        return Finding("extras", True, "all are installed")
    return Finding("extras", True, f"not installed, if you want them: pip install 'onward[{','.join(missing)}]'")


def _sockets() -> Iterator[Finding]:
    folder = Path(tempfile.gettempdir())
    fine = os.access(folder, os.W_OK | os.X_OK)
    remedy = "" if fine else "Make it writable, or set TMPDIR: processes are woken through sockets there."
    yield Finding("sockets", fine, f"{folder} {'is' if fine else 'is not'} writable", remedy)


def _disk(path: Path) -> Iterator[Finding]:
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        yield Finding("folder", False, f"{folder} does not exist", "Create it, or name another file.")
        return
    writable = os.access(folder, os.W_OK | os.X_OK)
    yield Finding(
        "folder",
        writable,
        f"{folder} {'is' if writable else 'is not'} writable",
        "" if writable else "Give this user write access: the write-ahead log and the locks are kept beside the file.",
    )
    free = shutil.disk_usage(folder).free
    fine = free >= LEAST_FREE_BYTES
    yield Finding(
        "disk", fine, f"{free / 1e9:,.1f} GB free", "" if fine else "Free some space: a full disk refuses events."
    )


def _file(path: Path, inspection: Inspection) -> Iterator[Finding]:
    writable = os.access(path, os.W_OK)
    version = count_of(inspection.rows("SELECT max(version) FROM onward_schema"))
    yield Finding(
        "file",
        writable,
        f"{path} {'is' if writable else 'is not'} writable, schema version {version}",
        "" if writable else "Give this user write access to it.",
    )
    mode = str(inspection.rows("PRAGMA journal_mode")[0][0])
    yield Finding(
        "write-ahead log",
        mode == "wal",
        f"journal mode {mode}",
        "" if mode == "wal" else "Start a service once: it sets the mode. If it can't, put the file on a local disk.",
    )
    dead = count_of(
        inspection.rows("SELECT sum(state = 'dead') FROM onward_dead_letter WHERE state IN ('dead', 'retrying')")
    )
    yield Finding(
        "dead letters",
        not dead,
        f"{dead:,} wait for somebody",
        "See `onward dead-letters list`; then `onward dead-letters retry` or `discard`." if dead else "",
    )


def _processes(path: Path, inspection: Inspection) -> Iterator[Finding]:
    folder = run_folder_of(path)
    members = Members(folder) if (folder / "members").is_dir() else None
    running = members.running() if members is not None else []
    alive = {member.id for member in members.alive()} if members is not None else set()
    stale = [member for member in running if member.id not in alive]
    yield Finding(
        "processes",
        not stale,
        f"{len(alive)} alive, {len(stale)} running without a sign of life{_pids(stale)}",
        "Their event loops are blocked or stopped; look at what they do, and restart them." if stale else "",
    )
    groups = {group for member in running for group in member.groups}
    idle = [each for each in subscriptions(inspection) if each.group not in groups and _lag(each)]
    for each in idle:
        yield Finding(
            "subscription",
            False,
            f"nobody runs {each.title}, and {_lag(each):,} events wait for it; they are never pruned",
            f"Start service {each.service}, or retire it: `onward handlers retire {each.service}"
            f" {each.handlers[0].name if each.handlers else each.name}`.",
        )


def _lag(subscription: Subscribed) -> int:
    return sum(account.lag for account in subscription.accounts)


def _pids(members: list[Member]) -> str:
    return f" (pid {', '.join(str(member.pid) for member in members)})" if members else ""
