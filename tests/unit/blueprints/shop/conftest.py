"""A shop in a box for each test."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.unit.blueprints.shop.box import Box, whole_shop


@pytest.fixture
def shop() -> Iterator[Box]:
    with closing(whole_shop()) as box:
        yield box
