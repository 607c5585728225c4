"""Several benchmarks under one command line: `[--quick] [--json] [--only WORD]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata

import apsw

from benchmarks.harness import Benchmark, Figure, Size, run

Chosen = list[tuple[str, Benchmark]]


@dataclass(frozen=True, slots=True)
class Suite:
    """`modules` are words for `--only`; each is `benchmarks.` with `prefix` before it. `opened` surrounds the run."""

    command: str
    modules: Sequence[str]
    packages: Sequence[str]
    prefix: str = ""
    opened: Callable[[Collection[str]], AbstractContextManager[dict[str, str]]] = lambda _words: nullcontext({})


def measure(suite: Suite, arguments: Sequence[str] | None = None) -> int:
    """Measure, check the effects, print medians and ratios; the exit status."""
    parser = argparse.ArgumentParser(prog=suite.command, description="Measure onward, peers and loops.")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="one round of small counts: shows that it works")
    sizes.add_argument("--full", action="store_true", help="what takes very long too, at its full count")
    parser.add_argument("--json", action="store_true", help="one object a line, for a program")
    parser.add_argument("--only", metavar="WORD", help=f"a module ({', '.join(suite.modules)}) or a part of names")
    asked = parser.parse_args(arguments)
    chosen = _chosen(suite, asked.only or "")
    if not chosen:
        parser.error(f"nothing is called {asked.only!r}; there are {', '.join(suite.modules)}")
    size = Size.QUICK if asked.quick else Size.FULL if asked.full else Size.USUAL
    with suite.opened({word for word, _ in chosen}) as servers:
        versions = _versions(suite) | servers
        if not asked.json:
            print(f"{os.cpu_count()} cores, " + ", ".join(f"{name} {version}" for name, version in versions.items()))
        for word, benchmark in chosen:
            figures = run(f"benchmarks.{suite.prefix}{word}", benchmark, size, _tell)
            _tell("")
            for figure in figures:
                print(_json(figure, versions) if asked.json else _row(figure), flush=True)
    return 0


def _chosen(suite: Suite, word: str) -> Chosen:
    chosen: Chosen = []
    for name in suite.modules:
        benchmarks: list[Benchmark] = importlib.import_module(f"benchmarks.{suite.prefix}{name}").BENCHMARKS
        wanted = word == name
        chosen += [(name, each) for each in benchmarks if wanted or (word not in suite.modules and word in each.name)]
    return chosen


def _versions(suite: Suite) -> dict[str, str]:
    versions = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version()}
    for package in suite.packages:
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
