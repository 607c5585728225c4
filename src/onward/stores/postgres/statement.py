"""A handler's statement as PostgreSQL wants it: `:name` as `$1`, and refused where a handler can't say it.

All of it is read off the text, once for each: the server is not asked, so that a refusal costs no transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from onward.errors import TransactionError
from onward.stores.refusals import forbidden, nameless, several

MAX_KEPT = 10_000

_SPACE = r"[ \t\n\r\f\v]"
_LETTER = r"[A-Za-z_\x80-\U0010ffff]"
_WORD = rf"{_LETTER}(?:{_LETTER}|[0-9$])*+"
_BODY = r"(?:[^'\\]|\\(?:.|\Z)|'')*+(?:'|\Z)"
# Literals of one string on several lines are one literal to PostgreSQL, with the escapes of its first.
_NEXT_LINE = rf"(?:[ \t\f\v]|--[^\r\n]*+)*+[\r\n](?:{_SPACE}|--[^\r\n]*+[\r\n])*+'"
_TOKEN = re.compile(
    rf"""
      (?P<skip> {_SPACE}++ | --[^\r\n]*+ )
    | (?P<comment> /\* )
    | (?P<literal> [eE]'{_BODY}(?:{_NEXT_LINE}{_BODY})*+ | '[^']*+(?:'|\Z) )
    | (?P<quoted> "[^"]*+(?:"|\Z) )
    | (?P<dollar> \$(?:{_LETTER}(?:{_LETTER}|[0-9])*+)?\$ )
    | (?P<number> \$[0-9]++ )
    | (?P<name> (?<!:):(?!:)(?={_LETTER}) {_LETTER}(?:{_LETTER}|[0-9])*+ )
    | (?P<word> {_WORD} )
    | (?P<end> ; )
    | (?P<mark> \? )
    | (?P<other> :: | [0-9][0-9A-Za-z_.]*+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")

_FORBIDDEN = {
    **dict.fromkeys(("begin", "start", "commit", "end", "rollback", "abort"), "begin, commit or roll back"),
    **dict.fromkeys(("savepoint", "release"), "use SAVEPOINT (tx.savepoint() does that)"),
    **dict.fromkeys(("prepare", "execute", "deallocate"), "prepare statements or transactions"),
    **dict.fromkeys(("set", "reset", "discard"), "change settings for longer than itself (SET LOCAL is allowed)"),
    **dict.fromkeys(("listen", "unlisten", "load"), "leave anything behind in its connection"),
    "copy": "use COPY",
}
_SETS_LOCALLY = ("local", "constraints")
_QUERIES = ("select", "with", "values", "table", "(")
_admitted: set[str] = set()
_CHANGED_NEXT = ("into", "update", "delete from", "only", "table", "truncate", "schema", "view", "index")


class Plan(msgspec.Struct, frozen=True):
    """How a statement is run; `arguments` puts named parameters into the order of their numbers."""

    sql: str
    arguments: Callable[[dict[str, Any]], tuple[Any, ...]]
    is_query: bool
    has_mark: bool
    """Whether it says `?`: an operator to PostgreSQL, and a parameter to who is used to another database."""


class _Token(NamedTuple):
    kind: str
    text: str


def read(sql: str) -> Plan:
    """Raises TransactionError for what a handler can't do, and for parameters without a name."""
    numbers: dict[str, int] = {}
    written: list[str] = []
    words: list[str] = []
    ended = False
    for token in _tokens(sql):
        if token.kind == "name":
            number = numbers.setdefault(token.text[1:], len(numbers) + 1)
            written.append(f" ${number}")  # apart from a word before it, which may have a $ in it
        else:
            written.append(token.text)
        if token.kind in ("skip", "comment"):
            continue
        if token.kind == "number":
            raise nameless(sql)
        if token.kind == "end":
            ended = True
            continue
        if ended:
            raise several(sql)
        words.append(_word(token))
    _refuse(sql, words)
    first = words[0] if words else ""
    return Plan("".join(written), _arguments(tuple(numbers)), first in _QUERIES, "?" in words)


def refuse_driven(sql: str) -> None:
    """Raises TransactionError for what a handler can't do, in a statement with the driver's own parameters."""
    if sql in _admitted:
        return
    words: list[str] = []
    ended = False
    for token in _tokens(sql):
        if token.kind in ("skip", "comment"):
            continue
        if ended and token.kind != "end":
            raise several(sql)
        ended = token.kind == "end"
        words.append(_word(token))
    _refuse(sql, words)
    if len(_admitted) >= MAX_KEPT:
        _admitted.clear()
    _admitted.add(sql)


def _word(token: _Token) -> str:
    return token.text.strip('"') if token.kind == "quoted" else token.text.lower()


def _tokens(sql: str) -> Iterator[_Token]:
    if "\0" in sql:
        raise TransactionError(f"{sql[:200]!r} holds a NUL character, which PostgreSQL has no place for.")
    place = 0
    while place < len(sql):
        found = _TOKEN.match(sql, place)
        assert found is not None, "the last alternative takes any character"
        kind, end = found.lastgroup or "other", found.end()
        if kind == "comment":
            end = _comment_end(sql, end)
        elif kind == "dollar":
            closing = sql.find(found.group(), end)
            kind, end = "literal", len(sql) if closing < 0 else closing + len(found.group())
        yield _Token(kind, sql[place:end])
        place = end


def _comment_end(sql: str, place: int) -> int:
    """Comments nest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(sql, place)
        if edge is None:
            return len(sql)
        depth += 1 if edge.group() == "/*" else -1
        place = edge.end()
    return place


def _refuse(sql: str, words: list[str]) -> None:
    """What would end the transaction, outlive it in the connection, or change onward's own tables."""
    first, second = [*words, "", ""][:2]
    if first in _FORBIDDEN and not (first == "set" and second in _SETS_LOCALLY):
        raise forbidden(sql, _FORBIDDEN[first])
    if first == "declare" and "hold" in words:
        raise forbidden(sql, "declare a cursor WITH HOLD")
    for place, word in enumerate(words):
        if word == "onward" and words[place + 1 : place + 2] == ["."]:
            before = words[max(place - 2, 0) : place]
            if before[-1:] and (before[-1] in _CHANGED_NEXT or " ".join(before) in _CHANGED_NEXT):
                raise forbidden(sql, f"change onward's own table {''.join(words[place : place + 3])}")


def _arguments(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    if names:
        (name,) = names
        return lambda params: (params[name],)
    return lambda params: ()
