"""`onward run` as a program: what it prints, its exit codes, and starting again when code changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from time import monotonic

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
SERVICE = """
import os, time
from onward import App, Event, Transaction

class Rung(Event, type="bell.rung", topic="bells"):
    n: int

app = App("bell", schema="CREATE TABLE IF NOT EXISTS effect (n INTEGER)")
twin = App("bell")

@app.on(Rung)
async def hear(rung: Rung, tx: Transaction) -> None:
    await tx.execute("INSERT INTO effect (n) VALUES (:n)", n=rung.n)
    if rung.n < 0:
        time.sleep(30)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program runs, with one service in it."""
    (tmp_path / "bell.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    return tmp_path


def onward(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "onward", *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "onward", "run", "bell:app", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """What a program printed, as soon as that is among it."""
    printed, end = b"", monotonic() + PATIENCE_S
    while wanted not in printed:
        assert select([descriptor], [], [], max(0.0, end - monotonic()))[0], f"{wanted!r} is not in {printed!r}"
        more = os.read(descriptor, 1 << 16)
        assert more, f"it ended, and {wanted!r} is not in {printed!r}"
        printed += more
    return printed


def test_a_drain_says_what_was_handled_and_exits_with_0() -> None:
    with running() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(read_until(process.stdout.fileno(), b"\n"))
        assert first["running"] == ["bell"]
        assert first["health"].startswith("http://127.0.0.1:")
        assert httpx.get(f"{first['health']}/live").status_code == 200
        process.terminate()
        printed, _ = process.communicate(timeout=PATIENCE_S)
        lines = [json.loads(line) for line in printed.splitlines()]
        assert {"service": "bell", "handled": 0, "dead": 0, "restarts": 0} in lines
        assert lines[-1]["drained"] is True
        assert process.returncode == 0


def test_work_that_does_not_end_within_the_drain_exits_with_3(folder: Path) -> None:
    with running("--drain-s", "0.2", "--hang-s", "60") as process:
        assert process.stdout is not None
        health = json.loads(read_until(process.stdout.fileno(), b"\n"))["health"]
        published = onward("publish", "--type", "bell.rung", "bells", given='{"n": -1}\n')
        assert published.returncode == 0, published.stderr
        end = monotonic() + PATIENCE_S
        while "has not turned" not in httpx.get(f"{health}/ready").text:
            assert monotonic() < end, "the handler never blocked its event loop"
        process.terminate()
        printed, _ = process.communicate(timeout=PATIENCE_S)
        assert json.loads(printed.splitlines()[-1])["drained"] is False
        assert process.returncode == 3


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("nowhere:app", "There is no module 'nowhere'"),
        ("bell:none", "has no 'none'; it has app, twin"),
        ("bell:Rung", "is a EventMeta, not an App"),
    ],
)
def test_a_bad_target_exits_with_1_and_a_sentence(target: str, sentence: str) -> None:
    done = onward("run", target)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_can_not_be_used_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_STORE", "mysql://x")
    done = onward("run", "bell:app")
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("onward: The store is set to an address of kind 'mysql', and this version of onward")
    assert "write sqlite:///./onward.db" in sentence


@pytest.mark.parametrize("command", ["describe", "run"])
def test_a_parameter_that_no_resource_fills_is_told_by_a_command_that_opens_nothing(folder: Path, command: str) -> None:
    (folder / "bell.py").write_text(SERVICE.replace("tx: Transaction", "tx: Transaction, sound: float"))
    done = onward(command, "bell:app")
    assert done.returncode == 1
    assert "Handler 'hear' asks for 'sound' (float), which no resource of the App gives" in done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["bell.py"]


def test_one_service_named_twice_is_refused_with_a_sentence() -> None:
    done = onward("run", "bell:app", "bell:twin")
    assert done.returncode == 1
    assert "'bell' is named by more than one target" in done.stderr


@pytest.mark.parametrize("arguments", [("--workers", "0"), ("--drain-s", "-1"), ("--health-port", "70000")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, str]) -> None:
    assert onward("run", "bell:app", *arguments).returncode == 2


def test_changed_code_runs_without_a_new_start(folder: Path) -> None:
    with running("--reload") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        health = json.loads(read_until(process.stdout.fileno(), b"\n"))["health"]
        end = monotonic() + PATIENCE_S
        while httpx.get(f"{health}/ready").status_code != 200:
            assert monotonic() < end, "it never became ready"
        (folder / "bell.py").write_text(SERVICE + "\nprint('the bell was changed', flush=True)\n")
        read_until(process.stdout.fileno(), b"the bell was changed")
