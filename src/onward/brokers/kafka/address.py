"""`kafka://host:port,host:port?option=value`: where a cluster is looked for, and what its clients are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote

from onward.errors import SettingError
from onward.settings import KAFKA, shown

DEFAULT_VALUE_BYTES = 1 << 20  # what onward itself publishes at most
OURS = frozenset(
    {
        "bootstrap.servers",
        "group.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "enable.partition.eof",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "acks",
        "request.required.acks",
        "isolation.level",
        "partition.assignment.strategy",
        "partitioner",
        "group.protocol",
    }
)
"""What the client is told here, and would break the guarantees if it were told otherwise."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """`options` are the client library's, and hold secrets.

    replication:     copies of each partition of a topic that onward creates; None is the cluster's default.
    max_value_bytes: a message with more becomes a dead letter that keeps its first so many bytes.
    """

    servers: str
    options: Mapping[str, str]
    replication: int | None
    max_value_bytes: int


def parse(url: str) -> KafkaAddress:
    """Raises SettingError, in which no option's value is shown: it may be a password."""
    place, _, query = url.removeprefix(KAFKA).partition("?")
    servers = place.removesuffix("/").split(",")
    if "@" in place:
        raise SettingError(
            "The broker's address has a user before its host. Kafka's clients take that as options: write"
            " kafka://host:9092?security.protocol=SASL_SSL&sasl.mechanism=PLAIN&sasl.username=…&sasl.password=…"
        )
    if not url.startswith(KAFKA) or not all(map(_HOST.fullmatch, servers)):
        raise SettingError(
            f"The broker's address {shown(url)} is not {KAFKA}host:port[,host:port][?option=value&…], such as"
            f" {KAFKA}localhost:9092."
        )
    options = _options(url, query)
    for name in options.keys() & OURS:
        raise SettingError(
            f"The broker's address {shown(url)} sets the option {name}, which onward sets itself: its guarantees depend"
            " on it. Leave it out."
        )
    return KafkaAddress(
        servers=",".join(servers),
        replication=_number(url, options, "replication", None),
        max_value_bytes=_number(url, options, "max_value_bytes", DEFAULT_VALUE_BYTES) or DEFAULT_VALUE_BYTES,
        options=MappingProxyType(options),
    )


def _options(url: str, query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in filter(None, query.split("&")):
        name, equals, value = option.partition("=")
        if not name or not equals or unquote(name) in found:
            raise SettingError(
                f"The options of the broker's address {shown(url)} are not name=value&name=value, each name once. In a"
                " value, write % as %25 and & as %26."
            )
        found[unquote(name)] = unquote(value)
    return found


def _number(url: str, options: dict[str, str], name: str, default: int | None) -> int | None:
    text = options.pop(name, None)
    if text is None:
        return default
    if not text.isdecimal() or not int(text):
        raise SettingError(f"The option {name} of the broker's address {shown(url)} is not a whole number from 1 on.")
    return int(text)
