import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.cli.targets import load
from onward.errors import DeclarationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with three modules; what was imported from it is forgotten."""
    (tmp_path / "tg_parts.py").write_text(
        "from onward import App\napp = App('one')\nclass Holder:\n    inner = App('two')\nother = 7\n"
    )
    (tmp_path / "tg_empty.py").write_text("x = 1\n")
    (tmp_path / "tg_broken.py").write_text("import tg_there_is_no_such_module\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("tg_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "name"), [("tg_parts:app", "one"), ("tg_parts", "one"), ("tg_parts:Holder.inner", "two")]
)
def test_an_app_is_found_by_module_and_attribute(target: str, name: str) -> None:
    assert load(target).name == name


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tg_absent:app", "There is no module 'tg_absent'"),
        ("tg_absent.deeper:app", "There is no module 'tg_absent'"),
        ("tg_parts:nothing", "has no 'nothing'; it has app"),
        ("tg_empty:app", "has no 'app'; it declares no App"),
        ("tg_parts:other", "is a int, not an App"),
        (":app", "is not MODULE:ATTRIBUTE"),
        ("..:app", "is not MODULE:ATTRIBUTE"),
    ],
)
def test_what_is_no_app_is_refused_with_a_sentence(target: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        load(target)


def test_a_module_that_fails_by_itself_is_not_called_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="tg_there_is_no_such_module"):
        load("tg_broken:app")
