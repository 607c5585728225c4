"""How many events run together where undoing one is dear: halves of what failed, until the failing one stands alone."""

from __future__ import annotations


class Halves:
    """The search for a failing event among those at the front of a delivery."""

    def __init__(self) -> None:
        self._suspects = 0  # so many at the front failed together

    def together(self, waiting: int) -> int:
        """How many of those that wait to run next in one go; 0: the first one alone, and carefully."""
        return min(waiting, self._suspects // 2) if self._suspects else waiting

    def failed(self, count: int) -> None:
        """So many at the front were run in one go, and one of them failed."""
        self._suspects = count

    def done(self, count: int) -> None:
        """So many at the front are done with."""
        self._suspects = max(0, self._suspects - count)
