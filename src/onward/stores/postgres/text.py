"""Text that PostgreSQL can keep: it has no place for NUL, nor for halves of characters."""

from __future__ import annotations


def storable(text: str) -> str:
    """The same, but for what can't be kept, which becomes U+FFFD or `?`. For text that people read."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
