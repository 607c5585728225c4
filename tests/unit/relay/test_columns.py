"""Events by columns are the events that they were made of, together and in parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onward.ports import Outgoing
from onward.relay.columns import Columns, columns_of, joined

events = st.builds(
    Outgoing,
    st.sampled_from(["orders", "stock"]),
    st.sampled_from(["", "shop.placed"]),
    st.sampled_from([1, 2]),
    st.sampled_from([None, b"", b"{}"]),
    st.sampled_from([None, "", "ä"]),
    st.sampled_from([None, b'{"a":"b"}']),
    st.sampled_from([bytes(16), b"mine", bytes(range(16))]),
    st.sampled_from(["shop", "till"]),
    st.none(),
)
some = st.lists(events, min_size=1, max_size=6)


def columns(batch: list[Outgoing]) -> Columns:
    return columns_of(batch, "nobody")


@given(some)
def test_events_are_what_they_were(batch: list[Outgoing]) -> None:
    found = columns(batch)
    assert list(found.events) == batch
    assert len(found) == len(found.events) == len(batch)
    assert found.topic_of_each() == [event.topic for event in batch]
    assert (found.events[0], found.events[1:]) == (batch[0], batch[1:])


@given(st.lists(some, min_size=1, max_size=4))
def test_joined_they_are_one_after_the_other(batches: list[list[Outgoing]]) -> None:
    found = joined([columns(batch) for batch in batches])
    assert list(found.events) == [event for batch in batches for event in batch]


@given(some, st.data())
def test_those_at_some_places_are_columns_of_their_own(batch: list[Outgoing], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(batch) - 1), unique=True).map(sorted))
    found = columns(batch).only(places)
    ours = [batch[place] for place in places]
    assert list(found.events) == ours
    if ours:
        assert {kind.topic for kind in found.kinds} == {event.topic for event in ours}
        assert list(joined([found, columns(batch)]).events) == [*ours, *batch]


def test_rows_of_one_kind_say_it_once_and_say_it_alike() -> None:
    first, second = (columns_of([Outgoing("orders", "shop.placed", 1, b"{}", None)] * 2, "shop") for _ in range(2))
    assert first.encoded_kinds == second.encoded_kinds == joined([first, second]).encoded_kinds
    assert first.which == joined([first, second]).which == ()
