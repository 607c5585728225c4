"""The address of a Kafka: everything in it is told to the client, and nothing of it to anybody else."""

import pytest

from onward.brokers.kafka.address import OURS, parse
from onward.brokers.kafka.failures import Teller
from onward.errors import SettingError
from onward.settings import resolve, shown

SECRET = "hunter2&%+ =?/@"
WRITTEN = "hunter2%26%25+%20=?/@"
FULL = f"kafka://b1:9092,b2:9093?security.protocol=SASL_SSL&sasl.username=till&sasl.password={WRITTEN}&replication=3"


def test_servers_and_options_are_as_written() -> None:
    address = parse(FULL)
    assert address.servers == "b1:9092,b2:9093"
    assert dict(address.options) == {
        "security.protocol": "SASL_SSL",
        "sasl.username": "till",
        "sasl.password": SECRET,
    }
    assert (address.replication, address.max_value_bytes) == (3, 1 << 20)


@pytest.mark.parametrize("servers", ["localhost", "kafka-1.example.com:9092", "[::1]:9092", "10.0.0.1:9092,b:1"])
def test_a_server_is_a_name_or_number_with_or_without_a_port(servers: str) -> None:
    assert parse(f"kafka://{servers}/").servers == servers


@pytest.mark.parametrize(
    "url",
    ["kafka://", "kafka://host:port", "kafka://a,,b", "kafka://host/topic", "kafka://host:9092#x", "kafka:// host"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="is not kafka://host:port"):
        parse(url)


@pytest.mark.parametrize("query", ["linger.ms", "=5", "linger.ms=1&linger.ms=2", "a=b&c"])
def test_options_that_are_none_are_refused(query: str) -> None:
    with pytest.raises(SettingError, match="name=value"):
        parse(f"kafka://host?{query}")


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_option_that_the_guarantees_depend_on_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"sets the option {name}"):
        parse(f"kafka://host?{name}=x")


@pytest.mark.parametrize("value", ["0", "-1", "three", ""])
def test_numbers_of_ours_are_whole_and_at_least_one(value: str) -> None:
    with pytest.raises(SettingError, match=r"replication .* is not a whole number"):
        parse(f"kafka://host?replication={value}")


def test_a_user_before_the_host_is_told_where_it_belongs() -> None:
    with pytest.raises(SettingError, match=r"sasl\.username") as caught:
        parse("kafka://till:hunter2@host:9092")
    assert "hunter2" not in str(caught.value)


def test_an_address_is_shown_without_users_and_options() -> None:
    assert shown(FULL) == "kafka://b1:9092,b2:9093?…"
    assert shown("postgresql://till:hunter2@db/shop") == "postgresql://db/shop"
    assert shown("kafka://b1:9092") == "kafka://b1:9092"
    assert shown("sqlite:///./shop.db") == "sqlite:///./shop.db"


def test_no_error_and_no_repr_shows_a_secret() -> None:
    settings = resolve("till", environment={"ONWARD_BROKER": FULL})
    assert "hunter2" not in repr(settings)
    for url in (FULL + "&linger.ms", FULL + "&acks=1", FULL + "#x", FULL.replace("replication=3", "replication=x")):
        with pytest.raises(SettingError) as caught:
            parse(url)
        assert "hunter2" not in str(caught.value)


def test_what_the_library_says_is_scrubbed_of_every_option() -> None:
    teller = Teller("b1:9092", ["hunter2", "till@example.com", "abc"])
    assert teller.scrub("user till@example.com with hunter2: abc") == "user … with …: abc"


def test_a_broker_elsewhere_leaves_the_store_where_it_is_said_or_by_default() -> None:
    settings = resolve("till", environment={"ONWARD_BROKER": "kafka://b1"})
    assert (settings.store, settings.is_one_file) == ("sqlite:///./onward.db", False)
    settings = resolve("till", environment={"ONWARD_BROKER": "kafka://b1", "ONWARD_TILL_STORE": "till.db"})
    assert (str(settings.database), settings.is_one_file) == ("till.db", False)
    assert resolve("till", environment={"ONWARD_BROKER": "till.db"}).is_one_file
