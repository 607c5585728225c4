import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from onward.telemetry.logs import JsonLines, KeyValues, set_up_logs


@pytest.fixture(autouse=True)
def loggers_are_as_before() -> Iterator[None]:
    root = logging.getLogger("onward")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers, root.level, root.propagate = before[0], before[1], before[2]


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelname": "ERROR", "name": "onward.handlers", "created": 0.25})
    made.process = 7
    made.__dict__.update(fields)
    return made


def test_a_line_for_people_has_the_event_id_as_key_and_value() -> None:
    line = KeyValues().format(record("given up", event_id="0192", handler="reserve stock", offset=0))
    assert line == (
        '1970-01-01T00:00:00.250Z error    handlers [7] given up handler="reserve stock" offset=0 event_id=0192'
    )


def test_a_line_for_programs_is_one_json_object() -> None:
    line = JsonLines().format(record("given\nup", event_id="0192"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "error",
        "logger": "onward.handlers",
        "message": "given\nup",
        "pid": 7,
        "event_id": "0192",
    }


def test_an_exception_is_in_the_json_line_with_its_traceback() -> None:
    made = record("it broke")
    try:
        raise ValueError("no stock")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert json.loads(JsonLines().format(made))["traceback"].endswith("ValueError: no stock")
    assert KeyValues().format(made).endswith("\n  ValueError: no stock")


def test_the_format_and_the_level_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    set_up_logs({"ONWARD_LOG": "json", "ONWARD_LOG_LEVEL": "warning"})
    logger = logging.getLogger("onward.some")
    logger.info("quiet")
    logger.warning("loud")
    (line,) = stderr.getvalue().splitlines()
    assert json.loads(line)["message"] == "loud"


def test_setting_up_twice_writes_each_record_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    set_up_logs({})
    set_up_logs({})
    logging.getLogger("onward.some").info("once")
    assert len(stderr.getvalue().splitlines()) == 1
