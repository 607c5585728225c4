"""Log lines for people and programs: key=value, or with ONWARD_LOG=json one object a line.

A record says which event it is about by `extra={"event_id": …, "handler": …}`. Values of events are never logged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

FIELDS = ("service", "handler", "topic", "partition", "offset", "event_id", "event_type", "attempt", "error")
"""What a record may carry beside its message, in the order in which it is written."""


def set_up_logs(environment: Mapping[str, str] | None = None) -> None:
    """Send the `onward` loggers to stderr, in the format of ONWARD_LOG (text, json) from ONWARD_LOG_LEVEL (INFO) up.

    Replaces what an earlier call set and leaves the application's own loggers alone.
    """
    env = os.environ if environment is None else environment
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if env.get("ONWARD_LOG", "").lower() == "json" else KeyValues())
    handler.set_name("onward")
    root = logging.getLogger("onward")
    root.handlers = [each for each in root.handlers if each.get_name() != "onward"]
    root.addHandler(handler)
    level = logging.getLevelNamesMapping().get(env.get("ONWARD_LOG_LEVEL", "INFO").upper(), logging.INFO)
    root.setLevel(level)
    root.propagate = False


class JsonLines(logging.Formatter):
    """One JSON object a record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class KeyValues(logging.Formatter):
    """Time, level, logger and message, then key=value; an exception's lines follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time(record)} {record.levelname.lower():<8} {record.name.removeprefix('onward.')} [{record.process}]"
        pairs = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        line = f"{head} {record.getMessage()}{pairs}"
        if record.exc_info:
            line += "\n  " + self.formatException(record.exc_info).replace("\n", "\n  ")
        return line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: record.__dict__[name] for name in FIELDS if record.__dict__.get(name) is not None}


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(mark in text for mark in ' "=\n') else text
