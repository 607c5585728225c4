import json
import sys
from io import StringIO

import pytest

from onward.cli.output import as_data, as_text, counted, json_out, progress, table


def test_numbers_stand_to_the_right_and_long_text_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "count"), [("a", 1200), ("bb\ncc", 3), ("x" * 100, 0)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NAME" + " " * 78 + "COUNT"
    assert lines[1] == "a" + " " * 81 + "1,200"
    assert lines[2].startswith("bb cc ")
    assert lines[3] == "x" * 79 + "…" + " " * 6 + "0"


def test_nothing_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    table(("key",), [(None,)])
    assert capsys.readouterr().out == "KEY\n-\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"total": 100.0}', {"total": 100.0}),
        (b"plain text", "plain text"),
        (b"\xff\x00", {"base64": "/wA="}),
        (b"null", None),
        (None, None),
    ],
)
def test_bytes_are_shown_as_json_text_or_base64(
    capsys: pytest.CaptureFixture[str], value: bytes | None, shown: object
) -> None:
    json_out({"data": as_data(value)})
    assert json.loads(capsys.readouterr().out) == {"data": shown}


def test_text_for_people_never_fails() -> None:
    assert as_text(b"a\xff") == "a\\xff"
    assert as_text(None) == ""


@pytest.mark.parametrize(("count", "said"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (1234, "1,234 lines")])
def test_one_is_said_in_the_singular(count: int, said: str) -> None:
    assert counted(count, "line") == said


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stderr", "written"), [(Terminal(), "\r\x1b[Khalf\r\x1b[K"), (StringIO(), "")])
def test_progress_is_one_line_of_a_terminal_and_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, stderr: StringIO, written: str
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    progress("half")
    progress("")
    assert stderr.getvalue() == written
