"""The tutorial's code runs in an empty folder; the tests that documents name exist, and links lead somewhere."""

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
