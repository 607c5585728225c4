import fcntl
import os
import signal
from pathlib import Path

import pytest

from onward.errors import StoreClosedError, StoreError
from onward.sqlite.members import Member, Members


class Clock:
    """The monotonic clock of the machine, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def members(tmp_path: Path, clock: Clock) -> Members:
    return Members(tmp_path, clock_ns=clock)


def member(name: str, **given: object) -> Member:
    facts: dict[str, object] = {"service": "stock", "pid": 4711, "started_at": 5.0, "version": "1.2", **given}
    return Member(id=name, **facts)  # type: ignore[arg-type]


def alive(members: Members, lease_s: float = 10.0) -> list[str]:
    return [found.id for found in members.alive(lease_s)]


def test_a_member_is_alive_from_joining_to_leaving(members: Members) -> None:
    one = members.join(member("one", topics=("orders",), ready=True))
    two = members.join(member("two"))
    assert members.alive() == [member("one", topics=("orders",), ready=True), member("two")]
    one.leave()
    one.leave()
    assert alive(members) == ["two"]
    two.leave()
    assert os.listdir(members.folder) == []


def test_a_member_that_does_not_beat_for_a_lease_is_dead_until_it_beats_again(members: Members, clock: Clock) -> None:
    frozen = members.join(member("frozen"))
    clock.pass_s(10.0)
    assert alive(members) == ["frozen"]
    clock.pass_s(0.001)
    assert alive(members) == []
    assert [found.id for found in members.running()] == ["frozen"]
    frozen.beat()
    assert alive(members) == ["frozen"]
    frozen.leave()


def test_a_killed_process_is_dead_at_once_and_swept(members: Members) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        members.join(member("child"))
        os.write(writer, b"joined")
        signal.pause()
    os.read(reader, 6)
    assert alive(members) == ["child"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert alive(members) == []
    assert os.listdir(members.folder) == []
    os.close(reader)
    os.close(writer)


def test_a_forked_child_does_not_keep_its_dead_parent_alive(members: Members) -> None:
    to_child, from_parent = os.pipe()
    to_test, from_family = os.pipe()
    parent = os.fork()
    if parent == 0:
        held = members.join(member("parent"))
        child = os.fork()
        if child == 0:
            os.close(from_parent)
            os.write(from_family, b"c")
            os.read(to_child, 1)
            os._exit(0)
        held.beat()
        signal.pause()
    os.close(to_child)
    os.read(to_test, 1)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert alive(members) == []
    for descriptor in (from_parent, to_test, from_family):
        os.close(descriptor)


def test_a_change_is_seen_whole_and_beats(members: Members, clock: Clock) -> None:
    changing = members.join(member("one"))
    clock.pass_s(11)
    changing.change(ready=True, topics=("orders", "stock"))
    assert members.alive() == [member("one", ready=True, topics=("orders", "stock"))]
    changing.change(address="/somewhere/wake")
    assert members.alive() == [member("one", ready=True, topics=("orders", "stock"), address="/somewhere/wake")]
    changing.leave()


def test_every_change_of_membership_shows_in_the_folder(members: Members) -> None:
    def age() -> None:
        os.utime(members.folder, ns=(0, 0))

    age()
    one = members.join(member("one"))
    assert members.changed_ns() != 0
    age()
    one.change(ready=True)
    assert members.changed_ns() != 0
    age()
    one.beat()
    assert members.changed_ns() == 0
    one.leave()
    assert members.changed_ns() != 0


def test_a_file_that_says_nothing_is_nobody_and_is_swept_when_its_owner_is_gone(members: Members) -> None:
    file = members.folder / "odd.json"
    with file.open("wb") as owner:
        owner.write(b"{}")
        owner.flush()
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert alive(members) == []
        assert file.exists()
    assert alive(members) == []
    assert not file.exists()


def test_beating_after_leaving_says_so(members: Members) -> None:
    gone = members.join(member("gone"))
    gone.leave()
    with pytest.raises(StoreClosedError, match="has left"):
        gone.beat()


def test_joining_where_nothing_can_be_written_says_what_to_do(members: Members) -> None:
    members.folder.rmdir()
    with pytest.raises(StoreError, match="Make its folder writable"):
        members.join(member("homeless"))
