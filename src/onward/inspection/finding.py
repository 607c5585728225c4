"""One thing that was examined, and what of a machine is examined whatever the store is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from onward.inspection.accounts import Subscribed
from onward.inspection.status import Leaving
from onward.policy import AWAITS_CODE

OLDEST_PYTHON = (3, 11)
UNLED_S = 30.0  # what waits in an outbox for longer without a relay that leads is an alarm
EXTRAS = {
    "metrics": "prometheus_client",
    "tracing": "opentelemetry",
    "pydantic": "pydantic",
    "reload": "watchfiles",
    "kafka": "confluent_kafka",
    "postgres": "psycopg",
    "demo": "starlette",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` says what to do where it is not fine, or not as good as it can be: a warning."""

    subject: str
    fine: bool
    sentence: str
    remedy: str = ""


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= OLDEST_PYTHON
    return Finding("python", fine, version, "" if fine else "Install Python 3.11 or newer.")


def extras() -> Finding:
    missing = [name for name, module in EXTRAS.items() if find_spec(module) is None]
    if not missing:
        return Finding("extras", True, "all are installed")
    return Finding("extras", True, f"not installed, if you want them: pip install 'onward[{','.join(missing)}]'")


def dead_letters(count: int) -> Finding:
    return Finding(
        "dead letters",
        not count,
        f"{count:,} wait for somebody",
        "See `onward dead-letters list`; then `onward dead-letters retry` or `discard`." if count else "",
    )


def nobody_runs(idle: Subscribed) -> Finding:
    """A subscription that events wait for, and nobody claims."""
    kept = "" if idle.elsewhere else "; they are never pruned"
    return Finding(
        "subscription",
        False,
        f"nobody runs {idle.title}, and {idle.lag or 0:,} events wait for it{kept}",
        f"Start service {idle.service}, or retire it: `onward handlers retire {idle.service}"
        f" {idle.handlers[0].name if idle.handlers else idle.name}`.",
    )


def waiting_for_code(subscribed: Iterable[Subscribed], attempts: Iterable[tuple[int, str, int]]) -> Iterator[Finding]:
    """For each subscription's id and error of attempts that begins with AWAITS_CODE, with how many events it is."""
    by_id = {each.id: each for each in subscribed}
    for subscription, error, count in attempts:
        if subscription in by_id:
            waits = f"{count:,} event{' waits' if count == 1 else 's wait'} for newer code"
            yield Finding(
                "version",
                False,
                f"{by_id[subscription].title}: {waits}. {error.removeprefix(AWAITS_CODE)}",
                f"Deploy service {by_id[subscription].service} with the code that knows that version. An event that"
                " waits for close to an hour is a dead letter then, which can be retried.",
            )


def outbox(leaving: Leaving) -> Finding:
    """What waits is fine as long as a relay leads, or may be about to; what was refused is not, or has no topic."""
    waits_s = leaving.oldest_age_s
    waiting = "nothing waits" if waits_s is None else f"the oldest event has waited for {waits_s:,.0f} s"
    leads = "a relay leads" if leaving.led else "no relay leads"
    if leaving.refused:
        return Finding(
            "outbox",
            False,
            f"{leaving.service}: {waiting}, {leads}, and its broker will never take {leaving.refused:,} of its events",
            "See `onward dead-letters list`. Once the topic takes them, such as with max.message.bytes raised, `onward"
            " dead-letters retry` sends them; `discard` drops them.",
        )
    if leaving.barred:
        topics = ", ".join(each.topic for each in leaving.barred)
        return Finding(
            "outbox",
            False,
            f"{leaving.service}: {waiting}, {leads}, and events for {topics} can't leave, while others do."
            f" {' '.join(each.why for each in leaving.barred)}",
            "Mend what the sentence names: what waits then leaves by itself, in its order.",
        )
    fine = leaving.led or waits_s is None or waits_s < UNLED_S
    remedy = (
        f"Start service {leaving.service}: each of its processes can lead. If one runs, its log says why its relay"
        " can't."
    )
    return Finding("outbox", fine, f"{leaving.service}: {waiting}, and {leads}", "" if fine else remedy)
