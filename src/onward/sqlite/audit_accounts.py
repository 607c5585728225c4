"""What the subscriptions of a file say they have done."""

from __future__ import annotations

from datetime import UTC, datetime

from onward.inspection.sums import Accounts, Came, Moved, Place, sums_of
from onward.sqlite.accounts import subscriptions
from onward.sqlite.inspection import Inspection

_SUMS = "SELECT subscription, partition, handler, succeeded, dead, discarded, skipped FROM onward_tally"
_PARKED = (
    "SELECT k.subscription, p.partition, k.handler, count(*) FROM onward_parked p"
    " JOIN onward_blocked k ON k.id = p.blocked GROUP BY 1, 2, 3"
)
_MOVED = (
    "SELECT h.subscription, h.partition, s.service || '/' || s.name || ' on ' || t.name, h.from_offset, h.to_offset,"
    " h.anew, h.lost, h.why, h.at, h.id, h.accepted_at FROM onward_shift h"
    " JOIN onward_subscription s ON s.id = h.subscription"
    " JOIN onward_topic t ON t.id = s.topic WHERE s.retired_at IS NULL ORDER BY h.id"
)
# Whole is what is written as one interval from 1 on: the format, the 1, and one varint without a padding.
_VARINTS = " OR ".join(f"hex(done) GLOB '0101{'[89A-F]?' * more}[0-7]?'" for more in range(8))
WHOLE = f"owed_from = 1 AND ({_VARINTS}) AND hex(done) NOT GLOB '0101?*00'"
_PRODUCERS = "SELECT subscription, partition, incarnation, owed_from, done FROM onward_producer"
_CAME = f"{_PRODUCERS} WHERE NOT ({WHOLE}) ORDER BY subscription, partition, incarnation"


def accounts(inspection: Inspection) -> Accounts:
    """Read inside one snapshot, with the bounds of the log."""
    sums = sums_of(inspection.rows(_SUMS), inspection.rows(_PARKED))
    marks: dict[Place, list[int]] = {}
    for subscription, partition, offset in inspection.rows("SELECT subscription, partition, offset FROM onward_done"):
        marks.setdefault((subscription, partition), []).append(offset)
    moved: dict[Place, list[Moved]] = {}
    for subscription, partition, title, begin, end, anew, lost, why, at, key, accepted in inspection.rows(_MOVED):
        found = Moved(title, partition, begin, end, bool(anew), lost, why, _told(at), key, _told(accepted))
        moved.setdefault((subscription, partition), []).append(found)
    came: dict[Place, list[Came]] = {}
    for subscription, partition, *numbers in inspection.rows(_CAME):
        came.setdefault((subscription, partition), []).append(Came(*numbers))
    return Accounts(subscriptions(inspection), sums, marks, moved, came)


def _told(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
