"""Where the shop listens: on this machine only, at a port that is free."""

from contextlib import closing

import pytest

from onward.blueprints.shop import open_shop
from onward.blueprints.shop.open_shop import listening
from onward.errors import InfrastructureError


def test_the_shop_listens_on_loopback_only() -> None:
    with closing(listening(0)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_without_a_port_a_taken_one_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(listening(0)) as taken:
        monkeypatch.setattr(open_shop, "DEFAULT_PORT", taken.getsockname()[1])
        with closing(listening(None)) as listener:
            assert listener.getsockname()[1] != taken.getsockname()[1]


def test_a_port_that_was_asked_for_and_is_taken_is_a_sentence() -> None:
    with closing(listening(0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"can't open at 127.0.0.1:{port} .* choose another --port"):
            listening(port)
