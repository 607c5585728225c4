"""What all scenes of a relay have in common."""

import pytest

from onward.relay import leader


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth a pause."""
    monkeypatch.setattr(leader, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(leader, "VACANT_S", 0.01)
    monkeypatch.setattr(leader, "LOOK_S", 3600.0)  # whoever waits must be told
