"""What every store answers alike to a relay that may not, or can't, do what it asks."""

from __future__ import annotations

from onward.errors import LeaseLostError, TransactionError


def term_over(service: str) -> LeaseLostError:
    return LeaseLostError(
        f"Another relay has taken over the outbox of service {service!r}, or its lease was given up, or its store is an"
        " older copy now; nothing of this step was stored. The next leader sends what has numbers."
    )


def numbered_or_gone(rows: int, service: str) -> TransactionError:
    return TransactionError(
        f"Of {rows} rows of the outbox of service {service!r} some have numbers or are gone;"
        " none was numbered. Begin another term, which sends what has numbers first."
    )
