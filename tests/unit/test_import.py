"""Importing onward is light: what a process that only declares an App does not need is not loaded for it."""

import subprocess
import sys

import pytest

from onward import runtime
from onward.runtime.engine import Engine

LOADED_WHEN_USED = {
    "apsw",
    "asyncio",
    "click",
    "concurrent",
    "confluent_kafka",
    "ctypes",
    "django",
    "email",
    "http",
    "importlib.metadata",
    "importlib.resources",
    "json",
    "logging",
    "multiprocessing",
    "onward.brokers",
    "onward.catalog",
    "onward.cli",
    "onward.ledger",
    "onward.pipeline.plain",
    "onward.pipeline.transactional",
    "onward.runtime.engine",
    "onward.runtime.service",
    "onward.sqlite",
    "onward.stores",
    "onward.testing",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "pydantic",
    "pytest",
    "random",
    "rich",
    "socket",
    "sqlalchemy",
    "sqlite3",
    "ssl",
    "starlette",
    "subprocess",
    "tempfile",
    "typer",
    "unittest",
    "uvicorn",
    "watchfiles",
}
DECLARE = """
class Placed(onward.Event, type="import.placed", topic="placed"):
    order_id: str

app = onward.App("light")

@app.on(Placed)
async def take(placed: Placed, tx: onward.Transaction) -> None:
    pass
"""


def heavy_after(script: str) -> set[str]:
    """Which of the modules above a fresh process has loaded when it has run the script."""
    script += "\nimport sys\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return LOADED_WHEN_USED & set(done.stderr.split())


@pytest.mark.parametrize("script", ["import onward", "import onward\n" + DECLARE], ids=["import", "declare"])
def test_importing_onward_and_declaring_an_app_load_nothing_heavy(script: str) -> None:
    assert heavy_after(script) == set()


def test_help_loads_nothing_heavy_but_the_command_line() -> None:
    script = "from onward.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert heavy_after(script) == {"click", "onward.cli"}


def test_what_runs_a_service_is_loaded_when_asked_for() -> None:
    assert runtime.Engine is Engine
    assert {"apsw", "asyncio", "onward.sqlite"} <= heavy_after("from onward.runtime import Service")


def test_the_runtime_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match=r"'onward\.runtime' has no attribute 'Motor'"):
        runtime.__getattr__("Motor")
