"""The client library's errors, told as onward's own: what happened, what it means and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

from onward.errors import BrokerError, BrokerRefusedError, BrokerUnreachableError

REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    }
)
_UNREACHABLE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._SSL,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
PASSING = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""Leaders and coordinators move: the next attempt finds them."""

SILENT = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError.REQUEST_TIMED_OUT})
"""One server does not answer: another may."""

UNKNOWN_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_ID})


class Teller:
    """Knows the servers, and what must never be told: the values of the client's options."""

    def __init__(self, servers: str, secrets: Iterable[str]) -> None:
        self._servers = servers
        self._secrets = sorted((each for each in secrets if len(each) > 3), key=len, reverse=True)

    def scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    def told(self, error: KafkaException | KafkaError, doing: str) -> BrokerError:
        """`doing` begins the sentence: "Creating topic 'orders'". Chain it to the cause only where no secret can be."""
        cause = error.args[0] if isinstance(error, KafkaException) and error.args else error
        code = cause.code() if isinstance(cause, KafkaError) else None
        said = self.scrub(cause.str() if isinstance(cause, KafkaError) else str(cause))
        if code in REFUSED:
            return BrokerRefusedError(
                f"{doing} was refused by Kafka at {self._servers} ({said}): look at the options of ONWARD_BROKER"
                " (security.protocol, sasl.mechanism, sasl.username, sasl.password), and at what the cluster allows"
                " this user (ACLs).",
                code=code,
            )
        if code in _UNREACHABLE:
            return self.unreachable(doing, said)
        if code in UNKNOWN_TOPIC:
            return BrokerError(
                f"{doing} failed: Kafka at {self._servers} has no such topic ({said}). A service creates its topics"
                " when it starts; if this one was deleted, restart the service or create it again.",
                code=code,
            )
        return BrokerError(f"{doing} failed at Kafka at {self._servers}: {said}.", code=code)

    def unreachable(self, doing: str, said: str) -> BrokerUnreachableError:
        return BrokerUnreachableError(
            f"{doing} failed: no Kafka server answers at {self._servers} ({said}). Look whether it runs, whether this"
            " machine reaches the addresses that it advertises, and whether security.protocol is what it listens for."
            " What was begun is tried again."
        )
