"""An examination of this machine and one file: each finding says what is so and how to mend it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw

from onward.errors import OnwardError
from onward.inspection.accounts import Subscribed
from onward.inspection.ends import ask_if_answered, with_ends
from onward.inspection.finding import Finding, dead_letters, extras, nobody_runs, outbox, python, waiting_for_code
from onward.inspection.view import LogsView
from onward.policy import AWAITS_CODE
from onward.sqlite.accounts import subscriptions
from onward.sqlite.connection import OLDEST_SQLITE
from onward.sqlite.inspection import Inspection, count_of, run_folder_of
from onward.sqlite.leaving import outboxes
from onward.sqlite.members import Member, Members

LEAST_FREE_BYTES = 1 << 28

_AWAITS_CODE = (
    "SELECT subscription, error, count(DISTINCT partition || ' ' || offset) FROM onward_attempt WHERE error LIKE ?"
    " GROUP BY subscription, error ORDER BY subscription, error"
)


def examine(path: Path, logs: LogsView | None = None) -> list[Finding]:
    """Everything that can be looked at without changing anything; never raises for what is wrong."""
    found = [python(), _sqlite(), extras(), *_sockets(), *_disk(path)]
    if not path.exists():
        found.append(Finding("file", True, f"{path} is not there yet; the first service or publisher makes it."))
        return found
    try:
        inspection = Inspection.open(path)
    except OnwardError as error:
        return [*found, Finding("file", False, str(error), "Mend what the sentence names, then look again.")]
    try:
        found += _file(path, inspection)
        subscribed = subscriptions(inspection)
        found += _processes(path, subscribed, logs)
        found += waiting_for_code(subscribed, inspection.rows(_AWAITS_CODE, f"{AWAITS_CODE}%"))
        found += map(outbox, outboxes(inspection))
        if logs is not None:
            found += logs.examine(sorted({each.topic for each in subscribed if each.elsewhere}))
    except OnwardError as error:
        found.append(Finding("file", False, str(error), "Keep a copy of the file, then restore a backup."))
    finally:
        inspection.close()
    return found


def _sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    fine = tuple(map(int, version.split("."))) >= OLDEST_SQLITE
    oldest = ".".join(map(str, OLDEST_SQLITE))
    return Finding(
        "sqlite", fine, version, "" if fine else f"Run `pip install --upgrade apsw`: {oldest} is the oldest."
    )


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
    yield dead_letters(dead)


def _processes(path: Path, subscribed: list[Subscribed], logs: LogsView | None) -> Iterator[Finding]:
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
    completed = with_ends(subscribed, ask_if_answered(logs, subscribed))
    yield from (nobody_runs(each) for each in completed if each.group not in groups and each.lag)


def _pids(members: list[Member]) -> str:
    return f" (pid {', '.join(str(member.pid) for member in members)})" if members else ""
