"""What SQLAlchemy wants of a driver's module (PEP 249), for SQLite through the library that onward uses."""

from __future__ import annotations

import apsw

apilevel = "2.0"
threadsafety = 1
paramstyle = "named"
sqlite_version = apsw.sqlite_lib_version()
sqlite_version_info = tuple(int(part) for part in sqlite_version.split("."))
Binary = bytes


class Error(Exception):
    """The root of what a statement of a session can fail with."""


class InterfaceError(Error):
    """Parameters that SQLite has no type for."""


class DatabaseError(Error):
    """SQLite refused."""


class OperationalError(DatabaseError):
    """No such table, a lock, a full disk: what is not the statement's own doing."""


class IntegrityError(DatabaseError):
    """A constraint of the schema was broken."""


class DataError(DatabaseError):
    """A value is too large."""


class InternalError(DatabaseError):
    """The file is damaged."""


class ProgrammingError(DatabaseError):
    """SQLite was used in a way that it does not allow."""


class NotSupportedError(DatabaseError):
    """SQLite has nothing of the kind."""


_MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[Error]], ...] = (
    ((KeyError, TypeError, apsw.BindingsError), InterfaceError),
    ((apsw.ConstraintError, apsw.MismatchError), IntegrityError),
    ((apsw.TooBigError, apsw.RangeError), DataError),
    ((apsw.CorruptError, apsw.NotADBError, apsw.InternalError), InternalError),
    ((apsw.MisuseError, apsw.ThreadingViolationError), ProgrammingError),
)


def translated(error: BaseException) -> Error:
    """The same as a driver would raise it; what has no other meaning is an OperationalError. Raise it `from error`."""
    kind = next((kind for errors, kind in _MEANINGS if isinstance(error, errors)), OperationalError)
    return kind(str(error))
