"""Policy: when to try again, when to stop, and which failures are the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.errors import DeclarationError, DecodeError, FatalError
from onward.policy import (
    Again,
    Cause,
    Dead,
    Decision,
    Retry,
    attempts_after_unclean,
    decide,
    decide_suspect,
    failure_title,
    fingerprint,
    is_fatal,
    suspect_range,
)


class OutOfPaperError(Exception):
    """An error that a user's handler declares fatal."""


def raised_by(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it raises is what the test looks at
        return error
    raise AssertionError("nothing was raised")


def raised_in(source: str, name: str = "shop", filename: str = "shop.py") -> Exception:
    """What `run()` of this source raises, as if it stood in the module `name`."""
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(source, filename, "exec"), namespace)  # noqa: S102 - the source is written in this file
    error = raised_by(namespace["run"])
    # The first frame is the catching test's, which no user's traceback has.
    traceback = error.__traceback__
    assert isinstance(traceback, TracebackType)
    return error.with_traceback(traceback.tb_next)


def test_waits_double_up_to_the_longest() -> None:
    retry = Retry(max_attempts=8, first_s=0.5, factor=2.0, max_s=3.0)
    waits = [decide(False, attempt, retry, random=0.0) for attempt in range(1, 8)]
    assert waits == [Again(0.5), Again(1.0), Again(2.0), Again(3.0), Again(3.0), Again(3.0), Again(3.0)]


def test_chance_takes_at_most_the_declared_share_off_a_wait() -> None:
    retry = Retry(first_s=2.0, jitter=0.5)
    assert decide(False, 1, retry, random=0.5) == Again(1.5)
    assert decide(False, 1, Retry(first_s=2.0, jitter=0.0), random=0.9) == Again(2.0)


def test_the_last_attempt_makes_a_dead_letter() -> None:
    retry = Retry(max_attempts=3)
    assert isinstance(decide(False, 2, retry, random=0.0), Again)
    assert decide(False, 3, retry, random=0.0) == Dead(Cause.ATTEMPTS_SPENT)
    assert decide(False, 4, retry, random=0.0) == Dead(Cause.ATTEMPTS_SPENT)


def test_a_fatal_error_makes_a_dead_letter_at_the_first_attempt() -> None:
    assert decide(True, 1, Retry(), random=0.0) == Dead(Cause.FATAL)


