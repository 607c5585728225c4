"""The alarm for subscriptions that nobody claims: their events wait, are never pruned, and fill the topic at last."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger("onward.unclaimed")

AFTER_S = 30.0  # a deploy or a restart may take so long


class Unclaimed:
    """Warns of each subscription that nobody has run for AFTER_S while events waited: once, until somebody does."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, idle: Mapping[str, str], now: float) -> None:
        """`idle` are those of this moment, by title, with what to say of them; `now` is of the monotonic clock."""
        self._since = {title: self._since.get(title, now) for title in idle}
        self._told &= idle.keys()
        for title, sentence in idle.items():
            if title not in self._told and now - self._since[title] >= AFTER_S:
                self._told.add(title)
                logger.warning("%s", sentence)
