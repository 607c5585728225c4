"""Which tallies balance, for handlers that share types, split them, overlap, joined late or are gone: exactly."""

import asyncio
import json
from contextlib import closing
from pathlib import Path

import pytest

from onward import App, Context, Event
from onward.inspection.report import Report
from onward.ports import Outgoing
from onward.sqlite.audit import audit
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog
from onward.topics import Topic
from tests.integration.services import running, until_some

EVENTS = 10

Handlers = dict[str, list[str]]  # name -> types
Tallies = dict[str, tuple[int, int, int, int]]  # handler -> succeeded, dead, discarded, skipped


def audited(path: Path, handlers: Handlers, tallies: Tallies, *, position: int = EVENTS) -> Report:
    """The audit of a file with ten events, and of one subscription with these records."""
    with closing(Database.open(path)) as database:
        log = FileLog(database)
        with database.transaction_sync() as writer:
            log.names.create_topic(Topic("orders", 1))
            log.append([Outgoing("orders", "made", 1, b"{}", None)] * EVENTS, "test")
            writer.execute("INSERT INTO onward_subscription VALUES (1, 'shop', 'transactional', 1, 1, 0, NULL)")
            writer.execute(
                "INSERT INTO onward_account (subscription, partition, start_offset, next_offset) VALUES (1, 0, 0, ?)",
                (position,),
            )
            writer.executemany(
                "INSERT INTO onward_handler VALUES (1, ?, 'transactional', 'earliest', ?, ?)",
                [(name, json.dumps(types), json.dumps([0])) for name, types in handlers.items()],
            )
            writer.executemany(
                "INSERT INTO onward_tally VALUES (1, 0, ?, ?, ?, ?, ?)",
                [(name, *counts) for name, counts in tallies.items()],
            )
            dead = [(name, offset) for name, counts in tallies.items() for offset in range(counts[1])]
            writer.executemany(
                "INSERT INTO onward_dead_letter (subscription, partition, offset, handler, state, cause, error, detail,"
                " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source,"
                " event_time) VALUES (1, 0, ?2, ?1, 'dead', 'fatal', '', '', '', 1, 0, 0, '', '', 1, '', 0)",
                dead,
            )
    return audit(path)


PAY: Handlers = {"pay": ["made"]}
SAME: Handlers = {"pay": ["made"], "ship": ["made"]}
SPLIT: Handlers = {"pay": ["made"], "cancel": ["cancelled"]}
OVERLAPPING: Handlers = {"pay": ["made"], "note": ["made", "cancelled"]}


@pytest.mark.parametrize(
    ("handlers", "tallies"),
    [
        (PAY, {"pay": (7, 2, 1, 0)}),
        (PAY, {"pay": (5, 1, 0, 0), "": (0, 1, 0, 3)}),
        (SAME, {"pay": (10, 0, 0, 0), "ship": (9, 1, 0, 0)}),
        (SAME, {"pay": (10, 0, 0, 0), "ship": (4, 0, 0, 6)}),
        (SPLIT, {"pay": (8, 0, 0, 1), "cancel": (1, 0, 0, 8), "": (0, 0, 0, 1)}),
        (OVERLAPPING, {"pay": (6, 0, 0, 4), "note": (10, 0, 0, 0)}),
        (PAY, {"pay": (4, 0, 0, 6), "retired": (10, 0, 0, 0)}),
        (PAY, {"pay": (4, 0, 0, 6), "retired": (3, 0, 0, 0)}),
    ],
)
def test_these_tallies_balance(database_path: Path, handlers: Handlers, tallies: Tallies) -> None:
    assert audited(database_path, handlers, tallies).problems == ()


@pytest.mark.parametrize(
    ("handlers", "tallies", "excess", "who"),
    [
        (PAY, {"pay": (11, 0, 0, 0)}, 1, "handler pay"),
        (PAY, {"pay": (9, 0, 0, 0)}, 1, "handler pay"),
        (PAY, {}, 10, "handler pay"),
        (SAME, {"pay": (10, 0, 0, 0), "ship": (12, 0, 0, 0)}, 2, "handler ship"),
        (SAME, {"pay": (10, 0, 0, 0), "ship": (3, 0, 0, 6)}, 1, "handler ship"),
        (SAME, {"pay": (11, 0, 0, 0), "ship": (11, 0, 0, 0)}, 1, "partition 0:"),
        (SPLIT, {"pay": (8, 0, 0, 1), "cancel": (3, 0, 0, 8), "": (0, 0, 0, 1)}, 2, "handler cancel"),
        (SPLIT, {"pay": (7, 0, 0, 2), "cancel": (1, 0, 0, 7), "": (0, 0, 0, 1)}, 1, "handler cancel"),
        (OVERLAPPING, {"pay": (6, 0, 0, 4), "note": (9, 0, 0, 0)}, 1, "handler note"),
        (OVERLAPPING, {"pay": (5, 0, 0, 4), "note": (10, 0, 0, 0)}, 1, "handler pay"),
        (OVERLAPPING, {"pay": (5, 0, 0, 4), "note": (9, 0, 0, 0)}, 1, "partition 0:"),
    ],
)
def test_these_tallies_do_not(database_path: Path, handlers: Handlers, tallies: Tallies, excess: int, who: str) -> None:
    (problem,) = audited(database_path, handlers, tallies).problems
    assert problem.kind.value == "unbalanced"
    assert problem.count == excess
    assert who in problem.sentence


def test_events_not_handled_yet_are_owed_to_nobody(database_path: Path) -> None:
    report = audited(database_path, SAME, {"pay": (4, 0, 0, 0), "ship": (4, 0, 0, 0)}, position=4)
    assert report.problems == ()
    assert [(tally.done, tally.in_flight) for tally in report.tallies] == [(4, 6)]


class Rung(Event, type="audit.rung", topic="audit.bells", key="bell"):
    bell: str


def test_a_plain_handlers_events_add_up_though_they_finish_out_of_order(database_path: Path) -> None:
    app = App("ringer", store=f"sqlite:///{database_path}", topics=[Topic("audit.bells", partitions=1)])
    slow = asyncio.Event()

    @app.on(Rung)
    async def ring(rung: Rung, ctx: Context) -> None:
        if rung.bell == "slow":
            await slow.wait()

    async def scene() -> Report:
        async with running(app) as service:
            await app.publish(*(Rung(bell=name) for name in ("slow", "a", "b", "c")))
            await until_some(service, "SELECT 1 FROM onward_tally WHERE succeeded = 3")
            report = audit(database_path)
            slow.set()
            return report

    report = asyncio.run(scene())
    assert report.problems == ()
    assert [(tally.done, tally.in_flight) for tally in report.tallies] == [(3, 1)]
    assert [tally.done for tally in audit(database_path).tallies] == [4]
