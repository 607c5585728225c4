"""The configuration page names every option of a PostgreSQL address that is onward's own, and no other."""

import re
from pathlib import Path

from onward.stores.postgres.address import Address

DOCS = Path(__file__).resolve().parents[4] / "docs"


def test_every_option_is_documented_with_its_default_and_every_documented_one_exists() -> None:
    section = (
        (DOCS / "configuration.md").read_text("utf-8").partition("## A store on PostgreSQL")[2].partition("\n## ")[0]
    )
    documented = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) \|$", section, re.MULTILINE))
    address = Address.read("postgresql://host/database")
    own = [name for name in Address.__dataclass_fields__ if name not in ("conninfo", "shown")]
    assert {name: float(value) for name, value in documented.items()} == {name: getattr(address, name) for name in own}
