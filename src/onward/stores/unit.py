"""One store transaction on the SQLite file: effects, outputs and account commit together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from types import TracebackType

import apsw
import msgspec

from onward.errors import TransactionError
from onward.ports import Claim, DeadLetter, Outgoing, Queues, Retried, Returned, Settlement, SyncTransaction
from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from onward.sqlite.fetch import fetch
from onward.sqlite.times import from_micros, to_micros
from onward.stores.other_logs import note_shift
from onward.stores.parking import queues, settle_parked
from onward.stores.refusals import inside_savepoint, swallowed
from onward.stores.settling import arrived, claim_lost, retried, settled, tallies
from onward.stores.transaction import SqliteSyncTransaction, SqliteTransaction, Statements
from onward.telemetry.failpoints import reach

Outlet = Callable[[Sequence[Outgoing]], None]

_MOVE = (
    "UPDATE onward_account SET next_offset = ?1, beyond = ?2, revision = revision + 1, moved_at = ?3,"
    " unclean = CASE WHEN ?4 THEN 0 ELSE unclean END, suspect_until = coalesce(?5, suspect_until), mark = ?10"
    " WHERE subscription = ?6 AND partition = ?7 AND token = ?8 AND revision = ?9"
)
_CAME = (
    "INSERT INTO onward_producer (subscription, partition, incarnation, owed_from, done) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET owed_from = excluded.owed_from, done = excluded.done"
)
_TALLY = (
    "INSERT INTO onward_tally (subscription, partition, handler, succeeded, dead, skipped) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET succeeded = succeeded + excluded.succeeded, dead = dead + excluded.dead,"
    " skipped = skipped + excluded.skipped"
)
_ATTEMPT = "INSERT OR REPLACE INTO onward_attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM onward_attempt WHERE subscription = ? AND partition = ? AND offset = ? AND handler = ?"
_LETTER = (
    "INSERT INTO onward_dead_letter (subscription, partition, offset, handler, state, cause, error, detail,"
    " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
    " event_key, extra, value) VALUES (?, ?, ?, ?, 'dead', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RETRYING = (
    "SELECT id, offset, handler, cause, error, detail, fingerprint, attempts, event_id, event_type,"
    " event_version, event_source, extra, value, first_at, event_time, event_key FROM onward_dead_letter"
    " WHERE subscription = ? AND partition = ? AND state = 'retrying' ORDER BY offset LIMIT 100"
)


class SqliteUnit:
    """`Unit` on the file. `outlet` writes the outputs, inside this transaction."""

    def __init__(self, database: Database, statements: Statements, outlet: Outlet, forget: Callable[[], None]) -> None:
        self._database = database
        self._statements = statements
        self._outlet = outlet
        self._forget = forget
        self._marks: list[int] = []
        self._active = False
        self.outputs: list[Outgoing] = []
        self._renew()

    async def __aenter__(self) -> SqliteUnit:
        await self._database.begin()
        self._active = True
        self._statements.open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._end()
            self._forget()
            self._database.rollback()

    async def run_sync(self, function: Callable[[SyncTransaction], Returned]) -> Returned:
        return function(SqliteSyncTransaction(self._statements))

    async def mark(self) -> None:
        self._marks.append(len(self.outputs))
        self._savepoint(f"SAVEPOINT onward_{len(self._marks)}")

    async def undo(self) -> None:
        gone = self._statements.taken_away
        if gone is not None:
            raise TransactionError(f"Nothing is left of this transaction: {gone}") from gone
        name = f"onward_{len(self._marks)}"
        del self.outputs[self._marks.pop() :]
        self._statements.open = False  # a task that the failed handler left behind writes into no other event
        self._renew()
        self._statements.open = True
        self._forget()
        self._savepoint(f"ROLLBACK TO {name}")
        self._savepoint(f"RELEASE {name}")

    async def keep(self) -> None:
        self._refuse_failed()
        self._savepoint(f"RELEASE onward_{len(self._marks)}")
        self._marks.pop()

    def _renew(self) -> None:
        """A `tx` that works while this unit is open, and until the next `undo`."""
        statements = self._statements = self._statements.anew()
        statements.outputs = self.outputs
        self.tx = SqliteTransaction(statements)

    def _savepoint(self, sql: str) -> None:
        try:
            self._database.writer.execute(sql)
        except apsw.Error as error:
            raise translate(error, "Keeping apart what each event did") from error

    async def retrying(self, claim: Claim) -> list[Retried]:
        rows = fetch(self._database.writer, _RETRYING, (claim.subscription, claim.partition))
        return [retried(claim, row, at, from_micros(micros), key) for *row, at, micros, key in rows]

    async def queues(self, claim: Claim, now: float) -> Queues:
        return queues(self._database.writer, claim, now)

    async def commit(self, claim: Claim | None, settlement: Settlement | None) -> None:
        self._refuse_failed()
        self._statements.open = False
        outputs = settlement.outputs if settlement is not None else self.outputs
        try:
            if outputs:
                self._outlet(outputs)
            if claim is not None and settlement is not None:
                self._settle(claim, settlement)
        except apsw.Error as error:
            raise translate(error, "Storing what a batch did") from error
        reach("store.committing")
        self._end()
        try:
            self._database.commit()
        except BaseException:
            self._forget()
            raise
        reach("store.committed")
        if claim is not None and settlement is not None:
            settled(claim, settlement)

    def _end(self) -> None:
        self._active = False
        self._statements.open = False

    def _refuse_failed(self) -> None:
        failed = self._statements.failed
        if failed is not None:
            raise swallowed(failed) from failed
        if self._statements.savepoints:
            raise inside_savepoint()

    def _settle(self, claim: Claim, done: Settlement) -> None:
        writer = self._database.writer
        now = time()
        beyond = done.position.beyond.to_bytes() if done.position.beyond else None
        where = (claim.subscription, claim.partition)
        writer.execute(
            _MOVE,
            (
                done.position.next,
                beyond,
                now,
                done.clears_unclean,
                done.suspect_until,
                *where,
                claim.token,
                claim.revision,
                claim.mark,
            ),
        )
        if writer.changes() != 1:
            raise claim_lost(claim)
        for numbers in arrived(claim, done):
            writer.execute(_CAME, (*where, *numbers))
        for tally in tallies(claim, done):
            writer.execute(_TALLY, (claim.subscription, *tally))
        if done.dead:
            writer.executemany(_LETTER, [_letter_row(claim.subscription, letter, now) for letter in done.dead])
        if done.attempts:
            writer.executemany(
                _ATTEMPT, [(*where, offset, handler, *each) for (offset, handler), each in done.attempts.items()]
            )
        if done.forget:
            writer.executemany(_FORGET, [(*where, *key) for key in done.forget])
        if done.revived or done.still_dead:
            self._settle_retried(done, where)
        settle_parked(writer, claim, done)
        if done.shift is not None:
            note_shift(writer, claim, done.shift, done.position.start, done.skipped)

    def _settle_retried(self, done: Settlement, where: tuple[int, int]) -> None:
        writer = self._database.writer
        for letter_id in done.revived:
            writer.execute(
                "UPDATE onward_dead_letter SET state = 'recovered' WHERE id = ? AND state IN ('dead', 'retrying')",
                (letter_id,),
            )
            if writer.changes() != 1:
                raise TransactionError(
                    f"Dead letter {letter_id} was discarded while it ran again. It stays discarded, and nothing that"
                    " its handler did was stored."
                )
            writer.execute(
                "UPDATE onward_tally SET dead = dead - 1 WHERE (subscription, partition, handler) ="
                " (SELECT subscription, partition, handler FROM onward_dead_letter WHERE id = ?)",
                (letter_id,),
            )
        for letter_id, letter in done.still_dead:
            what = (letter.cause, letter.error, letter.detail, letter.fingerprint, letter.attempts)
            writer.execute(
                "UPDATE onward_dead_letter SET state = 'dead', cause = ?, error = ?, detail = ?, fingerprint = ?,"
                " attempts = ?, died_at = ? WHERE id = ? AND subscription = ? AND state IN ('dead', 'retrying')",
                (*what, time(), letter_id, where[0]),
            )


def _letter_row(subscription: int, letter: DeadLetter, now: float) -> tuple[object, ...]:
    envelope = letter.envelope
    return (
        subscription,
        envelope.partition,
        letter.offset,
        letter.handler,
        letter.cause,
        letter.error,
        letter.detail,
        letter.fingerprint,
        letter.attempts,
        letter.first_at,
        now,
        envelope.id,
        envelope.type,
        envelope.version,
        envelope.source,
        to_micros(envelope.time),
        envelope.key,
        msgspec.json.encode(envelope.extensions) if envelope.extensions else None,
        letter.value,
    )
