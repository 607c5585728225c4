"""`onward doctor`: what is wrong with this setup, and how to mend it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from onward.cli.options import database_option, json_option
from onward.cli.output import json_out
from onward.sqlite.health import Finding, examine


@click.command()
@database_option
@json_option
def doctor(database: Path, as_json: bool) -> None:
    """Find what is wrong with this setup and how to mend it: Python, SQLite, the file, processes, dead letters.

    Exit codes: 0 nothing is wrong, 1 something is.

    Example: onward doctor --database shop.db
    """
    findings = examine(database)
    problems = [each for each in findings if not each.fine]
    if as_json:
        json_out({"healthy": not problems, "findings": findings})
    else:
        for each in findings:
            _print(each)
        click.echo(f"{len(problems)} problems." if problems else "Nothing is wrong.")
    if problems:
        sys.exit(1)


def _print(finding: Finding) -> None:
    click.echo(f"{'ok ' if finding.fine else 'BAD'} {finding.subject}: {finding.sentence}")
    if finding.remedy:
        click.echo(f"    {finding.remedy}")
