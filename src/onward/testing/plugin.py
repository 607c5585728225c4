"""Pytest fixtures of the test kit; pytest finds them wherever onward is installed."""

from collections.abc import Callable

import pytest

from onward.testing import FakeClock, Harness

pytest.register_assert_rewrite("onward.testing.contracts")


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands still until `await fake_clock.advance(seconds)`."""
    return FakeClock()


@pytest.fixture
def onward_harness() -> Callable[..., Harness]:
    """`async with onward_harness(app, …) as h`: the Apps at work in memory."""
    return Harness
