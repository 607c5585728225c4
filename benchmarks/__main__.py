"""`python -m benchmarks [--quick] [--json] [--only WORD]`: measure, check the effects, print medians and ratios."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata

import apsw

from benchmarks.harness import Benchmark, Figure, run

MODULES = ("consume", "publish", "latency", "waiting", "workers", "startup", "peers", "backlog")
PACKAGES = ("onward", "apsw", "msgspec", "faststream", "huey", "persist-queue")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure onward, peers and loops.")
    parser.add_argument("--quick", action="store_true", help="one round of small counts: shows that it works")
    parser.add_argument("--json", action="store_true", help="one object a line, for a program")
    parser.add_argument("--only", metavar="WORD", help=f"a module ({', '.join(MODULES)}) or a part of names")
    asked = parser.parse_args(arguments)
    versions = _versions()
    chosen = list(_chosen(asked.only or ""))
    if not chosen:
        parser.error(f"nothing is called {asked.only!r}; there are {', '.join(MODULES)}")
    if not asked.json:
        print(f"{os.cpu_count()} cores, " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    for module, benchmark in chosen:
        figures = run(module, benchmark, asked.quick, _tell)
        _tell("")
        for figure in figures:
            print(_json(figure, versions) if asked.json else _row(figure), flush=True)
    return 0


def _chosen(word: str) -> list[tuple[str, Benchmark]]:
    chosen: list[tuple[str, Benchmark]] = []
    for name in MODULES:
        module = f"benchmarks.{name}"
        benchmarks: list[Benchmark] = importlib.import_module(module).BENCHMARKS
        chosen += [(module, each) for each in benchmarks if word == name or (word not in MODULES and word in each.name)]
    return chosen


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{progress}")
    elif progress:
        sys.stderr.write(progress + "\n")
    sys.stderr.flush()


def _row(figure: Figure) -> str:
    value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:,.2f}"
    ratio = f"{figure.ratio:.2f} of {figure.against}" if figure.ratio is not None else ""
    return f"{figure.name:<66} {figure.side:<34} {value:>12} {figure.unit:<10} {ratio}".rstrip()


def _json(figure: Figure, versions: dict[str, str]) -> str:
    fields = {
        "name": f"{figure.name}: {figure.side}",
        "value": figure.value,
        "unit": figure.unit,
        "against": figure.against,
        "ratio": figure.ratio,
        "versions": versions,
    }
    return json.dumps(fields, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
