import subprocess
import sys
from importlib import metadata

import click
import pytest
from click.testing import CliRunner

from onward.cli import main
from onward.cli.group import LazyGroup
from onward.errors import OnwardError


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, f"{name} is listed and not there"
        found.append(((*path, name), command))
        if isinstance(command, click.Group) and name != "demo":
            found += every_command(command, (*path, name))
    return found


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"onward {metadata.version('onward')}\n")


def test_every_command_has_help_with_an_example_and_its_exit_codes() -> None:
    for path, command in every_command(main):
        text = command.help or ""
        assert f"Example: onward {' '.join(path)}" in text, f"{path} has no example of itself"
        if not isinstance(command, click.Group):
            assert "Exit codes:" in text, f"{path} does not document its exit codes"


def test_help_imports_no_command() -> None:
    script = (
        "import sys\nfrom onward.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "loaded = [name for name in sys.modules if name.startswith(('onward.cli.', 'rich'))]\n"
        "sys.stderr.write(' '.join(sorted(loaded)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "onward.cli.group"
    assert "dead-letters" in done.stdout


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["fly"]).exit_code == 2


def test_an_error_of_ours_is_a_sentence_and_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fail() -> None:
        raise OnwardError("The tea is cold. Make a new one.")

    group = LazyGroup(name="kitchen", commands_in={"fail": "x:y"}, summaries={"fail": "It fails."})
    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: fail)
    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "onward: The tea is cold. Make a new one.\n"
