"""The project that `onward new` writes runs and passes its test as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from onward.cli import main

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


@pytest.mark.parametrize("name", ["1st", "class", "onward", "a b", "x" * 41])
def test_a_name_that_can_be_no_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", name]).exit_code == 1
    assert list(tmp_path.iterdir()) == []
