"""What `--start` takes."""

from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from onward.cli import main
from onward.cli.starts import read_start
from onward.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("now", "now"),
        ("earliest", "earliest"),
        ("2026-07-01T08:00Z", datetime(2026, 7, 1, 8, tzinfo=UTC)),
        ("2026-07-01T10:00:00+02:00", datetime(2026, 7, 1, 8, tzinfo=UTC)),
    ],
)
def test_these_are_places_to_start(text: str, start: object) -> None:
    assert read_start(text) == start


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("yesterday", "say now, earliest, or a time"), ("2026-07-01", "has no time zone"), ("Now", "is not where")],
)
def test_anything_else_is_wrong_usage_and_starts_nothing(text: str, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        read_start(text)
    done = CliRunner().invoke(main, ["run", "nowhere:app", "--start", text])
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.replace("│", " ").split())
