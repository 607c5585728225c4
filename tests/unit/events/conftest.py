"""Each test declares into a registry of its own, so that one name can be declared in many tests."""

from collections.abc import Iterator

import pytest

from onward.events import EventRegistry, isolated_registry


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[EventRegistry]:
    with isolated_registry() as known:
        yield known
