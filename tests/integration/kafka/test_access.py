"""A Kafka that asks who somebody is: any option reaches the client, and what is refused is told with its remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub leaves some out
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from onward.errors import BrokerRefusedError, BrokerUnreachableError
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import PATIENCE_S, TOPIC, Placed, Stage, assert_exactly_once, placed
from tests.integration.services import running

TOPICS = (AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE, AclOperation.CREATE)
ANY: Any = None  # which the client's stub does not know
ALL_OF_TILL = AclBindingFilter(
    ResourceType.ANY, ANY, ResourcePatternType.ANY, "User:till", ANY, AclOperation.ANY, AclPermissionType.ANY
)


def options(kafka: Kafka, user: str = "till", password: str = "") -> str:
    assert kafka.guard is not None
    return (
        f"?security.protocol=SASL_SSL&sasl.mechanism=PLAIN&ssl.ca.location={kafka.guard.certificate}"
        f"&sasl.username={user}&sasl.password={password or kafka.guard.users[user]}"
    )


def guarded(kafka: Kafka) -> str:
    assert kafka.guard is not None
    return f"127.0.0.1:{kafka.guard.port}"


@contextmanager
def allowed(stage: Stage) -> Iterator[None]:
    """Within, till may do what the documentation says that a service needs, and nothing else."""
    allow(stage)
    try:
        yield
    finally:
        forbid(stage)


def allow(stage: Stage) -> None:
    topics = [_may(ResourceType.TOPIC, TOPIC, operation) for operation in TOPICS]
    group = _may(ResourceType.GROUP, f"{stage.name}:{TOPIC}", AclOperation.READ)
    for created in stage.admin.create_acls([*topics, group]).values():
        created.result(PATIENCE_S)


def forbid(stage: Stage) -> None:
    for deleted in stage.admin.delete_acls([ALL_OF_TILL]).values():
        deleted.result(PATIENCE_S)


def _may(kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, "User:till", "*", operation, AclPermissionType.ALLOW)


def test_with_tls_a_password_and_the_rights_that_the_documentation_names_a_service_works(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path)

    async def scene() -> None:
        app = stage.recorder(options(kafka), bootstrap=guarded(kafka))
        async with running(app):
            await app.send(*placed(range(20)))
            await stage.until_handled(20)
            await stage.until(lambda: sum(stage.committed().values()) == 20)

    with allowed(stage):
        asyncio.run(scene())
    assert stage.numbers() == [*range(20)]


@pytest.mark.parametrize(
    ("user", "password"), [("till", "a-wrong-password"), ("stranger", "")], ids=["a wrong password", "no rights"]
)
def test_who_is_refused_is_told_where_to_look_and_no_secret(
    kafka: Kafka, tmp_path: Path, user: str, password: str
) -> None:
    stage = Stage(kafka, tmp_path)
    kafka.create_topic(TOPIC, 4)

    async def scene() -> None:
        async with running(stage.recorder(options(kafka, user, password), bootstrap=guarded(kafka))):
            raise AssertionError

    with pytest.raises(BrokerRefusedError, match=r"look at the options of ONWARD_BROKER .*\(ACLs\)") as refused:
        asyncio.run(scene())
    assert (password or "what-nobody-trusts") not in str(refused.value)


def test_a_certificate_that_is_not_trusted_is_named(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    assert kafka.guard is not None
    trusting_others = options(kafka).replace(f"&ssl.ca.location={kafka.guard.certificate}", "")

    async def scene() -> None:
        async with running(stage.recorder(trusting_others, bootstrap=guarded(kafka))):
            raise AssertionError

    with pytest.raises(BrokerUnreachableError, match=r"certificate"):
        asyncio.run(scene())


def test_a_right_that_is_taken_away_is_told_and_given_back_the_service_goes_on(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)

    async def scene() -> None:
        async with running(stage.recorder(options(kafka), bootstrap=guarded(kafka))) as service:
            app = stage.app()
            await app.send(*placed(range(10)))
            await stage.until_handled(10)
            forbid(stage)
            await app.send(*placed(range(10, 20)))
            await stage.until(lambda: service.unready() != [])
            assert "was refused by Kafka" in service.unready()[0]
            allow(stage)
            await stage.until_handled(20)
            await app.close()

    with allowed(stage):
        asyncio.run(scene())
    assert stage.numbers() == [*range(20)]


WRITING = AclBindingFilter(
    ResourceType.TOPIC,
    TOPIC,
    ResourcePatternType.LITERAL,
    "User:till",
    ANY,
    AclOperation.WRITE,
    AclPermissionType.ALLOW,
)


def forbid_writing(stage: Stage) -> None:
    """Till may still look at the topic and read it."""
    for deleted in stage.admin.delete_acls([WRITING]).values():
        deleted.result(PATIENCE_S)


def test_who_may_not_write_is_told_by_what_sends_and_given_the_right_sends_on(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path)
    sent: list[int] = []

    async def send() -> None:
        await app.send(Placed(key="a", n=len(sent)))
        sent.append(len(sent))

    async def send_on(until: int) -> None:
        while len(sent) < until:
            await send()

    async def scene() -> None:
        await send_on(10)
        forbid_writing(stage)
        with pytest.raises(BrokerRefusedError, match=r"Publishing to topic 'placed' was refused by Kafka.*\(ACLs\)"):
            await send_on(10_000)  # Kafka hears of it a moment later
        allow(stage)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await send()
                    break
                except BrokerRefusedError:
                    continue
        await app.close()
        async with stage.recording():
            await stage.until_handled(len(sent))

    app = stage.app(options(kafka), bootstrap=guarded(kafka))
    with allowed(stage):
        asyncio.run(scene())
    assert_exactly_once(stage.effects(), sent)
    assert len(stage.effects()) == len(sent)


def test_what_may_not_be_written_waits_in_the_outbox_and_given_the_right_leaves_in_order(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path)

    async def scene() -> None:
        app = stage.recorder(options(kafka), bootstrap=guarded(kafka))
        async with running(app) as service:
            await app.publish(*placed(range(10)))
            await stage.until_handled(10)
            forbid_writing(stage)
            published = 10
            async with asyncio.timeout(PATIENCE_S):
                while not service.unready():  # Kafka hears of it a moment later
                    await app.publish(*placed(range(published, published + 10)))
                    published += 10
                    await asyncio.sleep(0.05)
            assert "was refused by Kafka" in service.unready()[0]
            allow(stage)
            await stage.until_handled(published)
            await stage.until(lambda: service.unready() == [])
            assert_exactly_once(stage.effects(), range(published))
            assert len(stage.effects()) == published

    with allowed(stage):
        asyncio.run(scene())
