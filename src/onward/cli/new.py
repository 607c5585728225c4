"""`onward new`: a small project that runs and passes its test as it is."""

from __future__ import annotations

import keyword
import re
import sys
import sysconfig
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import click

from onward.errors import SettingError

TEMPLATES = {
    "service.py.tmpl": "{module}.py",
    "test_service.py.tmpl": "test_{module}.py",
    "pyproject.toml.tmpl": "pyproject.toml",
    "readme.md.tmpl": "README.md",
}


@click.command()
@click.argument("name")
def new(name: str) -> None:
    """Write a small project into the folder NAME: one service, one test. Nothing is ever overwritten.

    Exit codes: 0 written, 1 the folder is there already or the name can't be used.

    Example: onward new greeter
    """
    folder = Path(name)
    module = folder.name.replace("-", "_").lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", module) or keyword.iskeyword(module) or module == "onward":
        raise SettingError(
            f"{folder.name!r} can't be the name of a project and its module: write letters, digits and '-', beginning"
            " with a letter, at most 40."
        )
    if _stands_for_another(module):
        raise SettingError(
            f"{folder.name!r} can't be the name of a project: its module {module}.py would be imported wherever Python"
            f" or a library that is installed here means its own {module}. Choose another, such as my-{folder.name}."
        )
    try:
        folder.mkdir(parents=False)
    except FileExistsError as error:
        raise SettingError(f"{folder} is there already. Nothing was written; choose another name.") from error
    except OSError as error:
        raise SettingError(f"{folder} can't be made: {error.strerror}. Nothing was written.") from error
    templates = files("onward.cli").joinpath("templates")
    for template, target in TEMPLATES.items():
        text = templates.joinpath(template).read_text("utf-8").replace("%module%", module)
        (folder / target.format(module=module)).write_text(text, "utf-8")
        click.echo(f"  {folder / target.format(module=module)}")
    click.echo(f"Next: cd {folder} && python -m pytest && onward run {module}:app")


def _stands_for_another(module: str) -> bool:
    """Of installed modules any counts: onward, its needs and theirs import more than is told of them."""
    if module in sys.stdlib_module_names:
        return True
    found = find_spec(module)
    place = Path((found.origin if found is not None else None) or "")
    installed = not {"site-packages", "dist-packages"}.isdisjoint(place.parts)
    return installed or place.is_relative_to(sysconfig.get_path("stdlib"))  # `test` is not among the names
