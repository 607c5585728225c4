"""An audit reads no row of a producer of whom nothing lacks, in either store; it reads every other one."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import product

import apsw
import psycopg
import pytest

from onward.inspection.sums import Came
from onward.ledger import IntervalSet
from onward.sqlite import audit_accounts as on_a_file
from onward.stores.postgres import accounts as on_a_server

Row = tuple[int, bytes]  # the first number that is owed, and those done as they are written
Told = Callable[[Sequence[Row]], list[bool]]

QUERY = "SELECT n FROM producer WHERE"
ENDS = (2, 3, 0x81, 0x82, 0x83, 1 << 14, 1 << 21, 1 << 28, 1 << 35, 1 << 42, 1 << 49, 1 << 55)
WHOLE = [(1, IntervalSet((1, end)).to_bytes()) for end in ENDS]
LACKING = [
    (1, IntervalSet((2, 9)).to_bytes()),
    (1, IntervalSet((1, 3, 4, 9)).to_bytes()),
    (1, IntervalSet((1, 200, 300, 1 << 30)).to_bytes()),
]
ODD = [
    (1, bytes([first, second, *rest]))
    for first, second in ((1, 1), (1, 0), (2, 1))
    for length in range(5)
    for rest in product((0, 1, 0x7F, 0x80, 0xFF), repeat=length)
]


def on_file(rows: Sequence[Row]) -> list[bool]:
    with closing(apsw.Connection("")) as connection:
        connection.execute("CREATE TABLE producer (n INTEGER PRIMARY KEY, owed_from INTEGER, done BLOB)")
        connection.executemany("INSERT INTO producer (owed_from, done) VALUES (?, ?)", rows)
        found = connection.execute(f"{QUERY} {on_a_file.WHOLE}").fetchall()
    return [(n,) in found for n in range(1, len(rows) + 1)]


def on_server(url: str, rows: Sequence[Row]) -> list[bool]:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE producer (n serial, owed_from bigint, done bytea)")
        connection.cursor().executemany("INSERT INTO producer (owed_from, done) VALUES (%s, %s)", rows)
        found = connection.execute(f"{QUERY} {on_a_server.WHOLE}".encode()).fetchall()
    return [(n,) in found for n in range(1, len(rows) + 1)]


@pytest.fixture(params=["file", "server"])
def told(request: pytest.FixtureRequest, postgres_url: str) -> Told:
    """Which of these rows count as whole."""
    return on_file if request.param == "file" else partial(on_server, postgres_url)


def test_what_came_from_the_first_number_on_without_a_gap_is_whole(told: Told) -> None:
    assert told(WHOLE) == [True] * len(ENDS)


def test_where_a_number_lacks_or_is_not_owed_from_the_first_on_the_row_is_read(told: Told) -> None:
    assert told(LACKING) == [False] * len(LACKING)
    assert told([(owed, done) for owed in (0, 2, 300) for _, done in WHOLE]) == [False] * 3 * len(ENDS)


def test_nothing_counts_as_whole_that_is_damaged_or_lacks_something(told: Told) -> None:
    for (owed, done), whole in zip(ODD, told(ODD), strict=True):
        if whole:
            assert Came("x", owed, done).lost("orders", 0).count == 0
