"""The tutorial's code runs in an empty folder; the tests that documents name exist, and links lead somewhere."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onward
import onward.errors

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```python(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(page: Path, folder: Path) -> int:
    """Run the page's Python in order, each block a process of its own; how many ran."""
    blocks = FENCE.findall(page.read_text())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "src")])}
    for name, code in blocks:
        target = folder / (name or "block.py")
        target.write_text(code)
        done = subprocess.run(
            [sys.executable, str(target)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stderr}"
    return len(blocks)


def test_the_code_of_the_tutorial_runs_in_order_in_an_empty_folder(tmp_path: Path) -> None:
    assert run_page(ROOT / "docs" / "tutorial.md", tmp_path) == 4


def test_the_example_of_the_readme_declares_its_service(tmp_path: Path) -> None:
    assert run_page(ROOT / "README.md", tmp_path) == 1


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) >= 8
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []


def test_every_error_is_documented_and_every_documented_error_exists() -> None:
    errors = {
        name
        for name, value in vars(onward.errors).items()
        if isinstance(value, type) and issubclass(value, onward.errors.OnwardError)
    }
    documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    assert documented == errors


def test_every_public_name_is_in_the_reference_and_every_name_there_is_public() -> None:
    rows = re.findall(r"^\| `(\w+)", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(onward.__all__)


def test_every_call_in_the_reference_has_the_arguments_that_it_is_shown_with() -> None:
    owners = {"app.": onward.App, "tx.": onward.Transaction, "ctx.": onward.Context}
    checked = 0
    call = re.compile(r"(?:`|await |async with )(app\.|tx\.|ctx\.|)(\w+)\(([^`{]*)\)`")
    for line, row in re.findall(r"^(\| `(\w+).*)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE):
        for owner, name, arguments in call.findall(line):
            found = getattr(owners[owner] if owner else onward if name == row else getattr(onward, row), name)
            shown = re.findall(r"(?:^|, )\**(\w+)", arguments)
            taken = [each for each in inspect.signature(found).parameters if each != "self" and each[0] != "_"]
            assert shown == taken, f"{owner}{name}"
            checked += 1
    assert checked >= 15, "the pattern must find what it looks for"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_imports_from_onward_is_there(page: Path) -> None:
    for module, names in re.findall(r"^ *from (onward[\w.]*) import ([\w, ]+)$", page.read_text(), re.MULTILINE):
        found = importlib.import_module(module)
        assert [name for name in names.split(", ") if name not in getattr(found, "__all__", dir(found))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_room_of_the_package_is_on_the_map() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "src" / "onward").iterdir()
        if path.name not in ("__init__.py", "__main__.py", "py.typed") and not path.name.startswith("__pycache__")
    }
    assert sorted(room for room in rooms if f"`{room}`" not in page) == []