@given(
    st.integers(1, 100),
    st.floats(0, 86_400),
    st.floats(1, 100),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_no_wait_is_negative_or_beyond_the_longest(
    attempt: int, first_s: float, factor: float, jitter: float, random: float
) -> None:
    retry = Retry(max_attempts=100, first_s=first_s, factor=factor, max_s=86_400, jitter=jitter)
    assert 0 <= retry.wait_s(attempt, random) <= 86_400


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"max_attempts": 0}, "max_attempts=0.*whole number from 1 to 100"),
        ({"max_attempts": 2.5}, "max_attempts=2.5.*whole number from 1 to 100"),
        ({"max_attempts": True}, "max_attempts=True.*whole number from 1 to 100"),
        ({"max_attempts": 101}, "max_attempts=101"),
        ({"first_s": -0.1}, "first_s=-0.1.*a number from 0 to 86400"),
        ({"first_s": "1"}, "first_s='1'.*a number from 0 to 86400"),
        ({"factor": 0.5}, "factor=0.5.*a number from 1 to 100"),
        ({"max_s": float("nan")}, "max_s=nan.*a number from 0 to 86400"),
        ({"jitter": 1.5}, "jitter=1.5.*a number from 0 to 1"),
        ({"first_s": 31}, "first_s=31.*raise max_s or lower first_s"),
    ],
)
def test_a_retry_that_can_not_work_is_told_when_declared(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        Retry(**fields)


@pytest.mark.parametrize("error", [FatalError("no"), DecodeError("bytes"), DeclarationError("5"), OutOfPaperError()])
def test_fatal_message_declaration_and_declared_errors_are_fatal(error: BaseException) -> None:
    assert is_fatal(error, (OutOfPaperError,))


@pytest.mark.parametrize(
    "error", [TypeError(), KeyError("sku"), OutOfPaperError(), ExceptionGroup("g", [ValueError()])]
)
def test_any_other_error_is_tried_again(error: BaseException) -> None:
    assert not is_fatal(error, (ZeroDivisionError,))


def test_a_group_with_a_fatal_error_anywhere_inside_is_fatal() -> None:
    inner = ExceptionGroup("inner", [ValueError(), FatalError("no")])
    assert is_fatal(ExceptionGroup("outer", [OSError(), inner]))


def test_suspicion_begins_with_the_second_unclean_claim() -> None:
    assert list(suspect_range(0, 40, 3)) == []
    assert list(suspect_range(1, 40, 3)) == []
    assert list(suspect_range(2, 40, 3)) == [40, 41, 42]
    assert list(suspect_range(7, 40, 3)) == [40, 41, 42]


@pytest.mark.parametrize(
    ("marked", "unmarked", "attempts"), [(0, 0, 0), (0, 2, 0), (1, 0, 1), (1, 1, 2), (1, 2, 3), (3, 9, 5)]
)
def test_marked_attempts_count_and_at_most_two_unmarked(marked: int, unmarked: int, attempts: int) -> None:
    assert attempts_after_unclean(marked, unmarked) == attempts


def test_an_event_that_ends_its_process_is_a_dead_letter_after_its_attempts() -> None:
    verdicts = [decide_suspect(marked, 2, Retry(max_attempts=5)) for marked in range(4)]
    expected: list[Decision] = [Again(0.0), Again(0.0), Again(0.0), Dead(Cause.PROCESS_DIED)]
    assert verdicts == expected


def test_a_neighbour_of_the_suspect_is_run_alone_however_few_attempts_it_has() -> None:
    assert decide_suspect(0, 2, Retry(max_attempts=1)) == Again(0.0)


DECLINE = """
class Declined(Exception):
    pass

def charge(card):
    raise Declined(card)

def run():
    charge("{card}")
"""


def test_a_fingerprint_is_twelve_hex_digits_that_stay_when_lines_and_messages_change() -> None:
    first = raised_in(DECLINE.format(card="4000-1"))
    later = raised_in("# a new comment\n\n" + DECLINE.format(card="4000-2"), filename="moved/shop.py")
    assert fingerprint(first) == fingerprint(later)
    assert re.fullmatch("[0-9a-f]{12}", fingerprint(first))


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    program = (
        "from onward.policy import fingerprint\n"
        "def run():\n    raise KeyError('sku')\n"
        "try:\n    run()\nexcept KeyError as error:\n"
        "    print(fingerprint(error.with_traceback(error.__traceback__.tb_next)))\n"
    )
    prints = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        prints.append(subprocess.check_output([sys.executable, "-c", program], env=env, text=True).strip())
    here = fingerprint(raised_in("def run():\n    raise KeyError('qty')\n"))
    assert prints == [here, here]


def test_another_type_function_or_cause_is_another_fingerprint() -> None:
    sources = [
        "def run():\n    raise ValueError",
        "def run():\n    raise KeyError",
        "def charge():\n    raise ValueError\ndef run():\n    charge()",
        "def run():\n    raise ValueError from KeyError()",
        "def run():\n    raise ExceptionGroup('g', [ValueError()])",
        "def run():\n    raise ExceptionGroup('g', [KeyError()])",
    ]
    assert len({fingerprint(raised_in(source)) for source in sources}) == len(sources)


def test_frames_outside_the_innermost_three_do_not_count() -> None:
    inner = "def a():\n    raise ValueError\ndef b():\n    a()\ndef c():\n    b()\n"
    assert fingerprint(raised_in(inner + "def run():\n    c()")) == fingerprint(
        raised_in(inner + "def d():\n    c()\ndef run():\n    d()")
    )


CALL = "def run():\n    step()\n"


@pytest.mark.parametrize(
    ("module", "filename"),
    [
        ("onward.pipeline.loop", "src/onward/pipeline/loop.py"),
        ("json.decoder", "lib/json/decoder.py"),
        ("client", "venv/site-packages/client/wire.py"),
        ("client", "/usr/lib/python3/dist-packages/client.py"),
    ],
)
def test_frames_of_ours_and_of_libraries_do_not_count(module: str, filename: str) -> None:
    library: dict[str, Any] = {"__name__": module}
    exec(compile("def step():\n    raise ValueError", filename, "exec"), library)  # noqa: S102
    user: dict[str, Any] = {"__name__": "shop", "step": library["step"]}
    exec(compile(CALL, "shop.py", "exec"), user)  # noqa: S102
    error = raised_by(user["run"])
    assert (
        failure_title(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)) == "ValueError in run"
    )


def test_an_application_installed_among_the_libraries_has_frames() -> None:
    error = raised_in("def run():\n    raise ValueError", filename="venv/site-packages/shop.py")
    assert failure_title(error) == "ValueError in run"


def test_a_blueprint_is_a_users_code() -> None:
    error = raised_in("def run():\n    raise ValueError", name="onward.blueprints.shop")
    assert failure_title(error) == "ValueError in run"


def test_a_title_tells_types_causes_and_function() -> None:
    source = DECLINE.replace("raise Declined(card)", "raise Declined(card) from TimeoutError()")
    assert failure_title(raised_in(source)) == "shop.Declined from TimeoutError in charge"


def test_what_was_being_handled_is_told_unless_suppressed() -> None:
    handling = "def run():\n    try:\n        {{}}['sku']\n    except KeyError:\n        raise ValueError{}"
    assert failure_title(raised_in(handling.format(""))) == "ValueError from KeyError in run"
    assert failure_title(raised_in(handling.format(" from None"))) == "ValueError in run"


def test_an_error_that_was_never_raised_has_a_title_and_a_fingerprint() -> None:
    assert failure_title(ValueError("x")) == "ValueError"
    assert fingerprint(ValueError("x")) == fingerprint(ValueError("y"))


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert failure_title(first) == " from ".join(["ValueError", "KeyError"] * 4)


def test_a_title_is_cut_at_two_hundred_characters() -> None:
    error = type("E" * 300, (Exception,), {})()
    assert len(failure_title(error)) == 200
    assert failure_title(error).endswith("E…")
