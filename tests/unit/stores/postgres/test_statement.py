"""Handlers write `:name`, PostgreSQL reads `$1`, and what only looks like a parameter stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.errors import TransactionError
from onward.stores.postgres.statement import read

SAME = [
    "SELECT 1",
    "SELECT ':a'",
    "SELECT 'it''s :a'",
    """SELECT ":a", "b"":c" """,
    "SELECT 1 -- :a",
    "SELECT /* :a /* :b */ :c */ 1",
    "SELECT $$ :a $$",
    "SELECT $q$ :a $$ :b $q$",
    "SELECT x::integer, ':a'::text",
    r"SELECT E'it\':a'",
    "SELECT E'a'\n  'b\\':c'",
    "SELECT E'a' -- and\n -- more\n 'b\\':c'",
    r"SELECT U&'d\0061:a'",
    "SELECT B'1', X'ff', N':a'",
    "SELECT f(a := 1)",
    "SELECT a[1:2], a[:2], a[x : y]",
    "SELECT a ? 'b', a ?| array['c']",
    "SELECT data -> 'a' ->> 'b:c'",
    "SELECT 'open :a",
    'SELECT "open :a',
    "SELECT $$ open :a",
    "SELECT /* open :a",
    "SELECT E'open \\",
    "",
    "-- nothing",
    "SELECT 1;",
    "SELECT 1 ; -- the end ;",
    "SELECT 'a;b', $$c;d$$ /* ; */",
    "SET LOCAL work_mem = '8MB'",
    "SET CONSTRAINTS ALL DEFERRED",
    "LOCK TABLE stock IN SHARE MODE",
    "SELECT count(*) FROM onward.account",
    "SELECT account.onward FROM account",
    "INSERT INTO mine SELECT * FROM onward.tally",
]


@pytest.mark.parametrize("sql", SAME)
def test_what_only_looks_like_a_parameter_stays_as_it_is(sql: str) -> None:
    plan = read(sql)
    assert plan.sql == sql
    assert plan.arguments({"a": 1}) == ()


@pytest.mark.parametrize(
    ("sql", "translated", "arguments"),
    [
        ("SELECT :a", "SELECT  $1", (1,)),
        ("SELECT :b, :a, :b", "SELECT  $1,  $2,  $1", (2, 1)),
        ("SELECT :a::integer", "SELECT  $1::integer", (1,)),
        ("SELECT(:a)", "SELECT( $1)", (1,)),
        ("LIMIT:a", "LIMIT $1", (1,)),
        ("SELECT ':b' || :a --:c", "SELECT ':b' ||  $1 --:c", (1,)),
        ("SELECT $$:b$$ || :a", "SELECT $$:b$$ ||  $1", (1,)),
        ("SELECT a$b$:a", "SELECT a$b$ $1", (1,)),
        (r"SELECT '\', :a", r"SELECT '\',  $1", (1,)),
        ("SELECT E'a'\n'b' || :a", "SELECT E'a'\n'b' ||  $1", (1,)),
        ("SELECT E'a' 'b\\' || :a", "SELECT E'a' 'b\\' ||  $1", (1,)),
        ("SELECT :été", "SELECT  $1", (3,)),
        ("SELECT a[:a : :b]", "SELECT a[ $1 :  $2]", (1, 2)),
    ],
)
def test_parameters_are_numbered_by_their_first_place(sql: str, translated: str, arguments: tuple[int, ...]) -> None:
    plan = read(sql)
    assert plan.sql == translated
    assert plan.arguments({"a": 1, "b": 2, "été": 3}) == arguments


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "start transaction",
        "COMMIT",
        "/* now */ commit",
        "-- now\nEND",
        "Rollback",
        "ABORT",
        "SAVEPOINT a",
        "RELEASE a",
        "ROLLBACK TO a",
        "PREPARE TRANSACTION 'a'",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DEALLOCATE a",
        "SET search_path = other",
        "SET SESSION work_mem = '8MB'",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "RESET ALL",
        "DISCARD ALL",
        "LISTEN a",
        "COPY stock FROM STDIN",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "UPDATE onward.account SET next_offset = 9",
        "INSERT INTO onward . outbox VALUES (1)",
        'DELETE FROM "onward".account',
        "TRUNCATE onward.account",
        "DROP TABLE onward.account",
        "WITH gone AS (DELETE FROM onward.tally RETURNING 1) SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; -- and\n COMMIT",
        "SELECT $1",
        "SELECT 'a\0b'",
    ],
)
def test_what_would_break_exactly_once_is_refused(sql: str) -> None:
    with pytest.raises(TransactionError):
        read(sql)


LITERALS = st.one_of(
    st.text(alphabet=":a'\"$;\\-/* \nE?é", max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.text(alphabet=":a'\\ \n;E", max_size=12).map(
        lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    ),
    st.text(alphabet=":a'\"; \n/*-\\", max_size=12).map(lambda text: f"$tag${text}$tag$"),
)
GAPS = st.sampled_from([" ", "\n", " -- :a ; '\n", "/* :a ; ' /* $$ */ \" */", "\t"])


@given(st.lists(st.tuples(LITERALS, GAPS), max_size=6))
def test_parameters_beside_any_literals_and_comments_are_found_and_no_others(parts: list[tuple[str, str]]) -> None:
    written = "SELECT " + "".join(f"{literal}{gap}||{gap}:p || " for literal, gap in parts) + ":p"
    expected = "SELECT " + "".join(f"{literal}{gap}||{gap} $1 || " for literal, gap in parts) + " $1"
    plan = read(written)
    assert plan.sql == expected
    assert plan.arguments({"p": "x"}) == ("x",)


@given(st.text(alphabet="aE$'\"-/*;\\ \n\t?[]1é", max_size=40))
def test_text_without_a_colon_stays_as_it_is(text: str) -> None:
    try:
        plan = read(text)
    except TransactionError:
        return  # several statements, or $1
    assert plan.sql == text
