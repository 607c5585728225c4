"""A topic's declaration says what can't work before anything is opened."""

from collections.abc import Callable

import pytest

from onward import Retention, Topic
from onward.errors import DeclarationError


@pytest.mark.parametrize("partitions", [0, -1, 1025])
def test_a_topic_has_1_to_1024_partitions(partitions: int) -> None:
    with pytest.raises(DeclarationError, match="give it 1 to 1024 partitions"):
        Topic("orders", partitions=partitions)


@pytest.mark.parametrize(
    "make",
    [lambda: Retention(age_s=-1), lambda: Retention(bytes=-1), lambda: Retention(backlog_bytes=0)],
    ids=["age", "bytes", "backlog"],
)
def test_retention_keeps_no_less_than_nothing(make: Callable[[], Retention]) -> None:
    with pytest.raises(DeclarationError, match="can't be negative, and backlog_bytes must be at least 1"):
        make()


def test_a_topic_by_name_alone_is_the_declared_one_with_the_defaults() -> None:
    by_name = Topic.by_name("orders")
    assert by_name == Topic("orders", partitions=8, retention=Retention())
    assert (by_name.declared, Topic("orders").declared) == (False, True)


def test_a_retention_is_said_where_it_is_declared_though_it_be_the_default() -> None:
    assert Topic("orders", retention=Retention()).says_retention
    assert not Topic("orders").says_retention
