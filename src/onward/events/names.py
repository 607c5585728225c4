"""What a wire type, a topic and a version may be: one rule, for declarations and for those who publish without one."""

from __future__ import annotations

import re

MOST_VERSIONS = 1_000_000
TYPE_RULE = 'Write 1 to 200 letters, digits or any of _ . - / such as type="shop.order_placed".'
TOPIC_RULE = 'Write 1 to 200 letters, digits or any of . _ - such as topic="orders".'

_TYPE_NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,200}")
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


def is_type_name(text: str) -> bool:
    return _TYPE_NAME.fullmatch(text) is not None


def is_topic_name(text: str) -> bool:
    return _TOPIC_NAME.fullmatch(text) is not None
