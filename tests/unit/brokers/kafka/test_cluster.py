"""What a cluster is asked again, and for how long."""

from collections.abc import Mapping
from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException

from onward.brokers.kafka import cluster
from onward.brokers.kafka.address import parse
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.cluster import ANSWER_S, CREATED_S, LOOK_EVERY_S, Cluster
from onward.errors import BrokerError


class Elapsing:
    """A clock that goes on by what is slept."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Silent:
    """An admin client that nothing is expected of."""

    def list_topics(self, timeout: float) -> None:
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Elapsing:
    clock = Elapsing()
    monkeypatch.setattr(cluster, "monotonic", clock.monotonic)
    monkeypatch.setattr(cluster, "sleep", clock.sleep)
    monkeypatch.setattr(Cluster, "_admin", lambda _self: Silent())
    return clock


def asked(clock: Elapsing, code: int, until_s: float) -> str:
    """The answer of servers that say `code` until then."""

    def ask(_admin: object) -> Mapping[str, Future[str]]:
        answer: Future[str] = Future()
        if clock.now < until_s:
            answer.set_exception(KafkaException(KafkaError(code)))
        else:
            answer.set_result("led")
        return {"it": answer}

    return str(Cluster(Client(parse("kafka://localhost"), "shop"))._answered(ask, "Asking")["it"])


@pytest.mark.parametrize(
    ("code", "patience_s"),
    [(KafkaError.NOT_LEADER_FOR_PARTITION, CREATED_S), (KafkaError.LEADER_NOT_AVAILABLE, ANSWER_S)],
)
def test_what_passes_is_waited_for_and_longer_where_a_leader_has_not_heard_of_it(
    clock: Elapsing, code: int, patience_s: float
) -> None:
    assert asked(clock, code, patience_s - 1) == "led"
    clock.now = 0.0
    with pytest.raises(BrokerError, match=r"^Asking"):
        asked(clock, code, patience_s + 1)
    assert clock.now == pytest.approx(patience_s, abs=2 * LOOK_EVERY_S)


def test_what_does_not_pass_is_asked_once(clock: Elapsing) -> None:
    with pytest.raises(BrokerError):
        asked(clock, KafkaError.TOPIC_AUTHORIZATION_FAILED, 1)
    assert clock.now == 0
