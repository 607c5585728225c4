"""Checks the shape of the code: no file beyond 500 lines, no function beyond 70, no loop to compare with beyond 120."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "tests", "benchmarks", "scripts")
LARGEST_FILE_LINES = 500
LARGEST_FUNCTION_LINES = 70
LOOPS = "benchmarks/*loop.py"
LARGEST_LOOP_LINES = 120


def findings(path: Path) -> Iterator[str]:
    """A sentence for each file or function that is too long."""
    text = path.read_text()
    lines = text.count("\n")
    if lines > LARGEST_FILE_LINES:
        yield f"{path}: {lines} lines, and {LARGEST_FILE_LINES} is the limit: it holds more than one idea"
    if path.match(LOOPS) and lines > LARGEST_LOOP_LINES:
        yield f"{path}: {lines} lines, and {LARGEST_LOOP_LINES} is the limit: it is to be what one would write by hand"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > LARGEST_FUNCTION_LINES:
            where = f"{path}:{node.lineno}: {node.name}"
            yield f"{where} has {length} lines, and {LARGEST_FUNCTION_LINES} is the limit"


def main() -> int:
    """Prints what is too long; the exit status is 1 if anything is."""
    paths = [path for folder in FOLDERS for path in sorted(Path(folder).rglob("*.py"))]
    found = [finding for path in paths for finding in findings(path)]
    print("\n".join(found) or "Shape: every file and function is within its limit.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
