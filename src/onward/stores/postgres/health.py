"""An examination of a database and its server: each finding says what is so and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from onward.errors import OnwardError
from onward.inspection.accounts import Subscribed
from onward.inspection.ends import ask_if_answered, with_ends
from onward.inspection.finding import Finding, dead_letters, extras, nobody_runs, outbox, python, waiting_for_code
from onward.inspection.view import LogsView
from onward.policy import AWAITS_CODE
from onward.stores.postgres.accounts import subscriptions
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.inspection import Inspection
from onward.stores.postgres.leaving import outboxes
from onward.stores.postgres.migration import Standing, migrations, refuse_other_schema, standing

OLDEST_SERVER = 13
LONGEST_IDLE_S = 45.0  # Kafka gives the partitions of a consumer that is silent for longer to another one

_SERVER = (
    "SELECT current_setting('server_version'), current_setting('server_version_num')::integer / 10000,"
    " pg_is_in_recovery(), current_setting('fsync'), current_setting('synchronous_commit'), pg_backend_pid()"
)
_DEAD = "SELECT count(*) FROM onward.dead_letter WHERE state = 'dead'"
_AWAITS_CODE = (
    'SELECT subscription, error, count(DISTINCT (partition, "offset")) FROM onward.attempt WHERE error LIKE $1'
    " GROUP BY subscription, error ORDER BY subscription, error"
)


async def examine(address: Address, logs: LogsView | None) -> list[Finding]:
    """Everything that can be looked at without changing anything; never raises for what is wrong."""
    found = [python(), extras()]
    connections = Connections(address)
    try:
        found += await _server(Inspection(connections))
        found += await _store(Inspection(connections), logs)
    except OnwardError as error:
        found.append(Finding("store", False, str(error), "Mend what the sentence names, then look again."))
    finally:
        connections.close()
    return found


async def _server(inspection: Inspection) -> list[Finding]:
    async with inspection.snapshot() as snapshot:
        ((version, major, standby, fsync, synchronous, backend),) = await snapshot.rows(_SERVER)
        pooled = backend != snapshot.session.backend_pid
    recent = major >= OLDEST_SERVER
    durable = fsync == "on" and synchronous != "off"
    brief = inspection.address.idle_s < LONGEST_IDLE_S
    return [
        Finding(
            "server",
            recent and not standby,
            f"PostgreSQL {version} at {inspection.address}{', a standby' if standby else ''}",
            _server_remedy(recent, standby),
        ),
        Finding(
            "durability",
            durable,
            f"fsync {fsync}, synchronous_commit {synchronous}",
            "" if durable else "Set both on: what was committed is lost with the server's next crash otherwise.",
        ),
        Finding(
            "pooler",
            True,
            "one is in between, which is fine in transaction mode: nothing outlives a transaction"
            if pooled
            else "none is in between",
        ),
        Finding(
            "idle in transaction",
            brief,
            f"the server ends a transaction that waits for {inspection.address.idle_s:g} s (idle_s)",
            ""
            if brief
            else f"Set idle_s below {LONGEST_IDLE_S:g} in the store's address: a partition goes to another process"
            " then, and must not wait for a transaction of the one before.",
        ),
    ]


def _server_remedy(recent: bool, standby: bool) -> str:
    if not recent:
        return f"Upgrade it: {OLDEST_SERVER} is the oldest that onward runs on."
    return "Connect to the primary, such as with target_session_attrs=read-write." if standby else ""


async def _store(inspection: Inspection, logs: LogsView | None) -> list[Finding]:
    async with inspection.snapshot() as snapshot:
        schema = await standing(snapshot.session, migrations())
        found = [_schema(schema, inspection.address)]
        if schema.is_empty or not found[0].fine:
            return found
        subscribed = await subscriptions(snapshot)
        ((dead,),) = await snapshot.rows(_DEAD)
        awaiting = await snapshot.rows(_AWAITS_CODE, f"{AWAITS_CODE}%")
    found.append(dead_letters(dead))
    found += waiting_for_code(subscribed, awaiting)
    found += map(outbox, await outboxes(inspection))
    ends = await asyncio.to_thread(ask_if_answered, logs, subscribed)
    found += _idle(with_ends(subscribed, ends))
    if logs is not None:
        found += await asyncio.to_thread(logs.examine, sorted({each.topic for each in subscribed}))
    return found


def _schema(found: Standing, address: Address) -> Finding:
    if found.is_empty:
        return Finding("schema", True, "not there yet; the first service makes it, or `onward migrate --before`")
    try:
        refuse_other_schema(found, address)
    except OnwardError as error:
        return Finding("schema", False, str(error), "`onward migrate --check` shows what there is and what is missing.")
    version = f"version {max(each.version for each in found.installed)}"
    if found.pending:
        left = ", ".join(str(each.version) for each in found.pending)
        return Finding("schema", True, f"{version}; step {left} is left", "Run `onward migrate --after`.")
    return Finding("schema", True, version)


def _idle(subscribed: list[Subscribed]) -> Iterator[Finding]:
    for each in subscribed:
        if each.lag and all(account.owner is None for account in each.accounts):
            yield nobody_runs(each)
