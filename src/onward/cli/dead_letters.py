"""`onward dead-letters`: look at events that handlers gave up, and decide what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from onward.cli.options import json_option
from onward.cli.output import as_data, as_text, counted, json_out, table
from onward.cli.stores import view_options
from onward.inspection.letter import REFUSED, Letter, name_of
from onward.inspection.view import Ruling, StoreView


class LetterId(click.ParamType):  # type: ignore[type-arg]  # it takes none while it runs
    """`7`, a dead letter; `r7`, an event that its broker refused, to the store a number below 0."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        digits = str(value).removeprefix("r")
        if not digits.isdecimal() or not 0 < int(digits) < 1 << 63:  # what a store can hold
            self.fail(
                f"{value!r} is no id: ids are whole numbers from 1 on, with an r before what a broker refused."
                " See `onward dead-letters list`.",
                param,
                ctx,
            )
        return -int(digits) if str(value).startswith("r") else int(digits)


LETTER_ID = LetterId()


@click.group(name="dead-letters")
def dead_letters() -> None:
    """List, show, retry or discard events that a handler gave up, or that a broker refused.

    Example: onward dead-letters list
    """


@dead_letters.command(name="list")
@view_options
@click.option("--service", help="Only those of one service.")
@click.option("--all-states", is_flag=True, help="Also those that are recovered or discarded.")
@json_option
def list_(view: StoreView, service: str | None, all_states: bool, as_json: bool) -> None:
    """List what a broker refused and dead letters, newest first, at most 1,000 of each.

    Exit codes: 0 listed, 1 the store can't be read.

    Example: onward dead-letters list --service payment
    """
    found = view.letters(service=service, every_state=all_states)
    if as_json:
        json_out([_plain(each) for each in found])
    elif not found:
        click.echo("No dead letters.")
    else:
        table(
            ("id", "service", "handler", "event type", "key", "state", "cause", "attempts", "waiting", "died", "error"),
            [
                (
                    name_of(each.id),
                    each.service,
                    _handler(each),
                    each.event_type,
                    each.event_key,
                    each.state,
                    each.cause,
                    each.attempts,
                    each.waiting,
                    f"{_time(each.died_at):%Y-%m-%d %H:%M:%S}",
                    each.error,
                )
                for each in found
            ],
        )


@dead_letters.command()
@click.argument("letter_id", metavar="ID", type=LETTER_ID)
@view_options
@json_option
def show(letter_id: int, view: StoreView, as_json: bool) -> None:
    """Show one dead letter with its traceback and its bytes, or why a broker refused an event, and its bytes.

    Exit codes: 0 shown, 1 there is none or the store can't be read.

    Example: onward dead-letters show 7
    """
    (found,) = view.letters([letter_id])
    if as_json:
        json_out(_plain(found))
        return
    click.echo(f"Dead letter {name_of(found.id)}: {found.state}")
    click.echo(f"  handler   {found.service} / {_handler(found)}")
    click.echo(f"  event     {found.event_type} version {found.event_version}, id {found.event_id}")
    click.echo(
        f"  from      {found.event_source} at {found.event_time:%Y-%m-%d %H:%M:%S}, key {found.event_key or '-'}"
    )
    if found.state == REFUSED:
        click.echo(f"  topic     {found.topic}, which did not take it")
        click.echo(f"  refused   {_time(found.died_at):%Y-%m-%d %H:%M:%S}: {found.error}\n\n{as_text(found.value)}")
        return
    click.echo(f"  place     {found.topic}, partition {found.partition}, offset {found.offset}")
    click.echo(f"  cause     {found.cause} after {found.attempts} attempts: {found.error}")
    click.echo(f"  first     {_time(found.first_at):%Y-%m-%d %H:%M:%S}, died {_time(found.died_at):%Y-%m-%d %H:%M:%S}")
    if found.waiting:
        click.echo(f"  waiting   {counted(found.waiting, 'later event')} of its key")
    click.echo(f"\n{found.detail}\n\n{as_text(found.value)}")


@dead_letters.command(name="retry")
@click.argument("letter_ids", metavar="[ID]...", type=LETTER_ID, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Retry all that are dead or were refused.")
@view_options
def retry_(letter_ids: tuple[int, ...], every: bool, view: StoreView) -> None:
    """Hand dead letters to their handlers again; a running service does it at once, another when it starts.

    What a broker refused goes back into its outbox, the same event: for when its topic takes it.

    Exit codes: 0 all are on their way, 1 one can't be retried and none is, 2 wrong usage.

    Example: onward dead-letters retry 7 8
    """
    if bool(letter_ids) == every:
        raise click.UsageError("Name the ids to retry, or --all.")
    count = view.rule(Ruling.RETRY, None if every else letter_ids)
    marked = f"{counted(count, 'dead letter')} {'is' if count == 1 else 'are'} marked to be retried"
    click.echo(f"{marked}; running services have been woken.")


@dead_letters.command(name="discard")
@click.argument("letter_ids", metavar="ID...", type=LETTER_ID, nargs=-1, required=True)
@view_options
def discard_(letter_ids: tuple[int, ...], view: StoreView) -> None:
    """Give dead letters up for good; they stay on record as discarded. What a broker refused is dropped.

    Exit codes: 0 all are discarded, 1 one can't be and none is.

    Example: onward dead-letters discard 9
    """
    count = view.rule(Ruling.DISCARD, letter_ids)
    click.echo(f"{counted(count, 'dead letter')} {'is' if count == 1 else 'are'} discarded.")


def _plain(found: Letter) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in Letter.__dataclass_fields__ if name != "value"}
    if found.state == REFUSED:
        fields["id"] = name_of(found.id)
    return {**fields, "first_at": _time(found.first_at), "died_at": _time(found.died_at), "data": as_data(found.value)}


def _handler(found: Letter) -> str:
    return found.handler or ("(its broker)" if found.state == REFUSED else "(none chosen)")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
