"""The project that `onward new` writes runs and passes its test as it is."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from onward.cli import main

PATIENCE_S = 30.0
SRC = Path(__file__).resolve().parents[2] / "src"


def child(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_new_project_passes_its_test_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(main, ["new", "hello-world"])
    assert made.exit_code == 0
    folder = tmp_path / "hello-world"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "hello_world.py",
        "pyproject.toml",
        "test_hello_world.py",
    ]
    tested = child(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr
    described = child(folder, "-c", "from onward.cli import main; main(['describe', 'hello_world', '--json'])")
    assert json.loads(described.stdout)[0]["service"] == "hello_world"


def test_a_folder_that_is_there_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    result = CliRunner().invoke(main, ["new", "mine"])
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("name", ["json", "test", "Asyncio", "msgspec", "apsw", "click", "pytest"])
def test_a_name_that_python_or_a_library_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["new", name])
    assert result.exit_code == 1
    assert f"its module {name.lower()}.py would be imported wherever" in result.stderr
    assert f"such as my-{name}." in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["1st", "class", "onward", "a b", "x" * 41])
def test_a_name_that_can_be_no_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", name]).exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_new_project_runs_and_does_what_its_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "bin" / "onward"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onward "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(SRC))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", "greeter"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "greeter")
    said = [line.strip() for line in Path("README.md").read_text().splitlines() if line.startswith("    ")]
    run, publish, tail, status, audit = (line.partition("#")[0].strip() for line in said[1:])
    with subprocess.Popen(["sh", "-c", f"exec {run}"], stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            health = service.stdout.readline().strip().partition("health: ")[2]
            until(lambda: httpx.get(health).status_code == 200)
            assert shell(publish) == "1 event published to signups.\n"
            until(lambda: "Welcome, Ada!" in shell(tail))
            assert "greeter" in shell(status)
            assert "Balanced: 2 events" in shell(audit)
        finally:
            service.send_signal(signal.SIGINT)
        drained = service.stdout.read()
    assert service.returncode == 0
    assert "greeter: 1 handled, 0 dead letters" in drained


def shell(line: str) -> str:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout


def until(condition: Callable[[], bool]) -> None:
    """Other processes have no event to wait for."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
