"""`onward doctor`: what is wrong with this setup, and how to mend it."""

from __future__ import annotations

import sys

import click

from onward.cli.options import json_option
from onward.cli.output import json_out
from onward.cli.stores import view_options
from onward.inspection.finding import Finding
from onward.inspection.view import StoreView


@click.command()
@view_options
@json_option
def doctor(view: StoreView, as_json: bool) -> None:
    """Find what is wrong with this setup and how to mend it: machine, store, broker, outbox, dead letters.

    Exit codes: 0 nothing is wrong, or no more than a warning says; 1 something is.

    Example: onward doctor --database shop.db
    """
    findings = view.examine()
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
    verdict = ("warn" if finding.remedy else "ok ") if finding.fine else "BAD"
    click.echo(f"{verdict} {finding.subject}: {finding.sentence}")
    if finding.remedy:
        click.echo(f"    {finding.remedy}")
