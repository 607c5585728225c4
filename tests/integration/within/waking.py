"""What hears that a relay is told of a commit, and counts the threads that tell it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from onward.stores.postgres import crier
from onward.stores.postgres.news import CHANNEL
from tests.integration.within.till import Till

PATIENCE_S = 30.0


class Listener:
    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(f"LISTEN {CHANNEL}")

    def hears(self, within_s: float = PATIENCE_S) -> str:
        """The next service that is told of, "" when none is."""
        return next((each.payload for each in self.connection.notifies(timeout=within_s, stop_after=1)), "")


@pytest.fixture
def listener(till: Till) -> Iterator[Listener]:
    listener = Listener(till.url)
    with listener.connection:
        yield listener


@pytest.fixture(autouse=True)
def no_crier_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A thread that tells ends soon after the last commit."""
    with monkeypatch.context() as patch:
        patch.setattr(crier, "LINGER_S", 0.05)
        yield
        join_criers()


def criers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "onward-crier"]


def join_criers() -> None:
    for each in criers():
        each.join(PATIENCE_S)
    assert criers() == []
