"""Settings, strongest first: ONWARD_<SERVICE>_STORE, ONWARD_STORE, what the App says, the default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onward.errors import SettingError

DEFAULT_URL = "sqlite:///./onward.db"
_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where one service's broker and store are; `database` is the file that both live in."""

    broker: str
    store: str
    database: Path


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
    store_url = _first(env, service, "STORE", store) or _first(env, service, "BROKER", broker) or DEFAULT_URL
    broker_url = _first(env, service, "BROKER", broker) or store_url
    database = sqlite_path(store_url, "store")
    if sqlite_path(broker_url, "broker") != database:
        raise SettingError(
            f"Service {service!r} has its broker in {broker_url} and its store in {store_url}: on SQLite both are one"
            " file, so that events and effects commit together. Set only ONWARD_STORE.",
            service=service,
        )
    return Settings(broker_url, store_url, database)


def sqlite_path(url: str, what: str) -> Path:
    """The file in `sqlite:///relative/or.db` or `sqlite:////absolute.db`, or a plain path ending in .db."""
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return Path(url.removeprefix(_SQLITE))
    if "://" not in url and url.endswith(".db"):
        return Path(url)
    scheme = url.partition("://")[0]
    raise SettingError(
        f"The {what} is set to an address of kind {scheme!r}, and this version of onward runs on SQLite files: write"
        f" {_SQLITE}./onward.db, or an absolute path as {_SQLITE}/var/lib/shop.db."
    )


def _first(env: Mapping[str, str], service: str, name: str, said: str | None) -> str | None:
    return env.get(variable(service, name)) or env.get(f"ONWARD_{name}") or said
