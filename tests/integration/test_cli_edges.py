"""Commands at their edges: following, being interrupted, a full topic, files that are not ours, demos."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

from onward import blueprints
from onward.cli import main
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog
from onward.topics import Retention, Topic
from tests.integration.services import change

Onward = Callable[..., Result]


@pytest.fixture
def onward(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Onward:
    """The command line in this process, its database named by the environment."""
    monkeypatch.setenv("ONWARD_STORE", f"sqlite:///{database_path}")

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)

    return invoke


def on_each_pause(monkeypatch: pytest.MonkeyPatch, module: str, *acts: Callable[[], object]) -> None:
    """Instead of waiting, the command does one of these after the other, and is then interrupted."""
    left = list(acts)

    def pause(_seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(f"onward.cli.{module}.time.sleep", pause)


def test_tail_follows_what_comes_until_it_is_interrupted(onward: Onward, monkeypatch: pytest.MonkeyPatch) -> None:
    onward("publish", "things", stdin='{"n": 1}\n{"n": 2}\n')
    on_each_pause(
        monkeypatch,
        "tail",
        lambda: onward("publish", "things", stdin='{"n": 3}\n'),
        lambda: None,
        lambda: onward("publish", "things", "--key", "n", stdin='{"n": 4}\n'),
    )
    result = onward("tail", "things", "--follow", "--lines", "1", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["data"]["n"] for line in result.stdout.splitlines()] == [2, 3, 4]


def test_a_topic_that_is_new_while_following_is_read_from_its_beginning(
    onward: Onward, monkeypatch: pytest.MonkeyPatch
) -> None:
    onward("publish", "things", stdin='{"n": 1}\n')
    on_each_pause(monkeypatch, "tail", lambda: onward("publish", "others", stdin='{"n": 2}\n{"n": 3}\n'))
    result = onward("tail", "-f", "-n", "0", "--json")
    assert [json.loads(line)["data"]["n"] for line in result.stdout.splitlines()] == [2, 3]


def test_watched_status_prints_a_line_a_look_until_it_is_interrupted(
    onward: Onward, monkeypatch: pytest.MonkeyPatch
) -> None:
    onward("publish", "things", stdin='{"n": 1}\n')
    on_each_pause(monkeypatch, "status", lambda: None, lambda: onward("publish", "things", stdin='{"n": 2}\n'))
    result = onward("status", "--watch", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["topics"][0]["events"] for line in result.stdout.splitlines()] == [1, 2]


def test_a_full_topic_ends_publishing_and_says_how_much_was_published(onward: Onward, database_path: Path) -> None:
    with closing(Database.open(database_path)) as database, database.transaction_sync():
        FileLog(database).names.create_topic(Topic("small", 1, Retention(backlog_bytes=1000 * 8 + 100)))
    result = onward("publish", "small", stdin='{"n": 1}\n' * 1500)
    assert result.exit_code == 1
    assert result.stdout == "1,000 events published to small.\n"
    assert "Topic 'small' holds 8,000 bytes of events and may hold 8,100" in result.stderr


def test_a_file_without_onwards_tables_is_told_apart_and_left_alone(onward: Onward, database_path: Path) -> None:
    connection = apsw.Connection(str(database_path))
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    result = onward("status")
    assert result.exit_code == 1
    assert "has no tables of this version of onward" in result.stderr
    assert [path.name for path in database_path.parent.iterdir()] == [database_path.name]


def test_a_file_of_a_newer_onward_is_refused(onward: Onward, database_path: Path) -> None:
    Database.open(database_path).close()
    change(database_path, "INSERT INTO onward_schema VALUES (9999, 0)")
    result = onward("audit")
    assert result.exit_code == 1
    assert "schema version 9999" in result.stderr


def test_database_may_be_given_as_a_path_or_as_an_address(onward: Onward, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert onward("publish", "things", "-d", str(other), stdin="{}\n").exit_code == 0
    assert onward("tail", "--database", f"sqlite:///{other}").stdout.count("things/") == 1


@pytest.fixture
def demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two demos that exist for a test: one whose needs are not installed, one that runs."""
    for name, text in {
        "teatime": "import click\n\n@click.command()\ndef main() -> None:\n    click.echo('The kettle boils.')\n",
        "moonshot": "import a_library_that_nobody_has\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "demo.py").write_text(text)
    monkeypatch.setattr(blueprints, "__path__", [str(tmp_path)])
    return tmp_path


def test_a_demo_is_found_and_run_by_its_name(onward: Onward, demos: Path) -> None:
    result = onward("demo", "teatime")
    assert (result.exit_code, result.stdout) == (0, "The kettle boils.\n")
    forget("teatime")


def test_a_demo_whose_needs_are_absent_names_the_extra(onward: Onward, demos: Path) -> None:
    result = onward("demo", "moonshot")
    assert result.exit_code == 1
    assert "needs a_library_that_nobody_has, which is not installed: run `pip install 'onward[demo]'`" in result.stderr
    forget("moonshot")


def test_demos_are_listed_though_the_needs_of_one_are_absent(onward: Onward, demos: Path) -> None:
    result = onward("demo", "--help")
    assert result.exit_code == 0
    assert "onward demo moonshot --help" in result.stdout
    assert "onward demo teatime --help" in result.stdout


def test_a_demo_that_there_is_not_is_wrong_usage(onward: Onward, demos: Path) -> None:
    assert onward("demo", "nothing").exit_code == 2


def forget(name: str) -> None:
    for module in [module for module in sys.modules if module.startswith(f"onward.blueprints.{name}")]:
        del sys.modules[module]
