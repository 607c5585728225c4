"""The ends of logs that a store does not hold: known, unknown, and of topics that are not there."""

from collections.abc import Collection, Mapping, Sequence

from onward.errors import BrokerUnreachableError
from onward.inspection.accounts import Account, Subscribed
from onward.inspection.ends import NO_BROKER, Ends, ask, ask_if_answered, with_ends
from onward.inspection.finding import Finding
from onward.inspection.view import Bounds
from onward.ledger import IntervalSet


class Logs:
    """`LogsView` that knows these topics, and counts how often it is asked."""

    def __init__(
        self, topics: Mapping[str, Sequence[Bounds]], read: Mapping[str, Collection[int]] | None = None
    ) -> None:
        self.topics = topics
        self.read = read or {}
        self.asked: list[Collection[str]] = []

    def bounds(self, topics: Collection[str]) -> Mapping[str, Sequence[Bounds]]:
        self.asked.append(topics)
        return {topic: self.topics[topic] for topic in topics if topic in self.topics}

    def readers(self, groups: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Collection[int]]:
        return {place: self.read[place[1]] for place in groups if place[1] in self.read}

    def examine(self, topics: Collection[str]) -> list[Finding]:
        return []


class Away(Logs):
    """One that does not answer."""

    def bounds(self, topics: Collection[str]) -> Mapping[str, Sequence[Bounds]]:
        raise BrokerUnreachableError("nobody answers")


def subscribed(
    topic: str, *positions: int, elsewhere: bool = True, end: int | None = None, owner: str | None = None
) -> Subscribed:
    accounts = [Account(partition, 0, next_, None, owner, end) for partition, next_ in enumerate(positions)]
    return Subscribed(1, "shop", "transactional", topic, (), accounts, elsewhere)


def test_a_store_that_holds_its_logs_asks_nobody() -> None:
    logs = Logs({})
    here = subscribed("orders", 3, elsewhere=False, end=5)
    assert ask(logs, [here]) == Ends()
    assert logs.asked == []
    (same,) = with_ends([here], Ends())
    assert same.lag == 2


def test_ends_are_asked_once_for_each_topic_and_give_the_lag() -> None:
    logs = Logs({"orders": [(0, 5), (2, 9)]})
    twice = [subscribed("orders", 3, 4), subscribed("orders", 5, 9)]
    ends = ask(logs, twice)
    assert logs.asked == [["orders"]]
    assert [each.lag for each in with_ends(twice, ends)] == [2 + 5, 0]
    assert ends.events == 5 + 7
    kept = ends.kept(("orders", 1))
    assert kept is not None
    assert (kept.first, kept.end, kept.stored) == (2, 9, IntervalSet.of(range(2, 9)))


def test_without_a_broker_lags_are_not_known_and_not_zero() -> None:
    found = [subscribed("orders", 3)]
    ends = ask(None, found)
    assert ends.unknown == NO_BROKER
    assert [each.lag for each in with_ends(found, ends)] == [None]
    assert ends.kept(("orders", 0)) is None


def test_a_partition_that_the_broker_does_not_have_makes_the_lag_unknown() -> None:
    found = [subscribed("orders", 3, 4)]
    assert [each.lag for each in with_ends(found, ask(Logs({"orders": [(0, 5)]}), found))] == [None]


def test_a_topic_that_is_not_there_is_told() -> None:
    found = [subscribed("orders", 3), subscribed("gone", 1)]
    assert "no topic gone" in ask(Logs({"orders": [(0, 5)]}), found).unknown


def test_a_broker_that_does_not_answer_is_told_to_who_goes_on_without() -> None:
    assert ask_if_answered(Away({}), [subscribed("orders", 3)]).unknown == (
        "The ends of logs are not known: nobody answers"
    )


def test_who_claimed_what_nobody_reads_holds_it_no_longer() -> None:
    found = [subscribed("orders", 3, 4, owner="m"), subscribed("other", 1, owner="m")]
    bounds = {"orders": [(0, 5), (0, 5)], "other": [(0, 1)]}
    ends = ask_if_answered(Logs(bounds, {"orders": [1], "other": []}), found)
    orders, other = with_ends(found, ends)
    assert [account.owner for account in orders.accounts] == [None, "m"]
    assert [account.owner for account in other.accounts] == [None]
    assert all(ends.is_sure(orders, account) for account in orders.accounts)


def test_where_nobody_tells_who_reads_the_one_who_claimed_last_is_not_sure() -> None:
    found = [subscribed("orders", 3, owner="m"), subscribed("orders", 3)]
    for ends in (Ends(), ask_if_answered(Logs({"orders": [(0, 5)]}), found), ask_if_answered(Away({}), found)):
        claimed, free = with_ends(found, ends)
        assert claimed.accounts[0].owner == "m"
        assert not ends.is_sure(claimed, claimed.accounts[0])
        assert ends.is_sure(free, free.accounts[0])
