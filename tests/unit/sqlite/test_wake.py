import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from onward.sqlite.address import bind_address, remove_address
from onward.sqlite.members import Member, Members
from onward.sqlite.wake import Listener, Waker


class Village:
    """Members with an ear each, and what they heard."""

    def __init__(self, folder: Path) -> None:
        self.members = Members(folder)
        self.stack = ExitStack()
        self.heard: dict[str, list[set[str]]] = {}
        self.news = asyncio.Event()

    def settle(self, name: str, *topics: str) -> Listener:
        self.heard[name] = []

        def woken(found: frozenset[str]) -> None:
            self.heard[name].append(set(found))
            self.news.set()

        listener = self.stack.enter_context(closing(Listener(topics, woken)))
        member = Member(
            id=name, service="s", pid=1, started_at=0.0, version="1", address=listener.address, topics=topics
        )
        self.stack.callback(self.members.join(member).leave)
        return listener

    def waker(self, beside: str | None = None) -> Waker:
        return self.stack.enter_context(closing(Waker(self.members, beside=beside)))

    async def hear(self) -> None:
        await asyncio.wait_for(self.news.wait(), 5)
        self.news.clear()


@pytest.fixture
def village(tmp_path: Path) -> Iterator[Village]:
    made = Village(tmp_path)
    with made.stack:
        yield made


def test_those_who_want_a_topic_are_woken_with_its_name(village: Village) -> None:
    async def notify() -> None:
        for listener in (village.settle("both", "orders", "stock"), village.settle("one", "stock")):
            listener.start()
        village.waker().notify(["orders", "payments"])
        await village.hear()
        village.waker().notify(["stock", "orders"])
        while len(village.heard["both"]) + len(village.heard["one"]) < 3:
            await village.hear()

    asyncio.run(notify())
    assert village.heard == {"both": [{"orders"}, {"orders", "stock"}], "one": [{"stock"}]}


def test_several_wake_ups_that_wait_are_one_call(village: Village) -> None:
    async def notify() -> None:
        listener = village.settle("slow", "orders", "stock", "payments")
        waker = village.waker()
        waker.notify(["orders"])
        waker.notify(["stock"])
        listener.start()
        await village.hear()

    asyncio.run(notify())
    assert village.heard == {"slow": [{"orders", "stock"}]}


def test_a_member_whose_buffer_was_full_looks_at_all_its_topics(village: Village) -> None:
    async def notify() -> None:
        listener = village.settle("frozen", "orders", "stock")
        waker = village.waker()
        for _ in range(1000):
            waker.notify(["orders"])
        waker.notify(["stock"])
        listener.start()
        await village.hear()

    asyncio.run(notify())
    assert village.heard["frozen"][0] == {"orders", "stock"}


def test_a_frozen_member_does_not_keep_others_from_being_woken(village: Village) -> None:
    async def notify() -> None:
        village.settle("frozen", "orders")
        waker = village.waker()
        for _ in range(1000):
            waker.notify(["orders"])
        village.settle("awake", "orders").start()
        waker.notify(["orders"])
        await village.hear()

    asyncio.run(notify())
    assert village.heard == {"frozen": [], "awake": [{"orders"}]}


def test_a_member_that_died_or_has_no_address_is_passed_over(village: Village) -> None:
    async def notify() -> None:
        village.settle("dead", "orders").close()
        deaf = Member(id="deaf", service="s", pid=1, started_at=0.0, version="1", topics=("orders",))
        village.stack.callback(village.members.join(deaf).leave)
        dies = village.settle("dies", "orders")
        village.settle("lives", "orders").start()
        waker = village.waker()
        waker.notify(["stock"])
        dies.close()
        waker.notify(["orders"])
        await village.hear()

    asyncio.run(notify())
    assert village.heard == {"dead": [], "dies": [], "lives": [{"orders"}]}


def test_one_who_joins_later_is_woken_too(village: Village) -> None:
    async def notify() -> None:
        waker = village.waker()
        waker.notify(["orders"])
        village.settle("late", "orders").start()
        waker.notify(["orders"])
        await village.hear()

    asyncio.run(notify())
    assert village.heard == {"late": [{"orders"}]}


def test_the_members_are_read_again_only_when_they_changed(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    village.settle("one", "orders")
    os.utime(village.members.folder, ns=(5, 5))
    reads = 0
    running = village.members.running

    def counted() -> list[Member]:
        nonlocal reads
        reads += 1
        return running()

    monkeypatch.setattr(village.members, "running", counted)
    waker = village.waker()
    for _ in range(3):
        waker.notify(["orders"])
    assert reads == 1
    os.utime(village.members.folder, ns=(6, 6))
    waker.notify(["orders"])
    assert reads == 2


def test_a_process_does_not_wake_itself(village: Village) -> None:
    async def notify() -> None:
        village.settle("self", "orders").start()
        village.settle("other", "orders").start()
        village.waker(beside="self").notify(["orders"])
        await village.hear()

    asyncio.run(notify())
    assert village.heard == {"self": [], "other": [{"orders"}]}


def test_more_names_than_fit_a_datagram_are_told_as_everything(village: Village) -> None:
    topics = [f"topic-{number:0100}" for number in range(100)]

    async def notify() -> None:
        village.settle("wide", *topics, "quiet").start()
        village.waker().notify(topics)
        await village.hear()

    asyncio.run(notify())
    assert village.heard == {"wide": [{*topics, "quiet"}]}


@pytest.mark.parametrize("noise", [b"", b"\xff\xfe\n\n", b"payments", b"x" * 9000])
def test_a_datagram_that_names_none_of_our_topics_wakes_nobody(village: Village, noise: bytes) -> None:
    async def listen() -> None:
        listener = village.settle("one", "orders")
        listener.start()
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as stranger:
            stranger.sendto(noise, listener.address)
            stranger.sendto(b"orders", listener.address)
        await village.hear()

    asyncio.run(listen())
    assert village.heard == {"one": [{"orders"}]}


def test_those_known_are_woken_while_the_members_folder_can_not_be_read(village: Village) -> None:
    async def notify() -> None:
        village.settle("known", "orders").start()
        waker = village.waker()
        waker.notify(["orders"])
        await village.hear()
        folder = village.members.folder
        elsewhere = folder.rename(folder.with_name("elsewhere"))
        waker.notify(["orders"])
        await village.hear()
        elsewhere.rename(folder)

    asyncio.run(notify())
    assert village.heard == {"known": [{"orders"}, {"orders"}]}


def test_an_address_is_short_and_its_folder_private_wherever_temporary_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    listening, address = bind_address()
    listening.close()
    assert len(address) <= 100
    assert Path(address).parent.stat().st_mode & 0o777 == 0o700
    remove_address(address)
    assert not Path(address).parent.exists()
    remove_address(address)
    assert os.listdir(deep) == []


def test_removing_an_address_leaves_other_files_alone(tmp_path: Path) -> None:
    other = tmp_path / "onward-precious" / "wake"
    other.parent.mkdir()
    other.write_text("not a socket")
    elsewhere = tmp_path / "wake"
    elsewhere.write_text("not in a folder of ours")
    for path in (other, elsewhere):
        remove_address(str(path))
        assert path.exists()


def test_sweeping_a_dead_member_removes_its_address(village: Village) -> None:
    listening, address = bind_address()
    listening.close()
    dead = Member(id="dead", service="s", pid=1, started_at=0.0, version="1", address=address)
    village.members.join(dead).disown()
    assert village.members.running() == []
    assert not Path(address).parent.exists()
