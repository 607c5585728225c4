"""The store on PostgreSQL. Needs the extra `postgres`."""

from onward.errors import MissingExtraError

try:
    import psycopg as _psycopg  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "A store on PostgreSQL needs the extra `postgres`: pip install 'onward[postgres]'."
    ) from error
