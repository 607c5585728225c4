"""A topic that takes no events: what waits for it, and what goes on."""

from __future__ import annotations

from onward.errors import BrokerError
from tests.unit.relay.stage import Stage, on_stage, until


def test_events_of_a_topic_that_takes_none_wait_and_the_others_go_on() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut"}
        async with stage.relaying() as relay:
            for number in range(3):
                await stage.publish_row(("shut", "1", b"s%d" % number))
                await stage.publish_row(("orders", "1", b"o%d" % number))
            await until(lambda: stage.values("orders") == [b"o0", b"o1", b"o2"] and stage.waiting() == 3)
            assert "for topic 'shut' wait in its outbox" in relay.trouble
            assert "Topic shut is shut." in relay.trouble
            assert stage.database.read("SELECT topic, why FROM onward_barred") == [("shut", "Topic shut is shut.")]
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)
            await stage.publish_row(("shut", "1", b"s3"))
            await until(lambda: stage.waiting() == 0)
            assert relay.trouble == ""
            assert stage.database.read("SELECT topic FROM onward_barred") == []
        assert stage.values("shut") == [b"s0", b"s1", b"s2", b"s3"]
        assert [
            number for (topic, _), (_, _, number) in zip(stage.outlet.topics, stage.outlet.numbers, strict=True)
        ] == [
            1,
            2,
            3,
            1,
            2,
            3,
            4,
        ]

    on_stage(scene)


def test_a_row_waits_whole_and_nothing_of_its_keys_passes_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut"}
        async with stage.relaying():
            await stage.publish_row(("orders", "1", b"a"), ("shut", "1", b"s"), ("bills", "2", b"a"))
            await stage.publish_row(("orders", "1", b"b"), ("notes", "3", b"a"))
            await stage.publish_row(("notes", "3", b"b"))
            await stage.publish_row(("bills", "2", b"b"))
            await stage.publish_row(("orders", "4", b"c"), ("bills", "5", b"c"), ("notes", None, b"c"))
            await until(lambda: stage.waiting() == 7 and len(stage.outlet.topics) == 3)
            assert sorted(stage.outlet.topics) == [("bills", b"c"), ("notes", b"c"), ("orders", b"c")]
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)
        assert [stage.values(topic) for topic in ("orders", "bills", "notes")] == [[b"c", b"a", b"b"]] * 3

    on_stage(scene)


def test_what_waits_for_a_topic_waits_in_its_order_for_the_next_leader_too() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut"}
        for part in range(3):
            async with stage.relaying():
                await stage.publish_row(("shut", "1", b"s%d" % part), ("orders", "1", b"with s%d" % part))
                await stage.publish_row(("orders", "2", b"o%d" % part))
                await until(lambda part=part: stage.waiting() == 2 * part + 2)  # type: ignore[misc]
        assert stage.values("orders") == [b"o0", b"o1", b"o2"]
        stage.outlet.barred = set()
        async with stage.relaying():
            await until(lambda: stage.waiting() == 0)
        assert stage.values("orders")[3:] == [b"with s0", b"with s1", b"with s2"]
        assert stage.values("shut") == [b"s0", b"s1", b"s2"]

    on_stage(scene)


def test_what_has_numbers_for_a_topic_that_takes_no_more_waits_and_keeps_its_lanes_waiting() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.holds = True
        async with stage.relaying():
            await stage.publish_row(("shut", "1", b"s1"), ("orders", "1", b"o1"))
            await until(lambda: len(stage.outlet.waiting) == 1)
            stage.outlet.barred, stage.outlet.holds, stage.outlet.broken = {"shut"}, False, True
            stage.outlet.waiting[0].set_exception(BrokerError("The topic was deleted."))
            await stage.publish_row(("orders", None, b"other"), ("orders", "1", b"o2"))
            await stage.publish_row(("orders", "2", b"o3"))
            await until(lambda: stage.values("orders") == [b"o1", b"o3"] and stage.waiting() == 4)
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)
        assert stage.values("orders") == [b"o1", b"o3", b"o1", b"other", b"o2"]
        assert [each for each in stage.outlet.sent if each[0] in (b"s1", b"o1")][:2] == stage.outlet.sent[:2]
        first = [each for each in stage.outlet.sent if each[0] == b"o1"]
        assert first[0] == first[1]

    on_stage(scene)


def test_a_second_topic_that_takes_none_is_looked_after_beside_the_first() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut", "shut too"}
        async with stage.relaying() as relay:
            await stage.publish_row(("shut", "1", b"1"))
            await until(lambda: "'shut'" in relay.trouble)
            await stage.publish_row(("shut too", "1", b"2"))
            await until(lambda: "'shut too'" in relay.trouble)
            stage.outlet.barred = {"shut"}
            await until(lambda: stage.values("shut too") == [b"2"])
            assert "'shut'" in relay.trouble
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)

    on_stage(scene)


def test_a_topic_whose_events_are_not_taken_is_found_by_sending_and_holds_up_no_other() -> None:
    """Its first row is tried again, alone, until it is taken; then what waits goes in its order."""

    async def scene(stage: Stage) -> None:
        stage.outlet.stuck = {("shut", 1)}
        async with stage.relaying() as relay:
            await stage.publish_row(("shut", "1", b"s0"))
            await stage.publish_row(("orders", "1", b"o0"))
            await until(lambda: "for topic 'shut' wait in its outbox" in relay.trouble)
            for number in (1, 2):
                await stage.publish_row(("shut", "1", b"s%d" % number))
                await stage.publish_row(("orders", "1", b"o%d" % number))
            await until(lambda: stage.values("orders") == [b"o0", b"o1", b"o2"] and stage.waiting() == 3)
            await until(lambda: len(stage.outlet.proofs) > 2)
            assert "obody takes it." in relay.trouble
            assert {tuple(each) for each in stage.outlet.proofs} == {(b"s0",)}
            stage.outlet.stuck = set()
            await until(lambda: stage.waiting() == 0)
            await until(lambda: relay.trouble == "")
            assert relay.sent == 6
        assert stage.values("shut") == [b"s0", b"s0", b"s1", b"s2"]
        assert stage.values("orders") == [b"o0", b"o1", b"o2"]

    on_stage(scene)


