"""Findings of the audit that stay on record, accepted by somebody who has seen to them."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

import apsw

from onward.inspection.report import unknown_finding


def accept(connection: apsw.Connection, findings: Sequence[int]) -> int:
    """As `StoreView.rule`, inside a transaction of which nothing is to be kept when it raises. Safe to repeat."""
    for each in findings:
        connection.execute(
            "UPDATE onward_shift SET accepted_at = coalesce(accepted_at, ?) WHERE id = ?"
            " AND subscription IN (SELECT id FROM onward_subscription WHERE retired_at IS NULL)",
            (time(), each),
        )
        if not connection.changes():
            raise unknown_finding(each)
    return len(set(findings))
