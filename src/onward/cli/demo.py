"""`onward demo`: whole systems that come with onward. Each brings its own command, imported when it is asked for."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec

import click

import onward.blueprints
from onward.errors import MissingExtraError


class Blueprints(click.Group):
    """The packages of onward.blueprints that have a module `demo` with a command `main`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [
            name
            for _, name, is_package in pkgutil.iter_modules(onward.blueprints.__path__)
            if is_package and find_spec(f"onward.blueprints.{name}.demo") is not None
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            module = import_module(f"onward.blueprints.{cmd_name}.demo")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("onward"):
                raise
            raise MissingExtraError(
                f"The demo {cmd_name!r} needs {error.name}, which is not installed: run `pip install 'onward[demo]'`."
            ) from error
        command: click.Command = module.main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names alone: to ask a demo for its help is to import it, and what it needs may be absent."""
        with formatter.section("Demos"):
            formatter.write_dl([(name, f"onward demo {name} --help") for name in self.list_commands(ctx)])


demo = Blueprints(
    name="demo",
    help="""Run a whole system that comes with onward.

    Exit codes: those of the system; see its own help.

    Example: onward demo shop
    """,
)
