"""Health over HTTP, from a thread of its own: it answers when event loops don't."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import BoundedSemaphore, Thread
from typing import Any

from onward.errors import InfrastructureError, MissingExtraError
from onward.runtime.supervisor import ServiceState
from onward.telemetry.prometheus import render

Request = socket | tuple[bytes, socket]
States = Callable[[], list[ServiceState]]
REQUEST_S = 5.0
MOST_REQUESTS = 16  # at once; one more is turned away without an answer


class HealthServer:
    """`/live`, `/ready`, `/status` and `/metrics` on loopback. `address` is known after `start`."""

    def __init__(self, states: States, *, host: str = "127.0.0.1", port: int = 0) -> None:
        try:
            self._server = _BoundedServer((host, port), _handler(states))
        except OSError as error:
            raise InfrastructureError(
                f"Health can't be served on {host}:{port} ({error.strerror}): choose another --health-port, or 0 for"
                " any that is free."
            ) from error
        self.address = f"http://{host}:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, name="onward-health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _BoundedServer(ThreadingHTTPServer):
    """A thread a request, at most MOST_REQUESTS."""

    daemon_threads = True
    request_queue_size = MOST_REQUESTS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._places = BoundedSemaphore(MOST_REQUESTS)

    def process_request(self, request: Request, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Request, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


def answer(path: str, states: list[ServiceState]) -> tuple[int, str, bytes]:
    """(status, content type, body) for one of the four pages."""
    if path == "/live":
        return 200, "application/json", b'{"live": true}'
    if path == "/ready":
        reasons = {state.name: list(state.reasons) for state in states if state.reasons}
        body = json.dumps({"ready": not reasons, "reasons": reasons}).encode()
        return (503 if reasons else 200), "application/json", body
    if path == "/status":
        return 200, "application/json", json.dumps([asdict(state) for state in states]).encode()
    if path == "/metrics":
        try:
            return 200, "text/plain; version=0.0.4; charset=utf-8", render([asdict(state) for state in states])
        except MissingExtraError as error:
            return 501, "text/plain; charset=utf-8", str(error).encode()
    return 404, "text/plain; charset=utf-8", b"There are /live, /ready, /status and /metrics."


def _handler(states: States) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S

        def do_GET(self) -> None:  # the name that http.server asks for
            status, kind, body = answer(self.path.partition("?")[0], states())
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every second: not worth a line."""

    return Handler
