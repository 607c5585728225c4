"""What every outgoing event is marked with, beside what its publisher says: where tracing puts its context."""

from __future__ import annotations

from collections.abc import Callable

extensions: Callable[[], bytes | None] | None = None
"""Gives CloudEvents extensions as a JSON object of texts, or None for none; None while nobody asked for it."""
