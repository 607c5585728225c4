"""The command line. A command's module is imported when the command is asked for, so that help comes at once."""

from __future__ import annotations

import click

from onward.cli.group import LazyGroup
from onward.version import VERSION

main = LazyGroup(
    name="onward",
    help="""Declare events and handlers; every event takes effect exactly once.

    Exit codes: 0 done, 1 it failed and says why, 2 wrong usage, 3 something is wrong with the data (audit) or was
    left unfinished (run, publish).

    Example: onward run inventory:app payment:app
    """,
    commands_in={
        "run": "onward.cli.run:run",
        "demo": "onward.cli.demo:demo",
        "new": "onward.cli.new:new",
        "publish": "onward.cli.publish:publish",
        "tail": "onward.cli.tail:tail",
        "describe": "onward.cli.describe:describe",
        "status": "onward.cli.status:status",
        "audit": "onward.cli.audit:audit",
        "dead-letters": "onward.cli.dead_letters:dead_letters",
        "handlers": "onward.cli.handlers:handlers",
        "doctor": "onward.cli.doctor:doctor",
        "migrate": "onward.cli.migrate:migrate",
    },
    summaries={
        "run": "Run services until told to stop; then drain.",
        "demo": "Run a whole system that comes with onward.",
        "new": "Write a small project: one service, one test.",
        "publish": "Publish JSON lines from a file or stdin.",
        "tail": "Show the events of a topic, and those that come.",
        "describe": "Say what services are made of, without connecting.",
        "status": "Show lag, rates, and who holds what.",
        "audit": "Prove that every event is accounted for.",
        "dead-letters": "List, show, retry or discard dead letters.",
        "handlers": "List, rename or retire handlers on record.",
        "doctor": "Find what is wrong with this setup and how to mend it.",
        "migrate": "Bring a PostgreSQL store's tables to this version.",
    },
)
click.version_option(VERSION, prog_name="onward", message="%(prog)s %(version)s")(main)
