"""Settings, strongest first: ONWARD_<SERVICE>_STORE, ONWARD_STORE, what the App says, the default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onward.errors import SettingError

DEFAULT_URL = "sqlite:///./onward.db"
_SQLITE = "sqlite:///"
KAFKA = "kafka://"
POSTGRES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where one service's broker and store are; `database` is the store's file, and the broker's where that is SQLite.

    It is None for a store on PostgreSQL. The addresses may hold secrets: print `shown` of them.
    """

    broker: str = field(repr=False)
    store: str = field(repr=False)
    database: Path | None

    @property
    def is_one_file(self) -> bool:
        """Whether the broker keeps its log in the store's file."""
        return not self.broker.startswith(KAFKA)


def variable(service: str, name: str) -> str:
    """`variable("bike-shop", "STORE")` is "ONWARD_BIKE_SHOP_STORE"."""
    return f"ONWARD_{re.sub(r'[^A-Za-z0-9]', '_', service).upper()}_{name}"


def resolve(
    service: str,
    *,
    broker: str | None = None,
    store: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Raises SettingError for an address that this version can't use."""
    env = os.environ if environment is None else environment
    broker_url = _first(env, service, "BROKER", broker)
    file_url = broker_url if broker_url and not broker_url.startswith(KAFKA) else DEFAULT_URL
    store_url = _first(env, service, "STORE", store) or file_url
    if store_url.startswith(POSTGRES):
        if not (broker_url or "").startswith(KAFKA):
            raise SettingError(
                f"Service {service!r} has its store on PostgreSQL, which carries no events: name a broker that does,"
                f" such as ONWARD_BROKER={KAFKA}host:9092.",
                service=service,
            )
        return Settings(str(broker_url), store_url, None)
    broker_url = broker_url or store_url
    database = sqlite_path(store_url, "store")
    if not broker_url.startswith(KAFKA) and sqlite_path(broker_url, "broker") != database:
        raise SettingError(
            f"Service {service!r} has its broker in {shown(broker_url)} and its store in {store_url}: on SQLite both"
            " are one file, so that events and effects commit together. Set only ONWARD_STORE.",
            service=service,
        )
    return Settings(broker_url, store_url, database)


def sqlite_path(url: str, what: str) -> Path:
    """The file in `sqlite:///relative/or.db` or `sqlite:////absolute.db`, or a plain path ending in .db."""
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return Path(url.removeprefix(_SQLITE))
    if "://" not in url and url.endswith(".db"):
        return Path(url)
    raise SettingError(
        f"The {what} is set to an address of kind {url.partition('://')[0]!r}, and this version of onward runs"
        + (" on SQLite files or on Kafka" if what == "broker" else " on SQLite files or on PostgreSQL")
        + f": write {_SQLITE}./onward.db, or an absolute path as {_SQLITE}/var/lib/shop.db"
        + (f", or {KAFKA}host:9092." if what == "broker" else f", or {POSTGRES[0]}user@host/database.")
    )


def shown(url: str) -> str:
    """An address as people and logs may see it: without users, passwords and the client's options."""
    scheme, separator, rest = url.partition("://")
    if not separator or url.startswith(_SQLITE):
        return url
    place, options, _ = rest.partition("?")
    return f"{scheme}://{place.rpartition('@')[2]}" + ("?…" if options else "")


def _first(env: Mapping[str, str], service: str, name: str, said: str | None) -> str | None:
    return env.get(variable(service, name)) or env.get(f"ONWARD_{name}") or said
