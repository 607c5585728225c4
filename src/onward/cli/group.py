"""A group of commands that knows their names and one line about each without importing them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from onward.errors import OnwardError


class LazyGroup(click.Group):
    """Commands by name as "module:attribute". An error of onward's ends the program with its sentence and code 1."""

    def __init__(self, *, commands_in: Mapping[str, str], summaries: Mapping[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self._commands_in = commands_in
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = self._commands_in.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summaries[name]) for name in self._commands_in])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OnwardError as error:
            click.echo(f"onward: {error}", err=True)
            sys.exit(1)
