"""`onward describe`: what services are made of, without connecting to anything."""

from __future__ import annotations

import click

from onward.catalog.asyncapi import asyncapi
from onward.catalog.description import Description
from onward.catalog.description import describe as describe_plan
from onward.cli.options import json_option
from onward.cli.output import json_out, table
from onward.cli.targets import load


@click.command()
@click.argument("targets", metavar="MODULE:APP...", nargs=-1, required=True)
@json_option
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="Print an AsyncAPI 3.0 document.")
def describe(targets: tuple[str, ...], as_json: bool, as_asyncapi: bool) -> None:
    """Say what services are made of: handlers, events, topics, settings. Connects to nothing.

    Exit codes: 0 described, 1 a module can't be imported or declares something unusable.

    Example: onward describe inventory:app payment:app --asyncapi
    """
    described = [describe_plan(app.plan, app.settings) for app in map(load, targets)]
    if as_asyncapi:
        json_out(asyncapi(described))
    elif as_json:
        json_out(described)
    else:
        for index, each in enumerate(described):
            if index:
                click.echo()
            _print(each)


def _print(service: Description) -> None:
    click.echo(f"Service {service.service}")
    click.echo(f"  store {service.store}, broker {service.broker}")
    if service.resources:
        click.echo(f"  resources {', '.join(service.resources)}")
    if service.invariants:
        click.echo(f"  invariants {', '.join(service.invariants)}")
    click.echo()
    table(
        ("handler", "kind", "handles", "publishes", "start", "attempts"),
        [
            (each.name, each.kind, ", ".join(each.handles), ", ".join(each.publishes), each.start, each.max_attempts)
            for each in service.handlers
        ],
    )
    click.echo()
    table(
        ("event", "version", "topic", "key", "class"),
        [(each.type, str(each.version), each.topic, each.key, each.python) for each in service.events],
    )
    click.echo()
    table(
        ("topic", "partitions", "keeps days", "keeps bytes", "used to"),
        [
            (
                each.name,
                each.partitions,
                each.keep_age_s / 86_400,
                each.keep_bytes,
                " and ".join(verb for verb, does in (("consume", each.consumed), ("publish", each.published)) if does),
            )
            for each in service.topics
        ],
    )
