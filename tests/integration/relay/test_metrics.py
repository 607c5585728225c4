"""What a service with an outbox shows of it while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from scripts.servers.kafka import Kafka
from scripts.servers.ports import free_ports
from tests.integration.kills.bank import Paid, direct
from tests.integration.kills.stage import PATIENCE_S, Stage


def until(address: str, reached: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The metrics by name and labels, once they are so."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urlopen(f"{address}/metrics", timeout=5) as answer:  # noqa: S310 - on loopback
                lines = answer.read().decode().splitlines()
        except OSError:
            lines = []
        found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}
        if reached(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_a_running_service_leads_its_outbox_and_what_can_not_leave_grows_old_in_it(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, kafka.url)
    monkeypatch.setenv("ONWARD_BROKER", kafka.url)
    monkeypatch.setenv("ONWARD_STORE", f"sqlite:///{stage.database}")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    led, age = 'onward_outbox_led{service="direct"}', 'onward_outbox_age_seconds{service="direct"}'

    async def publish_while_kafka_stands_still() -> None:
        await direct.publish(Paid(account="account-1", n=1))
        with kafka.frozen():
            await direct.publish(Paid(account="account-1", n=2))
            await asyncio.to_thread(until, address, lambda found: found.get(age, 0.0) > 0.5)
        await asyncio.to_thread(until, address, lambda found: found.get(age) == 0.0)
        await direct.close()

    with stage.running("direct", options=["--health-port", str(port)]):
        assert until(address, lambda found: found.get(led) == 1.0)[age] == 0.0
        asyncio.run(publish_while_kafka_stands_still())
        lag = 'onward_lag_events{service="direct",topic="payments"}'
        until(address, lambda found: found.get(lag) == 0.0)
        stage.wait_for("confirm", 2)
