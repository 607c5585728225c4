"""What the command line shows of a database, what it changes there, and how it ends."""

import asyncio
import json
import sys

import psycopg
import pytest
from click.testing import CliRunner, Result

from onward.cli import main
from scripts.servers.postgres import Postgres
from tests.integration.postgres.looking import Onward, change, command_line, park, payment, rows
from tests.integration.postgres.pooler import pooler
from tests.integration.postgres.stage import Stage, on_stage


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)


def wrong(result: Result) -> dict[str, str]:
    """Of `doctor --json`: the sentence of each finding that is not fine, by subject."""
    return {each["subject"]: each["sentence"] for each in json.loads(result.stdout)["findings"] if not each["fine"]}


def test_status_shows_what_was_handled_and_that_nobody_holds_anything(seen: Onward) -> None:
    result = seen("status", "--json")
    assert result.exit_code == 0
    (shown,) = json.loads(result.stdout)["subscriptions"]
    assert (shown["service"], shown["topic"], shown["handled"]) == ("payment", "looking.orders", 6)
    assert (shown["dead_letters"], shown["retrying"], shown["lag"]) == (1, 0, None)
    assert shown["rate_per_s"] == 0
    text = seen("status").stdout
    assert "nobody: 0-1" in text
    assert "The ends of logs are not known" in text


def test_status_names_who_holds_partitions(handled: str, onward: Onward) -> None:
    async def scene(stage: Stage) -> None:
        async with stage.running(payment()) as service:
            await stage.until(lambda: len(stage.rows("SELECT 1 FROM onward.account WHERE token IS NOT NULL")) == 2)
            (shown,) = json.loads((await asyncio.to_thread(onward, "status", "--json")).stdout)["subscriptions"]
            assert {holder["member"] for holder in shown["holders"]} == {service.member}
            assert {holder["sure"] for holder in shown["holders"]} == {False}, "no broker was asked"
            assert f"last …{service.member[-8:]}: 0-1" in (await asyncio.to_thread(onward, "status")).stdout

    on_stage(handled, scene)


def test_a_dead_letter_is_listed_and_shown_with_its_bytes(seen: Onward) -> None:
    (listed,) = json.loads(seen("dead-letters", "list", "--json").stdout)
    assert (listed["handler"], listed["event_key"], listed["cause"]) == ("take_payment", "bad", "fatal")
    assert listed["data"] == {"order_id": "bad", "cents": -1}
    shown = seen("dead-letters", "show", str(listed["id"])).stdout
    assert "nobody pays less than nothing" in shown
    assert '{"order_id":"bad","cents":-1}' in shown
    assert "take_payment" in seen("dead-letters", "list").stdout
    assert seen("dead-letters", "list", "--service", "other").stdout == "No dead letters.\n"


def test_a_dead_letter_is_shown_with_how_many_events_wait_for_it_and_status_with_how_many_are_parked(
    handled: str, onward: Onward
) -> None:
    park(handled, "take_payment")
    parked, other = json.loads(onward("dead-letters", "list", "--json").stdout)
    assert (parked["event_key"], parked["waiting"], other["waiting"]) == ("parked", 1, 0)
    assert "  waiting   1 later event of its key\n" in onward("dead-letters", "show", str(parked["id"])).stdout
    assert "waiting" not in onward("dead-letters", "show", str(other["id"])).stdout
    (shown,) = json.loads(onward("status", "--json").stdout)["subscriptions"]
    assert (shown["dead_letters"], shown["parked"]) == (2, 1)
    assert onward("dead-letters", "discard", str(parked["id"])).exit_code == 0
    assert rows(handled, "SELECT letter, waiting FROM onward.blocked") == [(None, 1)]
    assert onward("audit").exit_code == 0


def test_a_dead_letter_that_is_not_there_ends_with_1(seen: Onward) -> None:
    for arguments in (("show", "99"), ("retry", "99"), ("discard", "1", "99")):
        result = seen("dead-letters", *arguments)
        assert result.exit_code == 1
        assert "There is no dead letter 99" in result.stderr
    assert seen("dead-letters", "retry").exit_code == 2


def test_nothing_is_discarded_when_one_of_the_letters_can_not_be(handled: str, onward: Onward) -> None:
    assert onward("dead-letters", "discard", "1", "99").exit_code == 1
    assert rows(handled, "SELECT state FROM onward.dead_letter") == [("dead",)]
    assert onward("audit").exit_code == 0


