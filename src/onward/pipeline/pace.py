"""How fast a handler may be called: a bucket of one token, filled at an even rate, so that calls come evenly too."""

from __future__ import annotations

import math
import re

MOST_PER_S = 100_000.0
LEAST_PER_S = 1 / 86_400
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_LIMIT = re.compile(r"(\d+(?:\.\d+)?)/(s|min|h)")


def calls_per_s(limit: object) -> float:
    """What `rate_limit=` says: "100/s", "5/min", "20/h", or calls a second. Raises ValueError."""
    per_s = 0.0
    if isinstance(limit, str):
        said = _LIMIT.fullmatch(limit)
        if said is not None:
            per_s = float(said[1]) / _SECONDS[said[2]]
    elif isinstance(limit, int | float) and not isinstance(limit, bool):
        per_s = float(limit)
    if math.isnan(per_s) or not LEAST_PER_S <= per_s <= MOST_PER_S:
        raise ValueError(
            f'rate_limit={limit!r} is no rate: write "100/s", "5/min" or "20/h", or a number of calls a second, from'
            f" one a day to {MOST_PER_S:,.0f} a second"
        )
    return per_s


class Pace:
    """Gives each call its time, none closer to the last than the rate allows. A time that was given is used up."""

    def __init__(self, per_s: float) -> None:
        self._every_s = 1 / per_s
        self._next_at = self._asked_at = -math.inf

    def wait_s(self, now: float) -> float:
        """How long the call that asks now has to wait; 0 when it may begin."""
        if now < self._asked_at:  # the clock was set back: nobody is to wait for as long as that
            self._next_at -= self._asked_at - now
        self._asked_at = now
        at = max(now, self._next_at)
        self._next_at = at + self._every_s
        return at - now
