"""What every client of one address is told, and where its library's own log lines go."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import KafkaException

from onward.brokers.kafka.address import KafkaAddress
from onward.brokers.kafka.failures import Teller
from onward.errors import SettingError

LIBRARY_LOG = logging.getLogger("onward.kafka.client")

AGAIN_S = 60.0  # the same line is logged no sooner
MOST_SAID = 200

Options = dict[str, Any]

_NO_NEWS = (
    "CONFWARN",  # options that are for another kind of client than the one they were given to
    "Coordinator load in progress: retrying",  # a server that has just started, and is asked again
)


class Client:
    """Options of the address with those that a purpose needs; `teller` tells its errors."""

    def __init__(self, address: KafkaAddress, service: str) -> None:
        self.address = address
        self.teller = Teller(address.servers, address.options.values())
        self._service = service
        if not any(isinstance(each, _Scrubbed) for each in LIBRARY_LOG.filters):
            LIBRARY_LOG.addFilter(_Scrubbed())

    def options(self, weak: Options, strong: Options) -> Options:
        """`weak` can be changed by the address, `strong` can't."""
        return {
            "client.id": f"onward-{self._service}",
            "socket.keepalive.enable": True,
            "topic.metadata.refresh.interval.ms": 30_000,  # how soon new partitions are seen
            **weak,
            **self.address.options,
            "bootstrap.servers": self.address.servers,
            **strong,
        }

    def refused_option(self, error: KafkaException) -> SettingError:
        """What the library says of an option that it doesn't know, or not with that value."""
        cause = error.args[0]
        said = self.teller.scrub(cause.str() if hasattr(cause, "str") else str(cause))
        return SettingError(
            f"An option of the broker's address {self.address.servers} can't be used: {said}. Options are those of"
            " librdkafka (its CONFIGURATION.md), beside `replication` and `max_value_bytes`."
        )


class _Scrubbed(logging.Filter):
    """Drops what is no news, and what is said again and again: of a server that is away, twenty times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if any(each in said for each in _NO_NEWS):
            return False
        what, _, _ = said.partition(" (after ")
        before = self._said.get(what)
        if before is not None and record.created - before < AGAIN_S:
            return False
        if len(self._said) >= MOST_SAID:
            self._said.clear()
        self._said[what] = record.created
        return True
