"""From an exception to a decision about one (event, handler), with what the store keeps of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from onward.errors import (
    BacklogFullError,
    ClaimLostError,
    DecodeError,
    StoreBusyError,
    StoreClosedError,
    StoreConflictError,
    StoreCorruptError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnreachableError,
    UnknownTypeError,
    UnknownVersionError,
)
from onward.events import Envelope
from onward.pipeline.handlers import Handler
from onward.policy import Again, Cause, Dead, Retry, decide, failure_title, fingerprint, is_fatal
from onward.ports import Attempt, Claim, DeadLetter

DETAIL_CHARS = 8_000
ERROR_CHARS = 1_000

NOBODYS_ATTEMPT = (
    BacklogFullError,
    ClaimLostError,
    StoreBusyError,
    StoreClosedError,
    StoreConflictError,
    StoreCorruptError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnreachableError,
)
"""Failures of what is below the handler: the batch is rolled back and run again, and no event is blamed."""

NEWER_VERSION = Retry(max_attempts=100, first_s=1.0, factor=1.5, max_s=30.0, jitter=0.2)
"""A newer version of a known type waits for its consumer to be deployed, close to an hour, before it is given up."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt and what follows: `letter` if it was the last, else `attempt` and `after_s`."""

    offset: int
    handler: str
    attempt: Attempt
    after_s: float
    letter: DeadLetter | None


def judge(
    error: BaseException,
    *,
    before: Attempt | None,
    offset: int,
    handler: str,
    rules: Handler | None,
    now: float,
    random: float,
    about: Callable[[], tuple[Envelope, bytes | None]],
) -> Failure:
    """Count this failure and decide; `about` is asked for the event only when it becomes a dead letter.

    `rules` are those of the handler, None where none was chosen: what such an event leaves behind blocks nothing.
    """
    count = (before.attempts if before else 0) + 1
    first_at = before.first_at if before else now
    newer = isinstance(error, UnknownVersionError)
    retry = NEWER_VERSION if newer else rules.retry if rules else Retry()
    decision = decide(not newer and is_fatal(error, rules.fatal if rules else ()), count, retry, random)
    text = _text(error)
    attempt = Attempt(count, text, fingerprint(error), first_at, now)
    if isinstance(decision, Again):
        return Failure(offset, handler, attempt, decision.after_s, None)
    envelope, value = about()
    letter = DeadLetter(
        offset=offset,
        handler=handler,
        cause=_cause(error, decision),
        error=text,
        detail=_detail(error),
        fingerprint=attempt.fingerprint,
        attempts=count,
        first_at=first_at,
        envelope=envelope,
        value=value,
        blocks=bool(handler) and rules is not None and rules.blocks,
    )
    return Failure(offset, handler, attempt, 0.0, letter)


def renewed(letter: DeadLetter, error: BaseException, fatal: tuple[type[BaseException], ...]) -> DeadLetter:
    """A dead letter that failed with this error when it ran again."""
    final = Dead(Cause.FATAL if is_fatal(error, fatal) else Cause.ATTEMPTS_SPENT)
    return letter._replace(
        cause=_cause(error, final), error=_text(error), detail=_detail(error), fingerprint=fingerprint(error)
    )


def died_letter(
    claim: Claim, offset: int, marked: Attempt, attempts: int, envelope: Envelope, value: bytes | None
) -> DeadLetter:
    """For an event that ended its process each time it was tried, alone, after a durable mark."""
    return DeadLetter(
        offset=offset,
        handler="",
        cause=Cause.PROCESS_DIED.value,
        error=f"ProcessDied: the process ended {attempts} times while it handled this event",
        detail=(
            f"Topic {claim.topic!r}, partition {claim.partition}, offset {offset}: no exception was seen; the process"
            " was killed (out of memory, a crash in native code, a signal, or its supervisor, because the handler hung"
            " or kept its transaction open) or exited inside the handler."
        ),
        fingerprint="process-died",
        attempts=attempts,
        first_at=marked.first_at,
        envelope=envelope,
        value=value,
    )


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:ERROR_CHARS]


def _cause(error: BaseException, decision: Dead) -> str:
    if isinstance(error, UnknownVersionError):
        return "unknown_version"
    if isinstance(error, (DecodeError, UnknownTypeError)):
        return "decode"
    return decision.reason.value


def _detail(error: BaseException) -> str:
    text = f"{failure_title(error)}\n" + "".join(traceback.format_exception(error, limit=-20))
    return text if len(text) <= DETAIL_CHARS else text[: DETAIL_CHARS // 2] + "\n…\n" + text[-DETAIL_CHARS // 2 :]
