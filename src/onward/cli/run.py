"""`onward run`: services as processes that are kept alive, until told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from time import monotonic
from typing import Any

import click

from onward.app import App
from onward.cli.output import counted
from onward.cli.starts import start_option
from onward.cli.targets import load
from onward.errors import DeclarationError, DeliveryError, MissingExtraError
from onward.runtime.health import HealthServer
from onward.runtime.supervisor import HANG_S, HOLD_S, MOST_WORKERS, Supervisor
from onward.telemetry.logs import set_up_logs

Watch = Callable[[], AsyncIterator[set[Any]]]


@click.command(
    help="""Run services until told to stop; then drain.

    TARGET is MODULE:ATTRIBUTE, such as inventory:app. Each service has processes of its own; partitions are shared out
    among them, and among all others that run on the same file. SIGTERM or Ctrl-C drains: nothing new is taken, and what
    is in flight is finished.

    Exit codes: 0 drained, 1 a service could not start, 2 wrong usage, 3 not everything finished in time.

    Example: onward run inventory:app payment:app --workers 2
    """
)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    show_default=True,
    help="Processes for each service.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Where health is served; 0 is any free port.",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(0.0),
    default=25.0,
    show_default=True,
    help="Seconds that work in flight may take at the end.",
)
@click.option(
    "--hang-s",
    type=click.FloatRange(1.0),
    default=HANG_S,
    show_default=True,
    help="Silence after which a process is replaced, in seconds.",
)
@click.option(
    "--hold-s",
    type=click.FloatRange(1.0),
    default=HOLD_S,
    show_default=True,
    help="Seconds a transaction may stay open before its process is replaced.",
)
@start_option
@click.option("--reload", is_flag=True, help="Start again when a file below this folder changes; for development.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")
def run(  # noqa: PLR0913 - one for each option
    targets: tuple[str, ...],
    workers: int,
    health_port: int,
    drain_s: float,
    hang_s: float,
    hold_s: float,
    start: str,
    reload: bool,
    as_json: bool,
) -> None:
    set_up_logs()
    if reload:
        _watcher()
    named = [(_checked(load(target)).name, target) for target in targets]
    _refuse_twins(named)
    watched = partial(Supervisor, named, workers=workers, drain_s=drain_s, hang_s=hang_s, hold_s=hold_s, start=start)
    sys.exit(asyncio.run(_run(watched, [name for name, _ in named], health_port, drain_s, reload, as_json)))


async def _run(
    watched: Callable[[], Supervisor], names: list[str], health_port: int, drain_s: float, reload: bool, as_json: bool
) -> int:
    supervisor = watched()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health = HealthServer(supervisor.states, port=health_port)
    health.start()
    reloading = asyncio.create_task(_reload(supervisor)) if reload else None
    try:
        await supervisor.start()
        _tell(
            as_json,
            {"running": names, "health": health.address},
            f"running {', '.join(names)}; health: {health.address}/ready",
        )
        supervisor.failure.add_done_callback(lambda _: stop.set())
        await stop.wait()
        failed = supervisor.failure.exception() if supervisor.failure.done() else None
        if failed is None:
            _tell(as_json, {"draining": names}, "draining …")
        began = monotonic()
        finished = await supervisor.stop_all()
        seconds = round(monotonic() - began, 3)
        for state in supervisor.states():
            _tell(
                as_json,
                {"service": state.name, "handled": state.handled, "dead": state.dead, "restarts": state.restarts},
                f"{state.name}: {state.handled:,} handled, {counted(state.dead, 'dead letter')},"
                f" {counted(state.restarts, 'restart')}",
            )
        _tell(
            as_json,
            {"drained": finished, "seconds": seconds},
            f"drained in {seconds:.1f} s"
            if finished
            else f"not everything in flight was finished in {drain_s:g} s; it is handled after the next start",
        )
        if isinstance(failed, DeliveryError):
            click.echo(f"onward: {failed}", err=True)
            return 1
        return 0 if finished else 3
    finally:
        if reloading is not None:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)
        health.stop()


def _tell(as_json: bool, fact: dict[str, object], sentence: str) -> None:
    click.echo(json.dumps(fact) if as_json else sentence)


def _checked(app: App) -> App:
    """Raises DeclarationError for what each of its processes would end with."""
    _ = app.plan, app.settings
    return app


def _refuse_twins(named: list[tuple[str, str]]) -> None:
    """Raises DeclarationError where two targets are one service, by name."""
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise DeclarationError(
                f"The service {name!r} is named by more than one target. Name it once; --workers gives it more"
                " processes."
            )


def _watcher() -> Watch:
    """Raises MissingExtraError where there is none."""
    try:
        from watchfiles import PythonFilter, awatch
    except ImportError as error:
        raise MissingExtraError("--reload needs the extra `reload`: pip install 'onward[reload]'.") from error
    return lambda: awatch(".", watch_filter=PythonFilter())


async def _reload(supervisor: Supervisor) -> None:
    async for changes in _watcher()():
        click.echo(f"{len(changes)} file(s) changed; starting again", err=True)
        await supervisor.restart_all()
