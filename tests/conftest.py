"""What every test may rely on: its needs are met or said to be absent, and no test leaves anything behind."""

import asyncio
import os
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.absent import IN_CI, absent

pytest_plugins = ["tests.servers"]

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ON_MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
SETTINGS_OF_THE_TESTS = {"ONWARD_TEST_DATA", "ONWARD_TEST_CHROMIUM"}
EXIT_GRACE_S = 2.0

settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("dev"), derandomize=True, max_examples=400, print_blob=True, database=None
)
settings.load_profile("ci" if IN_CI else "dev")


def find_chromium() -> str | None:
    """The browser to drive: the one `ONWARD_TEST_CHROMIUM` names, else the first one installed."""
    named = os.environ.get("ONWARD_TEST_CHROMIUM")
    if named:
        return shutil.which(named)
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return found or next((path for path in CHROMIUM_ON_MACOS if Path(path).exists()), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("requires_chromium") is not None and find_chromium() is None:
        absent("No Chromium was found; install one or name it in ONWARD_TEST_CHROMIUM.")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The executable of a real Chromium, to be driven headless."""
    path = find_chromium()
    if path is None:
        absent("No Chromium was found; install one or name it in ONWARD_TEST_CHROMIUM.")
    return path


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    """Where a test's own database goes; nothing is there yet."""
    return tmp_path / "onward.db"


@pytest.fixture(scope="session")
def orders_csv() -> Path:
    """The real orders, outside of the checkout."""
    folders = [ROOT.parent / "shared" / "data"]
    if "ONWARD_TEST_DATA" in os.environ:
        folders.append(Path(os.environ["ONWARD_TEST_DATA"]))
    path = next(filter(Path.is_file, (folder / "online-retail.csv.gz" for folder in folders)), None)
    if path is None:
        absent("online-retail.csv.gz is not there; name its folder in ONWARD_TEST_DATA.")
    return path


@pytest.fixture(autouse=True)
def no_setting_comes_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ONWARD_ settings must not decide a test."""
    for name in os.environ:
        if name.startswith("ONWARD_") and name not in SETTINGS_OF_THE_TESTS:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_child_outlives_its_test() -> Iterator[None]:
    """Fails a test that leaves a running child process, and ends that child.

    Children of wider fixtures (a browser's driver) are older than this fixture and are let be.
    """
    before = _children()
    yield
    left = [pid for pid in _children() - before if not _ends_soon(pid)]
    names = [_command_line(pid) for pid in left]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"the test left child processes running: {names}"


@pytest.fixture(autouse=True)
def no_task_outlives_its_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test whose event loop ends with tasks that nobody awaited or cancelled."""
    left: list[str] = []
    cancel_all = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def note_then_cancel(loop: asyncio.AbstractEventLoop) -> None:
        left.extend(repr(task) for task in asyncio.all_tasks(loop))
        cancel_all(loop)

    # asyncio.run cancels what is left without a word, and this is the one place where it can be seen.
    monkeypatch.setattr(asyncio.runners, "_cancel_all_tasks", note_then_cancel)
    yield
    assert not left, f"the test left asyncio tasks behind: {left}"


def _children() -> set[int]:
    """Process ids of this process's children; empty where the system has no /proc to tell."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, listing.read_text().split()))
        except FileNotFoundError:  # the thread ended while we looked
            continue
    return {pid for pid in found if "multiprocessing.resource_tracker" not in _command_line(pid)}


def _ends_soon(pid: int) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], EXIT_GRACE_S)[0])
    finally:
        os.close(process)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        return ""
