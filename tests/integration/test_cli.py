"""Each command on a real file: what it prints, what it changes, and how it ends."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from onward import App, Event, FatalError, Transaction
from onward.cli import main
from onward.sqlite.audit import audit
from tests.integration.services import change, handle, running, until_some

SCHEMA = "CREATE TABLE IF NOT EXISTS parcel (order_id TEXT NOT NULL)"

COPY_FIRST_EVENT = (
    "INSERT INTO onward_log (pos, kind, key, value, id, source, time)"
    " SELECT (SELECT max(pos) + 1 FROM onward_log WHERE pos >> 40 = o.pos >> 40), kind, key, value, id, source, time"
    " FROM onward_log o WHERE pos = (SELECT min(pos) FROM onward_log)"
)
COUNT_IT = "UPDATE onward_lane SET next_offset = next_offset + 1 WHERE id = (SELECT min(pos) >> 40 FROM onward_log)"

Onward = Callable[..., Result]


class Packed(Event, type="cli.packed", topic="cli.parcels", key="order_id"):
    order_id: str
    weight_g: int


def shipping(path: Path, *, name: str = "ship", lightest_g: int = 0) -> App:
    app = App("shipping", store=f"sqlite:///{path}", schema=SCHEMA)

    @app.on(Packed, name=name)
    async def ship(parcel: Packed, tx: Transaction) -> None:
        if parcel.weight_g < lightest_g:
            raise FatalError("a parcel weighs something")
        await tx.execute("INSERT INTO parcel VALUES (:o)", o=parcel.order_id)

    return app


@pytest.fixture
def onward(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Onward:
    """The command line in this process, its database named by the environment."""
    monkeypatch.setenv("ONWARD_STORE", f"sqlite:///{database_path}")

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture
def handled(database_path: Path) -> Path:
    """Three parcels shipped and one dead letter."""
    parcels = [Packed(order_id=f"o{n}", weight_g=100) for n in range(3)]
    asyncio.run(handle(shipping(database_path, lightest_g=1), *parcels, Packed(order_id="air", weight_g=0)))
    return database_path


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("tail",),
        ("status",),
        ("audit",),
        ("dead-letters", "list"),
        ("dead-letters", "show", "1"),
        ("dead-letters", "retry", "1"),
        ("dead-letters", "discard", "1"),
        ("handlers", "list"),
        ("handlers", "rename", "a", "b", "c"),
        ("handlers", "retire", "a", "b"),
    ],
)
def test_a_command_on_a_missing_file_says_so_and_makes_nothing(
    onward: Onward, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = onward(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("onward: There is no database at ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("tail",), ("publish", "things")])
def test_a_command_on_a_files_log_says_so_where_the_store_is_a_database(
    onward: Onward, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ONWARD_STORE", "postgresql://shop:secret@host/shop")
    result = onward(*arguments)
    assert result.exit_code == 1
    assert "works on the log in a file, and ONWARD_STORE names postgresql://host/shop" in result.stderr
    assert "secret" not in result.output


def test_a_file_of_another_program_is_refused(onward: Onward, database_path: Path) -> None:
    database_path.write_text("not a database at all, " * 100)
    result = onward("status")
    assert result.exit_code == 1
    assert "the file is damaged or is no SQLite database" in result.stderr


def test_published_lines_are_handled_as_events(onward: Onward, handled: Path) -> None:
    lines = '{"order_id": "new1", "weight_g": 5}\n\n{"order_id": "new2", "weight_g": 6}\n'
    result = onward("publish", "cli.parcels", "--type", "cli.packed", "--key", "order_id", stdin=lines)
    assert (result.exit_code, result.stdout) == (0, "2 events published to cli.parcels.\n")
    asyncio.run(handle(shipping(handled)))
    assert query(handled, "SELECT order_id FROM parcel WHERE order_id LIKE 'new%' ORDER BY 1") == [("new1",), ("new2",)]
    assert audit(handled).balanced


def test_the_topic_of_a_known_type_need_not_be_named(onward: Onward, handled: Path, tmp_path: Path) -> None:
    file = tmp_path / "parcels.jsonl"
    file.write_text('{"order_id": "new", "weight_g": 5}\n')
    assert onward("publish", "--type", "cli.packed", str(file)).stdout == "1 event published to cli.parcels.\n"
    refused = onward("publish", "--type", "cli.unknown", str(file))
    assert refused.exit_code == 1
    assert "no handler on record takes it" in refused.stderr


def test_a_bad_line_is_named_with_its_reason_kept_and_skipped(onward: Onward, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.jsonl"
    lines = '{"id": 1}\nnonsense\n[1]\n{"name": "no id"}\n{"id": 1.5}\n{"id": "2"}\n'
    result = onward("publish", "things", "-", "--key", "id", "--rejects", str(rejects), "--json", stdin=lines)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"topic": "things", "published": 2, "rejected": 4}
    reported = result.stderr.splitlines()
    assert reported[0].startswith("line 2: it is not JSON: ")
    assert reported[1:] == [
        "line 3: it is a JSON array, and an event is an object",
        "line 4: it has no field 'id' to take the key from",
        "line 5: its key field 'id' is a JSON number, and a key is text or a whole number",
    ]
    assert rejects.read_text() == 'nonsense\n[1]\n{"name": "no id"}\n{"id": 1.5}\n'


def test_a_line_published_without_a_type_keeps_its_bytes_and_names_none(onward: Onward, database_path: Path) -> None:
    onward("publish", "things", stdin='{ "total":100.0 }\n')
    assert query(database_path, "SELECT kind, value, key FROM onward_log") == [(0, b'{ "total":100.0 }', None)]


def test_batches_cover_all_lines(onward: Onward, database_path: Path) -> None:
    lines = "".join(f'{{"n": {n}}}\n' for n in range(2001))
    assert onward("publish", "things", "--key", "n", stdin=lines).stdout == "2,001 events published to things.\n"
    assert query(database_path, "SELECT count(*), count(DISTINCT value) FROM onward_log") == [(2001, 2001)]


@pytest.mark.parametrize("arguments", [(), ("a", "b", "c"), ("topic", "no-such-file.jsonl")])
def test_wrong_usage_of_publish_ends_with_2(onward: Onward, arguments: tuple[str, ...]) -> None:
    assert onward("publish", *arguments).exit_code == 2


def test_tail_prints_events_in_order_of_time(onward: Onward, handled: Path) -> None:
    result = onward("tail", "cli.parcels", "--from-beginning", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert sorted(event["data"]["order_id"] for event in events) == ["air", "o0", "o1", "o2"]
    assert {(event["topic"], event["type"], event["version"], event["source"]) for event in events} == {
        ("cli.parcels", "cli.packed", 1, "shipping")
    }
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


def test_tail_shows_the_last_events_for_people(onward: Onward, handled: Path) -> None:
    lines = onward("tail", "-n", "10").stdout.splitlines()
    assert len(lines) == 4
    assert sum('cli.packed air {"order_id":"air","weight_g":0}' in line for line in lines) == 1


def test_tail_of_fewer_than_no_events_is_wrong_usage(onward: Onward, handled: Path) -> None:
    result = onward("tail", "-n", "-4")
    assert (result.exit_code, "-4 is not in the range x>=0" in result.stderr) == (2, True)


def test_tail_of_an_unknown_topic_says_which_there_are(onward: Onward, handled: Path) -> None:
    result = onward("tail", "cli.parcel")
    assert result.exit_code == 1
    assert "it has: cli.parcels" in result.stderr


def test_status_shows_lag_and_that_nobody_holds_anything(
    onward: Onward, handled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)
    onward("publish", "cli.parcels", "--type", "cli.packed", stdin='{"order_id": "x", "weight_g": 1}\n')
    (shown,) = json.loads(onward("status", "--json").stdout)["subscriptions"]
    assert (shown["service"], shown["lag"], shown["handled"], shown["dead_letters"]) == ("shipping", 1, 4, 1)
    assert shown["rate_per_s"] == 0
    assert {holder["pid"] for holder in shown["holders"]} == {None}
    text = onward("status").stdout
    assert "nobody: 0-7" in text
    assert "cli.parcels" in text


def test_status_shows_how_fast_events_were_handled_while_it_looked(
    onward: Onward, handled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(_seconds: float) -> None:
        asyncio.run(handle(shipping(handled), *(Packed(order_id=f"n{n}", weight_g=1) for n in range(3))))

    clock = SimpleNamespace(sleep=meanwhile, monotonic=iter([10.0, 12.0]).__next__)
    monkeypatch.setattr("onward.cli.status.time", clock)
    (shown,) = json.loads(onward("status", "--json").stdout)["subscriptions"]
    assert (shown["handled"], shown["rate_per_s"]) == (7, 1.5)


def test_status_names_the_process_that_holds_partitions(
    onward: Onward, handled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)

    async def look() -> Result:
        async with running(shipping(handled)) as service:
            await until_some(service, "SELECT 1 FROM onward_lease WHERE member IS NOT NULL", rows=8)
            return onward("status", "--json")

    (shown,) = json.loads(asyncio.run(look()).stdout)["subscriptions"]
    assert {type(holder["pid"]) for holder in shown["holders"]} == {int}


def test_audit_ends_with_0_when_everything_balances(onward: Onward, handled: Path) -> None:
    result = onward("audit")
    assert result.exit_code == 0
    assert "Balanced: 4 events in the log, 8 accounts and 0 invariants hold." in result.stdout


def test_audit_ends_with_3_and_names_what_is_lost(onward: Onward, handled: Path) -> None:
    change(handled, "DELETE FROM onward_log WHERE pos = (SELECT min(pos) FROM onward_log)")
    result = onward("audit")
    assert result.exit_code == 3
    assert "lost: Lost event: cli.parcels, partition " in result.stdout
    as_json = onward("audit", "--json")
    assert as_json.exit_code == 3
    found = json.loads(as_json.stdout)
    assert found["balanced"] is False
    assert [problem["kind"] for problem in found["report"]["problems"]] == ["lost"]


def test_audit_ends_with_3_and_names_an_event_that_is_in_the_log_twice(onward: Onward, handled: Path) -> None:
    change(handled, COPY_FIRST_EVENT)
    change(handled, COUNT_IT)
    assert onward("audit").exit_code == 3
    named = json.loads(onward("audit", "--json").stdout)["report"]["problems"]
    assert [problem["kind"] for problem in named] == ["doubled"]
    assert "is in the log 2 times: at cli.parcels, partition " in named[0]["sentence"]


def test_audit_ends_with_3_and_names_an_effect_that_was_doubled_behind_its_back(onward: Onward, handled: Path) -> None:
    app = shipping(handled)
    app.invariant("shipped once", "SELECT order_id FROM parcel GROUP BY order_id HAVING count(*) > 1")
    asyncio.run(handle(app))
    assert onward("audit").exit_code == 0
    change(handled, "INSERT INTO parcel SELECT order_id FROM parcel LIMIT 1")
    result = onward("audit")
    assert result.exit_code == 3
    assert "violated: Invariant 'shipped once' of shipping does not hold: order_id=" in result.stdout
    named = json.loads(onward("audit", "--json").stdout)["report"]["problems"]
    assert [problem["kind"] for problem in named] == ["violated"]


def test_a_dead_letter_is_listed_and_shown_with_its_bytes(onward: Onward, handled: Path) -> None:
    (listed,) = json.loads(onward("dead-letters", "list", "--json").stdout)
    assert (listed["handler"], listed["event_key"], listed["cause"]) == ("ship", "air", "fatal")
    assert listed["data"] == {"order_id": "air", "weight_g": 0}
    shown = onward("dead-letters", "show", str(listed["id"])).stdout
    assert "a parcel weighs something" in shown
    assert '{"order_id":"air","weight_g":0}' in shown
    assert "air" in onward("dead-letters", "list").stdout
    assert onward("dead-letters", "list", "--service", "other").stdout == "No dead letters.\n"


def test_a_retried_dead_letter_takes_effect_once_and_the_sums_hold(onward: Onward, handled: Path) -> None:
    result = onward("dead-letters", "retry", "1")
    assert result.stdout == "1 dead letter is marked to be retried; running services have been woken.\n"
    asyncio.run(handle(shipping(handled)))
    assert query(handled, "SELECT count(*) FROM parcel WHERE order_id = 'air'") == [(1,)]
    assert query(handled, "SELECT state FROM onward_dead_letter") == [("recovered",)]
    assert audit(handled).problems == ()
    again = onward("dead-letters", "retry", "1")
    assert again.exit_code == 1
    assert "it is recovered already" in again.stderr


def test_a_running_service_retries_without_being_restarted(onward: Onward, handled: Path) -> None:
    async def retry_while_running() -> None:
        async with running(shipping(handled)) as service:
            await asyncio.to_thread(onward, "dead-letters", "retry", "--all")
            await until_some(service, "SELECT 1 FROM onward_dead_letter WHERE state = 'recovered'")

    asyncio.run(retry_while_running())
    assert query(handled, "SELECT count(*) FROM parcel WHERE order_id = 'air'") == [(1,)]
    assert audit(handled).problems == ()


def test_all_dead_letters_can_be_retried_at_once(onward: Onward, handled: Path) -> None:
    assert onward("dead-letters", "retry", "--all").stdout.startswith("1 dead letter ")
    assert query(handled, "SELECT state FROM onward_dead_letter") == [("retrying",)]
    assert onward("dead-letters", "retry").exit_code == 2


def test_a_discarded_dead_letter_stays_on_record_and_the_sums_hold(onward: Onward, handled: Path) -> None:
    assert onward("dead-letters", "discard", "1").stdout == "1 dead letter is discarded.\n"
    assert onward("dead-letters", "list").stdout == "No dead letters.\n"
    assert "discarded" in onward("dead-letters", "list", "--all-states").stdout
    assert audit(handled).problems == ()


def test_nothing_is_discarded_when_one_of_the_letters_can_not_be(onward: Onward, handled: Path) -> None:
    result = onward("dead-letters", "discard", "1", "99")
    assert result.exit_code == 1
    assert "There is no dead letter 99" in result.stderr
    assert query(handled, "SELECT state FROM onward_dead_letter") == [("dead",)]


def test_a_renamed_handler_goes_on_under_its_new_name(onward: Onward, handled: Path) -> None:
    assert onward("handlers", "rename", "shipping", "ship", "send").exit_code == 0
    asyncio.run(handle(shipping(handled, name="send"), Packed(order_id="o9", weight_g=1)))
    assert query(handled, "SELECT count(*) FROM parcel") == [(4,)]
    assert query(handled, "SELECT DISTINCT handler FROM onward_tally") == [("send",)]
    assert query(handled, "SELECT handler FROM onward_dead_letter") == [("send",)]
    assert audit(handled).problems == ()


def test_a_plain_handler_is_renamed_with_its_subscription(onward: Onward, database_path: Path) -> None:
    asyncio.run(handle(shipping(database_path)))
    for sql in (
        "UPDATE onward_handler SET name = 'mail', kind = 'plain'",
        "UPDATE onward_subscription SET name = 'mail', ordered_commit = 0",
    ):
        change(database_path, sql)
    assert onward("handlers", "rename", "shipping", "mail", "post").exit_code == 0
    assert query(database_path, "SELECT name FROM onward_subscription") == [("post",)]
    assert query(database_path, "SELECT name FROM onward_handler") == [("post",)]


@pytest.mark.parametrize(("old", "new"), [("ship", "transactional"), ("ship", "ship"), ("nobody", "somebody")])
def test_a_rename_that_would_lose_an_identity_is_refused(onward: Onward, handled: Path, old: str, new: str) -> None:
    result = onward("handlers", "rename", "shipping", old, new)
    assert result.exit_code == 1
    assert "Nothing was changed" in result.stderr
    assert query(handled, "SELECT name FROM onward_handler") == [("ship",)]


def test_a_running_service_keeps_its_handlers_names(onward: Onward, handled: Path) -> None:
    async def rename() -> Result:
        async with shipping(handled).lifespan():
            return onward("handlers", "rename", "shipping", "ship", "send")

    result = asyncio.run(rename())
    assert result.exit_code == 1
    assert "is running (pid " in result.stderr


@pytest.mark.parametrize("arguments", [("ship",), ("transactional", "--topic", "cli.parcels")])
def test_a_retired_handler_holds_nothing_back_any_more(
    onward: Onward, handled: Path, arguments: tuple[str, ...]
) -> None:
    assert onward("handlers", "retire", "shipping", *arguments).exit_code == 0
    assert query(handled, "SELECT count(*) FROM onward_subscription WHERE retired_at IS NULL") == [(0,)]
    assert onward("handlers", "list").stdout == "No handlers are on record.\n"
    assert audit(handled).problems == ()
    assert "its subscription is retired" in onward("dead-letters", "retry", "1").stderr


def test_a_retired_handler_that_comes_back_begins_anew_beside_its_old_dead_letters(
    onward: Onward, handled: Path
) -> None:
    assert onward("handlers", "retire", "shipping", "ship").exit_code == 0
    asyncio.run(handle(shipping(handled, lightest_g=1)))
    assert query(handled, "SELECT state, cause, handler FROM onward_dead_letter") == [("dead", "fatal", "ship")] * 2
    assert query(handled, "SELECT count(*) FROM parcel") == [(6,)]
    assert audit(handled).problems == ()


def test_handlers_are_listed_with_what_they_take(onward: Onward, handled: Path) -> None:
    (listed,) = json.loads(onward("handlers", "list", "--json").stdout)
    assert listed == {
        "service": "shipping",
        "handler": "ship",
        "subscription": "transactional",
        "topic": "cli.parcels",
        "kind": "transactional",
        "start": "earliest",
        "types": ["cli.packed"],
    }


def test_doctor_finds_nothing_wrong_before_there_is_a_file(onward: Onward, tmp_path: Path) -> None:
    result = onward("doctor")
    assert result.exit_code == 0
    assert result.stdout.endswith("Nothing is wrong.\n")
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_what_waits_and_how_to_mend_it(onward: Onward, handled: Path) -> None:
    onward("publish", "cli.parcels", "--type", "cli.packed", stdin='{"order_id": "x", "weight_g": 1}\n')
    result = onward("doctor", "--json")
    assert result.exit_code == 1
    wrong = {each["subject"]: each for each in json.loads(result.stdout)["findings"] if not each["fine"]}
    assert set(wrong) == {"dead letters", "subscription"}
    assert wrong["dead letters"]["remedy"].startswith("See `onward dead-letters list`")
    assert "nobody runs shipping/transactional on cli.parcels, and 1 events wait" in wrong["subscription"]["sentence"]


def test_an_outbox_that_nobody_relays_is_shown_and_is_an_alarm(
    onward: Onward, handled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)
    assert onward("dead-letters", "discard", "1").exit_code == 0
    assert json.loads(onward("status", "--json").stdout)["outboxes"] == []
    put = "INSERT INTO onward_outbox (service, due, created_at, events, body) VALUES (?, ?, ?, 1, '')"
    now_s = int(time.time())
    change(handled, "INSERT INTO onward_relay VALUES ('led', 1, 'x', ?)", now_s + 600)
    change(handled, put, "led", 0, (now_s - 60) * 1_000_000)
    change(handled, put, "shipping", 0, (now_s - 5) * 1_000_000)
    led, shipping = json.loads(onward("status", "--json").stdout)["outboxes"]
    assert (led["service"], led["led"], led["oldest_age_s"] >= 60) == ("led", True, True)
    assert (shipping["service"], shipping["led"], 5 <= shipping["oldest_age_s"] < 30) == ("shipping", False, True)
    assert onward("doctor").exit_code == 0
    change(handled, "UPDATE onward_outbox SET created_at = created_at - 26000000")
    examined = onward("doctor")
    assert examined.exit_code == 1
    assert "BAD outbox: shipping: the oldest event has waited for " in examined.stdout
    assert "ok  outbox: led: " in examined.stdout


def test_doctor_says_what_is_wrong_with_a_file_it_can_not_read(onward: Onward, database_path: Path) -> None:
    database_path.write_text("garbage " * 1000)
    result = onward("doctor")
    assert result.exit_code == 1
    assert "BAD file: " in result.stdout
