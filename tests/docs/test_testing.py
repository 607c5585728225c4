"""The tests that the page on testing shows are run as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_tests_on_the_page_pass_in_an_empty_folder(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    blocks = FENCE.findall(page)
    assert len(blocks) == page.count("```python")
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    plugin = ["-p", "no:onward", "-p", "onward.testing.plugin"]  # loaded once, whether or not onward is installed
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *plugin],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"\b(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 30, "the suites for adapters were not found"
