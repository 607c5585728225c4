"""What a handler's statement may be, and how it is run: found out once, when it is first seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import apsw
import msgspec

from onward.errors import TransactionError
from onward.sqlite.failures import translate
from onward.stores.refusals import forbidden, nameless, several

_FORBIDDEN = {
    apsw.SQLITE_TRANSACTION: "begin, commit or roll back",
    apsw.SQLITE_SAVEPOINT: "use SAVEPOINT (tx.savepoint() does that)",
    apsw.SQLITE_ATTACH: "attach files",
    apsw.SQLITE_DETACH: "detach files",
    apsw.SQLITE_PRAGMA: "use PRAGMA",
}
_WRITES = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_DROP_TABLE, apsw.SQLITE_ALTER_TABLE}
_ROLLS_BACK = re.compile(r"\bOR\s+ROLLBACK\b", re.IGNORECASE)


class Plan(msgspec.Struct, frozen=True):
    """How a statement is run: `arguments` puts named parameters into the order in which SQLite numbers them.

    By number, SQLite's binding looks up no name for each of them, each time.
    """

    arguments: Callable[[dict[str, Any]], tuple[Any, ...]]
    gives_rows: bool


def vet(connection: apsw.Connection, sql: str) -> Plan:
    """Prepare a statement without running it, and refuse what would end the transaction or touch onward's tables.

    Raises TransactionError for what a handler can't do, StoreError for what SQLite can't prepare.
    """
    if _ROLLS_BACK.search(sql):
        raise TransactionError(
            f"A handler can't say OR ROLLBACK inside its transaction, as in {sql[:200]!r}: it would undo the"
            " events before this one too. Use OR ABORT, which is what SQLite does by default."
        )
    refused: list[str] = []

    def authorize(action: int, first: str | None, second: str | None, _db: str | None, _view: str | None) -> int:
        if action in _FORBIDDEN:
            refused.append(_FORBIDDEN[action])
        elif action in _WRITES and (first or "").startswith("onward_"):
            refused.append(f"change onward's own table {first}")
        return apsw.SQLITE_OK if not refused else apsw.SQLITE_DENY

    connection.authorizer = authorize
    try:
        first = _prepared(connection, sql)
        rest = first.rest
        while rest:
            following = _prepared(connection, rest)
            if following.does_something:
                raise several(sql)
            rest = following.rest
    except apsw.Error as error:
        if refused:
            raise forbidden(sql, refused[0]) from error
        raise translate(error, f"Preparing {sql[:200]!r}") from error
    finally:
        connection.authorizer = None
    return Plan(_arguments(sql, first.names), first.gives_rows)


class _Prepared(msgspec.Struct, frozen=True):
    names: tuple[str | None, ...]
    gives_rows: bool
    does_something: bool  # a comment does not
    rest: str  # what follows the first statement


def _prepared(connection: apsw.Connection, sql: str) -> _Prepared:
    found: list[_Prepared] = []

    def look(cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        rest = sql[len(statement) :].strip()
        found.append(_Prepared(cursor.bindings_names, bool(cursor.get_description()), cursor.has_vdbe, rest))
        return False

    cursor = connection.cursor()
    cursor.exec_trace = look
    try:
        cursor.execute(sql, _Nulls(), can_cache=False)
    except apsw.ExecTraceAbort:
        pass
    except apsw.BindingsError as error:
        raise nameless(sql) from error
    finally:
        cursor.close(True)
    return found[0]


class _Nulls(Mapping[str, None]):
    """Every parameter is NULL: the statement is prepared, not run."""

    def __getitem__(self, name: str) -> None:
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _arguments(sql: str, names: tuple[str | None, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    known = [name for name in names if name is not None and not name.isdigit()]
    if len(known) < len(names):
        raise nameless(sql)
    if len(known) > 1:
        return itemgetter(*known)
    if known:
        (name,) = known
        return lambda params: (params[name],)
    return lambda params: ()
