from pathlib import Path

import pytest

from tests.integration.sqlalchemy.places import FilePlace, Place, PostgresPlace


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """A server is of the whole run, so it is asked for in the run's scope."""
    if request.param == "postgresql":
        request.getfixturevalue("shared_postgres")
    return str(request.param)


@pytest.fixture
def place(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the handlers of a test work: each test runs on both."""
    if dialect == "sqlite":
        return FilePlace(tmp_path / "shop.db")
    return PostgresPlace(request.getfixturevalue("postgres_url"))