def test_a_leader_begins_without_the_topics_that_ended_the_one_before() -> None:
    """One failure for each topic: not one for each term."""

    async def scene(stage: Stage) -> None:
        stage.outlet.stuck = {("shut", 1), ("shut too", 1)}
        for number in range(3):
            await stage.publish_row(("shut", "1", b"s%d" % number), ("orders", "1", b"with s%d" % number))
            await stage.publish_row(("shut too", "1", b"t%d" % number))
            await stage.publish_row(("orders", "1", b"behind s%d" % number), ("bills", "1", b"b%d" % number))
            await stage.publish_row(("orders", "2", b"o%d" % number))
        async with stage.relaying() as relay:
            await until(lambda: stage.values("orders") == [b"o0", b"o1", b"o2"])
            terms = stage.database.read("SELECT epoch FROM onward_relay")
            assert {*relay.trouble.split("'")} >= {"shut", "shut too"}
            stage.outlet.answers = [BrokerError("The connection was lost.")]
            await stage.publish_row(("orders", "2", b"o3"))
            await until(lambda: stage.values("orders") == [b"o0", b"o1", b"o2", b"o3", b"o3"])
            assert stage.database.read("SELECT epoch FROM onward_relay") == [(terms[0][0] + 1,)]
            stage.outlet.stuck = {("shut", 1)}
            await until(lambda: stage.values("shut too") == [b"t0", b"t0", b"t1", b"t2"])
            assert stage.values("bills") == []
            stage.outlet.stuck = set()
            await until(lambda: stage.waiting() == 0)
        assert list(dict.fromkeys(stage.values("shut"))) == [b"s0", b"s1", b"s2"]
        assert stage.values("bills") == [b"b0", b"b1", b"b2"]
        ordered = [value for value in stage.values("orders") if value is not None and not value.startswith(b"o")]
        assert ordered == [b"%s s%d" % (word, number) for number in range(3) for word in (b"with", b"behind")]

    on_stage(scene)


def test_what_is_tried_is_the_first_event_of_a_lane_whatever_else_its_row_waits_for() -> None:
    """A topic that was held up by mistake goes on, though its row waits with one that is shut."""

    async def scene(stage: Stage) -> None:
        stage.outlet.stuck = {("shut", 1), ("orders", 1)}
        await stage.publish_row(("shut", "1", b"s0"), ("orders", "1", b"with s0"))
        await stage.publish_row(("shut", "1", b"s1"), ("shut", "2", b"t1"))
        async with stage.relaying() as relay:
            await until(lambda: len(stage.outlet.proofs) > 2)
            assert {*relay.trouble.split("'")} >= {"shut", "orders"}
            stage.outlet.stuck = {("shut", 1)}
            await stage.publish_row(("orders", "2", b"o"))
            await until(lambda: b"o" in stage.values("orders"))
            assert "'orders'" not in relay.trouble
            assert {tuple(each) for each in stage.outlet.proofs} == {(b"s0",), (b"with s0",)}
            stage.outlet.stuck = {("shut", 2)}
            await until(lambda: (b"t1",) in {tuple(each) for each in stage.outlet.proofs})
            stage.outlet.stuck = set()
            await until(lambda: stage.waiting() == 0)
        assert [value for value in dict.fromkeys(stage.values("shut")) if value != b"t1"] == [b"s0", b"s1"]
        assert list(dict.fromkeys(stage.values("orders"))) == [b"with s0", b"o"]
        for value in (b"s0", b"with s0", b"t1"):
            assert len({each[1:] for each in stage.outlet.sent if each[0] == value}) == 1

    on_stage(scene)


def test_what_is_refused_for_good_when_it_is_tried_is_kept_apart() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.stuck = {("shut", 1)}
        await stage.publish_row(("shut", "1", b"never"))
        await stage.publish_row(("shut", "1", b"s1"))
        async with stage.relaying():
            await until(lambda: bool(stage.outlet.proofs))
            stage.outlet.refuses, stage.outlet.stuck = b"never", set()
            await until(lambda: stage.waiting() == 0)
        assert stage.values("shut") == [b"s1"]
        assert stage.database.read("SELECT value, why FROM onward_refused") == [(b"never", "Never.")]

    on_stage(scene)


def test_a_leader_that_follows_one_that_died_finds_out_for_itself() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.stuck = {("shut", 1)}
        for part in range(2):
            async with stage.relaying() as relay:
                await stage.publish_row(("shut", "1", b"s%d" % part))
                await until(lambda relay=relay: "'shut'" in relay.trouble)  # type: ignore[misc]
                await stage.publish_row(("orders", "1", b"o%d" % part))
                await until(lambda part=part: len(stage.values("orders")) == part + 1)  # type: ignore[misc]
        stage.outlet.stuck = set()
        async with stage.relaying():
            await until(lambda: stage.waiting() == 0)
        assert list(dict.fromkeys(stage.values("shut"))) == [b"s0", b"s1"]

    on_stage(scene)
