"""A site with a desk and services in memory."""

import pytest

from tests.unit.blueprints.shop.web.fakes import FakeDesk, FakeServices


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()
