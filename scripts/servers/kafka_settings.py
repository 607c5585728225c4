"""What a node's server.properties says."""

from dataclasses import dataclass
from pathlib import Path

# Close to what a cluster in production has where it decides what a client sees; short where it decides how long a
# test of a failure waits.
SHARED = """\
process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL
auto.create.topics.enable=false
# 50 partitions each by default, made at the first commit and recovered at every start
offsets.topic.num.partitions=6
transaction.state.log.num.partitions=6
share.coordinator.state.topic.num.partitions=6
group.initial.rebalance.delay.ms=0
# how soon a dead consumer's partitions are given to others
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
# how soon a dead broker is replaced, and how soon one with its number may come back
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


GUARDED = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# who comes in by the open door may do all; by the guarded one, what ACLs say
super.users=User:ANONYMOUS
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.ssl.keystore.type=PKCS12
"""
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True, slots=True)
class Guard:
    """A second door: TLS with the key in `keystore`, and users with their passwords, who may do what ACLs say."""

    port: int
    keystore: Path
    certificate: Path
    keystore_password: str
    users: dict[str, str]

    @property
    def listener(self) -> str:
        return f"GUARDED://127.0.0.1:{self.port}"

    @property
    def properties(self) -> dict[str, object]:
        users = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
        return {
            "listener.name.guarded.ssl.keystore.location": self.keystore,
            "listener.name.guarded.ssl.keystore.password": self.keystore_password,
            "listener.name.guarded.plain.sasl.jaas.config": f"{PLAIN} required {users};",
        }


def server_properties(
    number: int, folder: Path, ports: list[int], controller_ports: list[int], guard: Guard | None = None
) -> str:
    """Of node `number`, counted from 1, in a cluster of as many nodes as there are ports."""
    size = len(ports)
    in_sync = max(1, size - 1)
    port, controller_port = ports[number - 1], controller_ports[number - 1]
    voters = ",".join(f"{node}@127.0.0.1:{each}" for node, each in enumerate(controller_ports, 1))
    doors = [f"PLAINTEXT://127.0.0.1:{port}", *([guard.listener] if guard else [])]
    own = {
        "node.id": number,
        "controller.quorum.voters": voters,
        "listeners": ",".join([*doors, f"CONTROLLER://127.0.0.1:{controller_port}"]),
        "advertised.listeners": ",".join(doors),
        "log.dirs": folder / "data",
        "default.replication.factor": size,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": size,
        "transaction.state.log.replication.factor": size,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": size,
        "share.coordinator.state.topic.min.isr": in_sync,
    }
    if guard is not None:
        own |= guard.properties
    common = SHARED + GUARDED if guard is not None else SHARED
    return common + "".join(f"{name}={value}\n" for name, value in own.items())