def test_a_retried_dead_letter_takes_effect_once_and_the_sums_hold(handled: str, onward: Onward) -> None:
    assert onward("dead-letters", "retry", "1").stdout.startswith("1 dead letter is marked to be retried")

    async def scene(stage: Stage) -> None:
        async with stage.running(payment(least_cents=-1)):
            await stage.until(lambda: stage.rows("SELECT state FROM onward.dead_letter") == [("recovered",)])

    on_stage(handled, scene)
    assert rows(handled, "SELECT count(*) FROM payment WHERE order_id = 'bad'") == [(1,)]
    assert onward("audit").exit_code == 0
    again = onward("dead-letters", "retry", "1")
    assert again.exit_code == 1
    assert "it is recovered already" in again.stderr


def test_all_dead_letters_can_be_retried_at_once(handled: str, onward: Onward) -> None:
    assert onward("dead-letters", "retry", "--all").stdout.startswith("1 dead letter ")
    assert rows(handled, "SELECT state FROM onward.dead_letter") == [("retrying",)]
    assert onward("dead-letters", "retry", "--all").stdout.startswith("0 dead letters")


def test_a_letter_of_a_retired_subscription_is_not_retried(handled: str, onward: Onward) -> None:
    change(handled, "UPDATE onward.subscription SET retired_at = now()")
    refused = onward("dead-letters", "retry", "1")
    assert refused.exit_code == 1
    assert "its subscription is retired" in refused.stderr


def test_a_discarded_dead_letter_stays_on_record_and_the_sums_hold(handled: str, onward: Onward) -> None:
    assert onward("dead-letters", "discard", "1").stdout == "1 dead letter is discarded.\n"
    assert onward("dead-letters", "list").stdout == "No dead letters.\n"
    assert "discarded" in onward("dead-letters", "list", "--all-states").stdout
    assert onward("audit").exit_code == 0
    assert rows(handled, "SELECT sum(dead), sum(discarded) FROM onward.tally") == [(0, 1)]


