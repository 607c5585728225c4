"""Findings of the audit that stay on record, accepted by somebody who has seen to them."""

from __future__ import annotations

from collections.abc import Sequence

from onward.inspection.report import unknown_finding
from onward.stores.postgres.session import Session

_ACCEPT = (
    "UPDATE onward.shift SET accepted_at = coalesce(accepted_at, now()) WHERE id = ANY($1::bigint[])"
    " AND subscription IN (SELECT id FROM onward.subscription WHERE retired_at IS NULL) RETURNING id"
)


async def accept(session: Session, findings: Sequence[int]) -> int:
    """As `StoreView.rule`, inside a transaction of which nothing is to be kept when it raises. Safe to repeat."""
    changed = await session.run(_ACCEPT, (list(findings),), "Accepting findings of the audit")
    accepted = {finding for (finding,) in changed.rows}
    for each in findings:
        if each not in accepted:
            raise unknown_finding(each)
    return len(accepted)
