"""The SQLAlchemy session that a handler may ask for in place of `tx`: known by its type, without importing it."""

from __future__ import annotations

import importlib
from enum import Enum
from typing import Any

from onward.errors import DeclarationError, MissingExtraError


class SessionKind(Enum):
    """Which of SQLAlchemy's two."""

    ASYNC = "AsyncSession"
    SYNC = "Session"


_KINDS = {
    ("sqlalchemy.ext.asyncio.session", "AsyncSession"): SessionKind.ASYNC,
    ("sqlalchemy.orm.session", "Session"): SessionKind.SYNC,
}


def session_kind(hint: Any) -> SessionKind | None:
    """None for what is no annotation of a session. Subclasses are the user's own, and come as resources."""
    return _KINDS.get((getattr(hint, "__module__", ""), getattr(hint, "__qualname__", "")))


def check_session(where: str, kind: SessionKind | None, is_async: bool) -> None:
    """Raises DeclarationError for the one of the two that the handler can't use, MissingExtraError where none works."""
    if kind is None:
        return
    if is_async and kind is SessionKind.SYNC:
        raise DeclarationError(
            f"{where} is `async def`: ask for `session: AsyncSession` (sqlalchemy.ext.asyncio) and await its methods."
        )
    if not is_async and kind is SessionKind.ASYNC:
        raise DeclarationError(
            f"{where} is a plain `def`: ask for `session: Session` (sqlalchemy.orm), or make it `async def`."
        )
    sessions()


def sessions() -> Any:
    """The module that gives sessions. Raises MissingExtraError."""
    try:
        importlib.import_module("greenlet")
        return importlib.import_module("onward.stores.sqlalchemy.sessions")
    except ModuleNotFoundError as error:
        if error.name not in ("greenlet", "sqlalchemy"):
            raise
        raise MissingExtraError(
            f"A session of SQLAlchemy is asked for, and {error.name} is not installed. It comes with the extra"
            " `sqlalchemy`: pip install 'onward[sqlalchemy]'."
        ) from error
