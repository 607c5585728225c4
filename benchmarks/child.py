"""One side of one benchmark in this process: `python -m benchmarks.child MODULE BENCHMARK SIDE COUNT FOLDER`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from benchmarks.harness import ABSENT
from scripts.servers.errors import Absent


def main() -> int:
    module, name, side, count, folder = sys.argv[1:]
    found = {each.name: each for each in importlib.import_module(module).BENCHMARKS}
    try:
        values = found[name].sides[side](int(count), Path(folder))
    except (ImportError, Absent) as error:
        print(error, file=sys.stderr)
        return ABSENT
    print(json.dumps(values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
