"""The reference names every command and option, and none that is not there."""

import dataclasses
import inspect
import re
from pathlib import Path

import click
import pytest

from onward import App, Retention, Retry
from onward.cli import main

DOCS = Path(__file__).resolve().parents[3] / "docs"
WITH_OWN_REFERENCE = {"demo"}
COMMON = ("--store", "--database", "--broker")  # told once for all commands that take them
OF_THE_BENCHMARKS = {"--only", "--quick", "--full"}
OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-z])(?![\w-])")


def commands(group: click.Group, path: str = "onward") -> dict[str, click.Command]:
    context = click.Context(group)
    found: dict[str, click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[f"{path} {name}"] = command
        if isinstance(command, click.Group) and name not in WITH_OWN_REFERENCE:
            found |= commands(command, f"{path} {name}")
    return found


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    found = commands(main)
    documented = set(re.findall(r"^## `(onward [a-z-]+)", text, re.MULTILINE))
    documented |= set(re.findall(r"^\| `(onward [a-z-]+ [a-z-]+)", text, re.MULTILINE))
    assert documented == set(found)


def options(found: dict[str, click.Command]) -> set[str]:
    parameters = [parameter for command in found.values() for parameter in command.params]
    return {"--help"}.union(*(parameter.opts for parameter in parameters if isinstance(parameter, click.Option)))


@pytest.mark.parametrize("top", sorted({" ".join(name.split()[:2]) for name in commands(main)}))
def test_every_option_in_a_commands_section_exists_there(top: str) -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    section = re.split(r"^## ", text.partition(f"## `{top}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    here = {name: command for name, command in commands(main).items() if f"{name} ".startswith(f"{top} ")}
    assert set(OPTION.findall(section)) - options(here) == set()


def test_every_option_on_any_page_exists() -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    named = {option for page in pages for option in OPTION.findall(page.read_text("utf-8"))}
    assert {"--workers", "-d"} <= named, "the pattern must find what it looks for"
    assert named - options({"onward": main, **commands(main)}) - OF_THE_BENCHMARKS == set()


@pytest.mark.parametrize("name", sorted(commands(main)))
def test_every_option_is_documented_where_its_command_is(name: str) -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    top = " ".join(name.split()[:2])
    section = re.split(r"^## ", text.partition(f"## `{top}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    for parameter in commands(main)[name].params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            option = parameter.opts[0]
            told = text.partition("\n## ")[0] if option in COMMON else section
            assert re.search(rf"{option}(?![\w-])", told), f"{name} {option} is not documented"


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("`App(name, …)`", list(inspect.signature(App).parameters)),
        (
            "`@app.on(*events, …)`",
            [name for name in inspect.signature(App.on).parameters if name not in ("self", "events")],
        ),
        ("`Retry(…)`", [field.name for field in dataclasses.fields(Retry)]),
        ("`Retention(…)`", [field.name for field in dataclasses.fields(Retention)]),
    ],
)
def test_every_argument_is_documented_and_every_documented_one_exists(heading: str, names: list[str]) -> None:
    table = (DOCS / "configuration.md").read_text("utf-8").partition(f"\n{heading}\n\n")[2].partition("\n\n")[0]
    first_column = " ".join(line.split("|")[1] for line in table.splitlines()[2:])
    assert re.findall(r"`(\w+)`", first_column) == names


def test_every_variable_that_is_read_is_documented_and_every_documented_one_is_read() -> None:
    source = [file.read_text("utf-8") for file in (DOCS.parent / "src" / "onward").rglob("*.py")]
    named = r'env(?:iron)?(?:\.get\(|\[)"(ONWARD_[A-Z_]+)"'
    composed = r'_first\(env, service, "([A-Z_]+)"'
    read = {name for text in source for name in re.findall(named, text)}
    read |= {
        f"ONWARD_{of}{name}" for text in source for name in re.findall(composed, text) for of in ("", "<SERVICE>_")
    }
    assert {"ONWARD_LOG", "ONWARD_STORE"} <= read, "the patterns must find what they look for"
    variable = re.compile(r"\bONWARD_[A-Z_<>]*[A-Z]")
    assert set(variable.findall((DOCS / "configuration.md").read_text("utf-8"))) == read
    elsewhere = {name for page in DOCS.glob("*.md") for name in variable.findall(page.read_text("utf-8"))}
    assert elsewhere - read == set()
