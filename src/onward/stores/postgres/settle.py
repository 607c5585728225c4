"""What one commit says about an account, as statements that travel together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from onward.errors import TransactionError
from onward.ports import Claim, DeadLetter, Settlement
from onward.stores.postgres.command import Command
from onward.stores.postgres.letters import LETTER, letter_row
from onward.stores.postgres.other_logs import shifted
from onward.stores.postgres.parking import locked, settle_parked
from onward.stores.postgres.text import storable
from onward.stores.settling import arrived, claim_lost, tallies

_MOVE = (  # fails where it finds no account, so that it travels with its COMMIT
    "WITH moved AS (UPDATE onward.account SET next_offset = $1, beyond = $2, revision = revision + 1, moved_at = $3,"
    " unclean = CASE WHEN $4 THEN 0 ELSE unclean END, suspect_until = coalesce($5, suspect_until),"
    " mark = $6 WHERE subscription = $7 AND partition = $8 AND token = $9 AND revision = $10 RETURNING 1)"
    " SELECT 1 / (SELECT count(*) FROM moved)"
)
_CAME = (
    "INSERT INTO onward.producer (subscription, partition, incarnation, owed_from, done) VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (subscription, partition, incarnation) DO UPDATE SET owed_from = excluded.owed_from,"
    " done = excluded.done"
)
_TALLY = (
    "INSERT INTO onward.tally AS t (subscription, partition, handler, succeeded, dead, skipped)"
    " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (subscription, partition, handler) DO UPDATE SET"
    " succeeded = t.succeeded + excluded.succeeded, dead = t.dead + excluded.dead,"
    " skipped = t.skipped + excluded.skipped"
)
_ATTEMPT = (
    'INSERT INTO onward.attempt (subscription, partition, "offset", handler, attempts, error, fingerprint, first_at,'
    ' last_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (subscription, partition, "offset", handler)'
    " DO UPDATE SET attempts = excluded.attempts, error = excluded.error, fingerprint = excluded.fingerprint,"
    " first_at = excluded.first_at, last_at = excluded.last_at"
)
_FORGET = 'DELETE FROM onward.attempt WHERE subscription = $1 AND partition = $2 AND "offset" = $3 AND handler = $4'
_REVIVED = "UPDATE onward.dead_letter SET state = 'recovered' WHERE id = $1 AND state IN ('dead', 'retrying')"
_REVIVED_TALLY = (
    "UPDATE onward.tally t SET dead = t.dead - 1 FROM onward.dead_letter d WHERE d.id = $1"
    " AND t.subscription = d.subscription AND t.partition = d.partition AND t.handler = d.handler"
)
_STILL_DEAD = (
    "UPDATE onward.dead_letter SET state = 'dead', cause = $1, error = $2, detail = $3, fingerprint = $4,"
    " attempts = $5, died_at = $6 WHERE id = $7 AND subscription = $8 AND state IN ('dead', 'retrying')"
)


def settle(claim: Claim, done: Settlement) -> Iterator[Command]:
    """The account first: whoever lost the claim is told so, whatever the other statements meet."""
    now = datetime.now(UTC)
    where = (claim.subscription, claim.partition)
    beyond = done.position.beyond.to_bytes() if done.position.beyond else None
    move = (done.position.next, beyond, now, done.clears_unclean, done.suspect_until, claim.mark)
    yield Command(_MOVE, [(*move, *where, claim.token, claim.revision)], claim_lost(claim), fails=True, ours=True)
    if done.shift is not None:
        yield from shifted(claim, done.shift, done)
    yield from locked(claim, done)
    if numbers := arrived(claim, done):
        yield Command(_CAME, [(*where, *each) for each in numbers], ours=True)
    if sums := tallies(claim, done):
        yield Command(_TALLY, [(claim.subscription, *each) for each in sums], ours=True)
    if done.dead:
        yield Command(LETTER, [letter_row(claim.subscription, letter, now) for letter in done.dead])
    if done.attempts:
        rows = [
            (*where, *place, each.attempts, storable(each.error), each.fingerprint, *map(_time, each[-2:]))
            for place, each in done.attempts.items()
        ]
        yield Command(_ATTEMPT, rows)
    if done.forget:
        yield Command(_FORGET, [(*where, *key) for key in done.forget])
    for letter_id in done.revived:
        discarded = TransactionError(
            f"Dead letter {letter_id} was discarded while it ran again. It stays discarded, and nothing that"
            " its handler did was stored."
        )
        yield Command(_REVIVED, [(letter_id,)], discarded)
        yield Command(_REVIVED_TALLY, [(letter_id,)])
    if done.still_dead:
        yield Command(_STILL_DEAD, [(*_failure(each.letter), now, each.id, where[0]) for each in done.still_dead])
    yield from settle_parked(claim, done)


def _failure(letter: DeadLetter) -> tuple[object, ...]:
    return letter.cause, storable(letter.error), storable(letter.detail), storable(letter.fingerprint), letter.attempts


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
