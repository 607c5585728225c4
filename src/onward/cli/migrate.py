"""`onward migrate`: the tables of a store that is shared, brought to what a new version needs, around its deploy."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from onward.cli.options import json_option
from onward.cli.output import json_out, table
from onward.cli.stores import schema_options
from onward.inspection.schema import Phase, Schema, SchemaView, Step


@click.command()
@schema_options
@click.option("--before", is_flag=True, help="Install what this version needs; the version before goes on meanwhile.")
@click.option("--after", is_flag=True, help="Install what is for when no process of the version before runs any more.")
@click.option("--check", is_flag=True, help="Change nothing; show the steps, and end with 1 if this version can't run.")
@json_option
def migrate(schema: SchemaView, before: bool, after: bool, check: bool, as_json: bool) -> None:
    """Bring a PostgreSQL store to this version, in numbered steps: --before its deploy, --after it, or --check.

    Safe to repeat, and to run by several at once: a step is installed once, whole or not at all. A database that has
    nothing of onward gets everything --before.

    Exit codes: 0 done, or nothing to do; 1 it can't be done, or with --check, this version can't run; 2 wrong usage.

    Example: onward migrate --before
    """
    if before + after + check != 1:
        raise click.UsageError("Say --before, --after or --check: one of them.")
    if check:
        _check(schema.look(), as_json=as_json)
        return
    installed = schema.install(Phase.BEFORE if before else Phase.AFTER)
    if as_json:
        json_out({"installed": installed})
    else:
        _print_installed(installed)


def _check(schema: Schema, *, as_json: bool) -> None:
    if as_json:
        json_out({"ready": not schema.trouble, "schema": schema})
    else:
        table(
            ("step", "phase", "name", "state"),
            [(each.version, each.phase, each.name, _state(each)) for each in schema.steps],
        )
        click.echo(schema.trouble or "This version can run.")
    if schema.trouble:
        sys.exit(1)


def _state(step: Step) -> str:
    if not step.known:
        return "of another version"
    return "installed" if step.installed else "to be installed"


def _print_installed(installed: Sequence[Step]) -> None:
    for step in installed:
        click.echo(f"Step {step.version} ({step.name}) is installed.")
    if not installed:
        click.echo("There was nothing to do.")
