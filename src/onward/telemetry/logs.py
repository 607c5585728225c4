"""Structured logs on stderr: key=value for people, or JSON lines with ONWARD_LOG=json. Never an event's value."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, pid, message, and error with its traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logs() -> None:
    """Log to stderr at ONWARD_LOG_LEVEL (INFO), in the form that ONWARD_LOG says. Only for onward's own programs."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("ONWARD_LOG") == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s level=%(levelname)s pid=%(process)d logger=%(name)s %(message)s")
        )
    level = os.environ.get("ONWARD_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(handlers=[handler], level=level if level in LEVELS else "INFO", force=True)
