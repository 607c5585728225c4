import json
import socket
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

from onward.errors import InfrastructureError
from onward.runtime.health import MOST_REQUESTS, HealthServer, answer
from onward.runtime.supervisor import ServiceState

READY = ServiceState("shop", "running", (7,), 5, 0, 0, 0, ())
BLOCKED = ServiceState("pay", "unready", (8,), 5, 0, 0, 0, ("its event loop has not turned for 3.0 s",))


@pytest.fixture
def server() -> Iterator[HealthServer]:
    made = HealthServer(lambda: [READY])
    made.start()
    yield made
    made.stop()


def test_ready_says_who_is_not_and_why() -> None:
    status, kind, body = answer("/ready", [READY, BLOCKED])
    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {"ready": False, "reasons": {"pay": ["its event loop has not turned for 3.0 s"]}}
    assert answer("/ready", [READY])[0] == 200


def test_live_does_not_depend_on_the_services() -> None:
    assert answer("/live", [BLOCKED])[0] == 200


def test_status_has_every_service_as_json() -> None:
    status, _, body = answer("/status", [READY, BLOCKED])
    assert status == 200
    assert [(each["name"], each["state"], each["pids"]) for each in json.loads(body)] == [
        ("shop", "running", [7]),
        ("pay", "unready", [8]),
    ]


def test_metrics_without_the_extra_are_not_implemented_and_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("/metrics", [READY])[0] == 200
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    status, _, body = answer("/metrics", [READY])
    assert status == 501
    assert b"onward[metrics]" in body


def test_another_path_is_not_found_and_says_which_there_are(server: HealthServer) -> None:
    found = httpx.get(f"{server.address}/elsewhere")
    assert found.status_code == 404
    assert "/ready" in found.text


def test_it_answers_on_loopback_with_a_query_too(server: HealthServer) -> None:
    assert server.address.startswith("http://127.0.0.1:")
    assert httpx.get(f"{server.address}/ready?verbose").status_code == 200


def test_a_port_in_use_is_told_with_the_remedy(server: HealthServer) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(InfrastructureError, match="--health-port"):
        HealthServer(lambda: [READY], port=port)


def test_more_requests_at_once_than_it_takes_are_turned_away() -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def states() -> list[ServiceState]:
        entered.release()
        release.wait(10)
        return [READY]

    server = HealthServer(states)
    server.start()
    port = int(server.address.rpartition(":")[2])
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_REQUESTS)]
    try:
        for connection in waiting:
            connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert all(entered.acquire(timeout=10) for _ in waiting)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as another:
            assert another.recv(1) == b""
        release.set()
        for connection in waiting:
            connection.settimeout(10)
            assert connection.recv(12) == b"HTTP/1.0 200"
    finally:
        release.set()
        for connection in waiting:
            connection.close()
        server.stop()
