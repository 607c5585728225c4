"""`onward handlers`: what the store has on record of each service's handlers, and how it is changed."""

from __future__ import annotations

import click

from onward.cli.options import json_option
from onward.cli.output import json_out, table
from onward.cli.stores import record_options
from onward.inspection.record import RecordView


@click.group()
def handlers() -> None:
    """List, rename, move or retire the handlers that a store has on record.

    A handler's name is its identity: what is done is counted under it. Changing it in the code alone would run
    or skip events, so the service refuses to start until the record is changed too.

    Example: onward handlers list
    """


@handlers.command(name="list")
@record_options
@json_option
def list_(record: RecordView, as_json: bool) -> None:
    """List the handlers on record.

    Exit codes: 0 listed, 1 the store can't be read.

    Example: onward handlers list --json
    """
    found = [(each, handler) for each in record.subscriptions() for handler in each.handlers]
    if as_json:
        json_out(
            [
                {
                    "service": each.service,
                    "handler": handler.name,
                    "subscription": each.name,
                    "topic": each.topic,
                    "kind": handler.kind,
                    "start": handler.start,
                    "types": handler.types,
                }
                for each, handler in found
            ]
        )
    elif not found:
        click.echo("No handlers are on record.")
    else:
        table(
            ("service", "handler", "kind", "topic", "start", "types"),
            [
                (each.service, handler.name, handler.kind, each.topic, handler.start, ", ".join(handler.types))
                for each, handler in found
            ],
        )


@handlers.command()
@click.argument("service")
@click.argument("old")
@click.argument("new")
@record_options
def rename(service: str, old: str, new: str, record: RecordView) -> None:
    """Give a handler's record a new name, before the code that has the new name starts. Stop the service first.

    Exit codes: 0 renamed, 1 it can't be, and nothing was changed.

    Example: onward handlers rename payment take_payment charge
    """
    topics = record.rename(service, old, new)
    click.echo(f"Handler {old} of {service} is now {new}, on {', '.join(topics)}.")


@handlers.command()
@click.argument("service")
@click.argument("name")
@click.option("--topic", help="Only on this topic; with it, NAME may be a whole subscription such as `transactional`.")
@record_options
def retire(service: str, name: str, topic: str | None, record: RecordView) -> None:
    """Take a handler off the record: its events are owed to nobody any more. Stop the service first.

    Exit codes: 0 retired, 1 it can't be, and nothing was changed.

    Example: onward handlers retire payment old_handler
    """
    topics = record.retire(service, name, topic)
    click.echo(f"{name} of {service} is retired on {', '.join(topics)}. What it has done stays done.")


@handlers.command()
@click.argument("service")
@click.argument("name")
@click.option("--back", is_flag=True, help="To the position that the service's handlers with `tx` share.")
@record_options
def move(service: str, name: str, back: bool, record: RecordView) -> None:
    """Give a handler with `tx` a position of its own, before the code that says `alone=True` starts; or take it back.

    It goes on where it stands, and so does what it leaves. Back it goes once both stand at the same place. Stop the
    service first.

    Exit codes: 0 moved, 1 it can't be, and nothing was changed.

    Example: onward handlers move payment take_payment
    """
    topics = record.move(service, name, alone=not back)
    where = "shares its service's position again" if back else "has a position of its own"
    click.echo(f"Handler {name} of {service} {where}, on {', '.join(topics)}.")
