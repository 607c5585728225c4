"""Where broker and store are: the strongest of environment, declaration and default."""

from pathlib import Path

import pytest

from onward.errors import SettingError
from onward.settings import resolve, shown, sqlite_path, variable


@pytest.mark.parametrize(
    ("environment", "said", "expected"),
    [
        ({}, None, "onward.db"),
        ({}, "sqlite:///said.db", "said.db"),
        ({"ONWARD_STORE": "sqlite:///all.db"}, "sqlite:///said.db", "all.db"),
        ({"ONWARD_BIKE_SHOP_STORE": "sqlite:///own.db", "ONWARD_STORE": "sqlite:///all.db"}, None, "own.db"),
        ({"ONWARD_BROKER": "sqlite:///broker.db"}, None, "broker.db"),
        ({"ONWARD_OTHER_STORE": "sqlite:///other.db"}, None, "onward.db"),
    ],
)
def test_the_strongest_setting_is_followed(environment: dict[str, str], said: str | None, expected: str) -> None:
    found = resolve("bike-shop", store=said, environment=environment)
    assert found.database == Path(expected)


def test_a_broker_and_a_store_in_two_files_are_refused() -> None:
    with pytest.raises(SettingError, match=r"on SQLite both are one file.* Set only ONWARD_STORE"):
        resolve("shop", environment={"ONWARD_BROKER": "sqlite:///a.db", "ONWARD_STORE": "sqlite:///b.db"})


def test_a_store_on_postgresql_has_no_file_and_needs_a_broker_that_carries_events() -> None:
    found = resolve(
        "shop", environment={"ONWARD_STORE": "postgresql://me:secret@db/shop", "ONWARD_BROKER": "kafka://broker:9092"}
    )
    assert (found.database, found.is_one_file) == (None, False)
    assert "secret" not in repr(found)
    for broker in ({}, {"ONWARD_BROKER": "sqlite:///onward.db"}):
        with pytest.raises(SettingError, match=r"carries no events: name a broker that does, such as ONWARD_BROKER="):
            resolve("shop", environment={"ONWARD_STORE": "postgresql://db/shop", **broker})


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////var/a.db", "/var/a.db"),
        ("./a.db", "./a.db"),
        ("/var/a.db", "/var/a.db"),
    ],
)
def test_a_file_is_named_by_an_address_or_a_path(url: str, path: str) -> None:
    assert sqlite_path(url, "store") == Path(path)


@pytest.mark.parametrize("url", ["sqlite:///", "mysql://db/shop", "shop.txt", ""])
def test_an_address_that_this_version_can_not_use_says_what_to_write(url: str) -> None:
    with pytest.raises(SettingError, match=r"The store is set to .* write sqlite:///\./onward\.db"):
        sqlite_path(url, "store")


def test_a_services_own_variable_has_its_name_in_capitals() -> None:
    assert variable("bike-shop", "STORE") == "ONWARD_BIKE_SHOP_STORE"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///./shop.db", "sqlite:///./shop.db"),
        ("shop.db", "shop.db"),
        ("kafka://user:secret@host:9092?sasl.password=secret", "kafka://host:9092?…"),
        ("postgresql://user:p@ss@host/shop", "postgresql://host/shop"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert shown(url) == expected
