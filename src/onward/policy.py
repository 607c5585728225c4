"""What to do about a failure: try again, and when, or give up; and which failures are the same one.

Pure: chance and counts are arguments. "Attempt" counts from 1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import islice
from pathlib import PurePath
from traceback import walk_tb
from types import FrameType
from typing import Final

from onward.errors import DeclarationError, FatalError, MessageError, UnknownVersionError

MAX_UNMARKED_ATTEMPTS: Final = 2
"""How many attempts without a mark count against an event: as many as there can be before marking begins."""

AWAITS_CODE: Final = f"{UnknownVersionError.__name__}: "
"""How the error of an attempt begins, as it is kept, whose event waits until newer code is deployed."""

FINGERPRINT_ERRORS: Final = 8
FINGERPRINT_FRAMES: Final = 3
TITLE_CHARS: Final = 200

_LIMITS: Final = {
    "max_attempts": (1, 100),
    "first_s": (0, 86_400),
    "factor": (1, 100),
    "max_s": (0, 86_400),
    "jitter": (0, 1),
}


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how far apart a failing event is tried.

    max_attempts: tries in all, the first among them, 1 to 100.
    first_s:      the wait after the first try, in seconds.
    factor:       how much longer each further wait is, 1 to 100.
    max_s:        no wait is longer, a day at most.
    jitter:       the share of a wait, 0 to 1, that chance may take off, so that retries do not march in step.

    Raises DeclarationError for a value that can't work.
    """

    max_attempts: int = 5
    first_s: float = 0.1
    factor: float = 2.0
    max_s: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value: object = getattr(self, name)
            wanted, kinds = ("a whole number", int) if name == "max_attempts" else ("a number", (int, float))
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise DeclarationError(
                    f"Retry({name}={value!r}) can't be followed: give {wanted} from {low} to {high}.",
                    setting=name,
                    value=value,
                )
        if self.first_s > self.max_s:
            raise DeclarationError(
                f"Retry(first_s={self.first_s}, max_s={self.max_s}) begins with a wait above its longest: "
                "raise max_s or lower first_s.",
                setting="first_s",
                value=self.first_s,
            )

    def wait_s(self, attempt: int, random: float) -> float:
        """The wait after this failed attempt, for a `random` of 0 to below 1."""
        return min(self.max_s, self.first_s * math.pow(self.factor, attempt - 1)) * (1 - self.jitter * random)


class AfterLast(StrEnum):
    """What becomes of the events that follow one in its key, when the handler has given that one up.

    BLOCK: they wait in the store, until somebody has retried it with success or discarded it; then they run, in order.
    SKIP:  they run, and have overtaken it.
    """

    BLOCK = "block"
    SKIP = "skip"


class Cause(StrEnum):
    """Why an event is tried no more."""

    FATAL = "fatal"
    ATTEMPTS_SPENT = "attempts_spent"
    PROCESS_DIED = "process_died"


@dataclass(frozen=True, slots=True)
class Again:
    """Try the event again after this many seconds, with no transaction open meanwhile."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Dead:
    """Make the event a dead letter."""

    reason: Cause


Decision = Again | Dead


def decide(error_is_fatal: bool, attempt: int, retry: Retry, random: float) -> Decision:
    """What follows the failure of this attempt, for a `random` of 0 to below 1."""
    if error_is_fatal:
        return Dead(Cause.FATAL)
    if attempt >= retry.max_attempts:
        return Dead(Cause.ATTEMPTS_SPENT)
    return Again(retry.wait_s(attempt, random))


def is_fatal(error: BaseException, fatal_types: tuple[type[BaseException], ...] = ()) -> bool:
    """Whether a retry is of no use: a FatalError, MessageError or DeclarationError, one of `fatal_types`, or a group.

    Only other code mends a DeclarationError, such as that of a handler that returns what is no event. A TypeError or
    KeyError is not fatal: it may come from data that another service is about to mend.
    """
    fatal: tuple[type[BaseException], ...] = (FatalError, MessageError, DeclarationError, *fatal_types)
    if isinstance(error, fatal):
        return True
    return isinstance(error, BaseExceptionGroup) and error.subgroup(fatal) is not None


def suspect_range(unclean_claims: int, next_offset: int, batch: int) -> range:
    """The offsets to run one at a time, each after a durable mark, at this many unclean claims in a row.

    The first may be anyone's crash, and the range is empty. From the second on something that both had in
    hand ends its process: `batch` is the most that a process may have in hand.
    """
    suspects = batch if unclean_claims >= MAX_UNMARKED_ATTEMPTS else 0
    return range(next_offset, next_offset + suspects)


def attempts_after_unclean(marked: int, unmarked: int) -> int:
    """How many attempts count against an event: those marked, and at most two from before marking began.

    Without a mark nothing tells the event that ends its process from its neighbours in the batch: none count.
    """
    return marked + min(unmarked, MAX_UNMARKED_ATTEMPTS) if marked else 0


def decide_suspect(marked: int, unmarked: int, retry: Retry) -> Decision:
    """What to do with an event of the suspect range before it is marked and run once more."""
    if attempts_after_unclean(marked, unmarked) >= retry.max_attempts:
        return Dead(Cause.PROCESS_DIED)
    return Again(0.0)


def fingerprint(error: BaseException) -> str:
    """12 hex digits that the same failure has in every process, and still has when lines move.

    Made of the types of the error and its causes, and the names of the user's innermost functions: no
    message, which carries ids; no line or path, which differ between versions and machines.
    """
    parts = [*map(_type_name, _with_causes(error)), "", *_user_functions(error)]
    return blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def failure_title(error: BaseException) -> str:
    """The fingerprint in at most 200 characters: "shop.Declined from TimeoutError in take_payment"."""
    title = " from ".join(map(_type_name, _with_causes(error)))
    functions = _user_functions(error)
    if functions:
        title += f" in {functions[-1]}"
    return title if len(title) <= TITLE_CHARS else title[: TITLE_CHARS - 1] + "…"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or while handling, and so on; of a group, its first member."""
    return islice(_causes(error), FINGERPRINT_ERRORS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            # `raise … from …` sets both the cause and the suppression of the context.
            error = error.__cause__ if error.__suppress_context__ else error.__context__


def _user_functions(error: BaseException) -> list[str]:
    """The names of the innermost functions that are neither ours nor a library's, outermost first."""
    ours_left_out = [frame for frame, _ in walk_tb(error.__traceback__) if not _is_ours(frame)]
    users = [frame for frame in ours_left_out if not _is_library(frame)]
    # An application may itself be installed among the libraries.
    return [frame.f_code.co_qualname for frame in (users or ours_left_out)[-FINGERPRINT_FRAMES:]]


def _is_ours(frame: FrameType) -> bool:
    module = f"{frame.f_globals.get('__name__')}."
    return module.startswith("onward.") and not module.startswith("onward.blueprints.")


def _is_library(frame: FrameType) -> bool:
    top = str(frame.f_globals.get("__name__")).partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    return not {"site-packages", "dist-packages"}.isdisjoint(PurePath(frame.f_code.co_filename).parts)
