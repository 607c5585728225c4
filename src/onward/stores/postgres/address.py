"""Where a PostgreSQL store is, and how long it waits: `postgresql://user@host/database?lock_s=5`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from onward.errors import SettingError

SCHEMES = ("postgresql", "postgres")
_OWN: dict[str, Callable[[str], float]] = {
    "pool_size": int,
    "wait_s": float,
    "idle_s": float,
    "lock_s": float,
    "statement_s": float,
}
# A server that has vanished without a word is noticed in half a minute; by default that takes two hours.
_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


@dataclass(frozen=True, slots=True)
class Address:
    """A database and the limits of what is done there. `conninfo` holds the password; `str()` does not."""

    conninfo: str
    shown: str
    pool_size: int = 10
    """Connections of one service in one process, and so transactions at once."""
    wait_s: float = 30.0
    """How long a transaction waits for one of them."""
    idle_s: float = 15.0
    """How long a transaction may stand open without a statement."""
    lock_s: float = 5.0
    """How long a statement may wait for a lock."""
    statement_s: float = 60.0
    """How long a statement may take."""

    @classmethod
    def read(cls, url: str, service: str = "") -> Address:
        """Raises SettingError, which never repeats a password."""
        base, _, query = url.partition("?")
        own: dict[str, float] = {}
        others: list[str] = []
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            if name in _OWN:
                own[name] = _number(name, unquote(value))
            else:
                others.append(pair)
        try:
            parts = conninfo_to_dict(base + ("?" + "&".join(others) if others else ""))
        except psycopg.ProgrammingError:  # not chained: it repeats the address, password and all
            raise SettingError(
                "The address of the PostgreSQL store can't be read: write"
                " postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE, with special characters as %XX. Options"
                f" are those of libpq and {', '.join(_OWN)}."
            ) from None
        shown = f"postgresql://{parts.get('user', '')}@{parts.get('host', '')}:{parts.get('port', 5432)}"
        name = f"onward {service}".strip()
        given = {**_PATIENCE, "application_name": name, **parts, "client_encoding": "utf8"}
        return cls(make_conninfo("", **given), f"{shown}/{parts.get('dbname', '')}", **own)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _number(name: str, text: str) -> float:
    try:
        value = _OWN[name](text)
    except ValueError:
        value = 0
    if value <= 0:
        raise SettingError(f"The option {name}={text} of the PostgreSQL store is no number above zero.")
    return value