def test_discarding_waits_for_a_commit_that_has_the_letter_in_hand_and_stays_right(
    handled: str, onward: Onward
) -> None:
    with psycopg.connect(handled) as working:
        working.execute("UPDATE onward.account SET revision = revision + 1")
        working.execute("UPDATE onward.tally SET dead = dead - 1, succeeded = succeeded + 1 WHERE dead = 1")

        async def discard_meanwhile() -> Result:
            discarding = asyncio.create_task(asyncio.to_thread(onward, "dead-letters", "discard", "1"))
            async with asyncio.timeout(20):
                while not rows(handled, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            working.execute("UPDATE onward.dead_letter SET state = 'recovered'")
            working.commit()
            return await discarding

        result = asyncio.run(discard_meanwhile())
    assert result.exit_code == 1
    assert "it is recovered already" in result.stderr
    assert onward("audit").exit_code == 0


def test_discarding_and_a_commit_of_another_partition_lock_the_same_keys_in_one_order(
    handled: str, onward: Onward
) -> None:
    park(handled, "take_payment")
    change(
        handled,
        "INSERT INTO onward.blocked (subscription, handler, key, partition, letter)"
        " SELECT subscription, handler, 'earlier', partition, id FROM onward.dead_letter WHERE event_key = 'bad'",
    )
    one_more = "UPDATE onward.blocked SET waiting = waiting + 1 WHERE key = %s"
    with psycopg.connect(handled) as parking:
        parking.execute(one_more, (b"earlier",))

        async def discard_meanwhile() -> Result:
            discarding = asyncio.create_task(asyncio.to_thread(onward, "dead-letters", "discard", "2", "1"))
            async with asyncio.timeout(20):
                while not rows(handled, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.01)
            parking.execute(one_more, (b"parked",))  # a deadlock, if the discarding had this one already
            parking.commit()
            return await discarding

        assert asyncio.run(discard_meanwhile()).stdout == "2 dead letters are discarded.\n"
    assert rows(handled, "SELECT letter, waiting FROM onward.blocked ORDER BY key") == [(None, 1), (None, 2)]


def test_doctor_finds_nothing_wrong_where_there_is_nothing_yet(postgres_url: str) -> None:
    result = command_line(postgres_url)("doctor")
    assert result.exit_code == 0, result.stdout
    assert "ok  schema: not there yet" in result.stdout
    assert "ok  server: PostgreSQL " in result.stdout
    assert "ok  idle in transaction: the server ends a transaction that waits for 15 s (idle_s)" in result.stdout
    assert "ok  pooler: none is in between" in result.stdout
    assert rows(postgres_url, "SELECT 1 FROM pg_namespace WHERE nspname = 'onward'") == []


def test_doctor_tells_that_a_pooler_is_in_between(handled: str, postgres: Postgres) -> None:
    async def look() -> Result:
        async with pooler(postgres.port) as port:
            url = f"{handled.replace(f':{postgres.port}/', f':{port}/')}?sslmode=disable"
            return await asyncio.to_thread(command_line(url), "doctor")

    assert "ok  pooler: one is in between, which is fine in transaction mode" in asyncio.run(look()).stdout


def test_doctor_names_dead_letters_and_a_time_out_that_outlasts_a_partitions_owner(handled: str) -> None:
    result = command_line(f"{handled}?idle_s=60")("doctor", "--json")
    assert result.exit_code == 1
    assert set(wrong(result)) == {"dead letters", "idle in transaction"}


def test_doctor_names_versions_that_wait_for_newer_code(handled: str, onward: Onward) -> None:
    change(
        handled,
        "INSERT INTO onward.attempt SELECT id, partition, 7, '', 3, 'UnknownVersionError: version 9', 'f', now(), now()"
        " FROM onward.subscription, generate_series(0, 1) AS partition",
    )
    found = wrong(onward("doctor", "--json"))
    assert found["version"] == ("payment/transactional on looking.orders: 2 events wait for newer code. version 9")


def test_doctor_names_a_database_that_is_not_durable(handled: str) -> None:
    database = handled.rpartition("/")[2]
    with psycopg.connect(handled, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database} SET synchronous_commit = off".encode())
    assert wrong(command_line(handled)("doctor", "--json"))["durability"] == "fsync on, synchronous_commit off"


def test_doctor_names_a_database_that_is_not_there(handled: str) -> None:
    result = command_line(handled.replace("/test_", "/absent_"))("doctor", "--json")
    assert result.exit_code == 1
    assert "does not exist" in wrong(result)["store"]


def test_doctor_names_a_schema_that_a_newer_onward_has_changed(handled: str) -> None:
    change(handled, "INSERT INTO onward.migration (version, phase, name) VALUES (9999, 'after', 'drops')")
    result = command_line(handled)("doctor", "--json")
    assert result.exit_code == 1
    assert "step 9999 of the schema onward, which leaves this version behind" in wrong(result)["schema"]


def put_out(url: str, service: str, age_s: float) -> None:
    """Something waits in an outbox for so long; what it is does not matter here."""
    change(
        url,
        "INSERT INTO onward.outbox (service, created_at, events, body)"
        " VALUES (%s, now() - make_interval(secs => %s), 1, '')",
        service,
        age_s,
    )


def lead(url: str, service: str, *, for_s: float) -> None:
    change(
        url,
        "INSERT INTO onward.relay (service, epoch, token, until) VALUES (%s, 1, 'x', now() + make_interval(secs => %s))"
        " ON CONFLICT (service) DO UPDATE SET until = excluded.until",
        service,
        for_s,
    )


def test_status_shows_how_long_outboxes_have_waited_and_who_leads(handled: str, onward: Onward) -> None:
    assert json.loads(onward("status", "--json").stdout)["outboxes"] == []
    put_out(handled, "payment", 100)
    put_out(handled, "shipping", 50)
    lead(handled, "payment", for_s=60)
    lead(handled, "idle", for_s=-60)
    idle, payment_, shipping = json.loads(onward("status", "--json").stdout)["outboxes"]
    assert (idle["service"], idle["oldest_age_s"], idle["led"]) == ("idle", None, False)
    assert (payment_["service"], payment_["led"]) == ("payment", True)
    assert 100 <= payment_["oldest_age_s"] < 150
    assert (shipping["service"], shipping["led"]) == ("shipping", False)
    assert 50 <= shipping["oldest_age_s"] < 100
    text = onward("status").stdout
    assert "OUTBOX" in text
    assert "none leads" in text


def test_doctor_is_alarmed_by_what_waits_for_30_s_while_nobody_leads(handled: str, onward: Onward) -> None:
    assert onward("dead-letters", "discard", "1").exit_code == 0
    put_out(handled, "payment", 5)
    assert onward("doctor").exit_code == 0
    put_out(handled, "shipping", 31)
    examined = onward("doctor")
    assert examined.exit_code == 1
    assert "BAD outbox: shipping: the oldest event has waited for 3" in examined.stdout
    assert "Start service shipping" in examined.stdout
    lead(handled, "shipping", for_s=60)
    assert onward("doctor").exit_code == 0
    lead(handled, "shipping", for_s=-1)
    assert onward("doctor").exit_code == 1


def test_one_store_is_named_once(seen: Onward) -> None:
    result = seen("status", "--database", "other.db")
    assert result.exit_code == 2
    assert "--store and --database both name the store" in result.stderr


def test_the_environment_names_the_store(handled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_STORE", handled)
    assert CliRunner().invoke(main, ["audit"]).exit_code == 0


def test_a_store_without_its_extra_names_the_extra(seen: Onward, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("onward.stores.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    result = seen("status")
    assert result.exit_code == 1
    assert "pip install 'onward[postgres]'" in result.stderr
