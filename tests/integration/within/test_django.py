"""Events of a service leave by the transaction of Django that is open."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import django
import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from psycopg.conninfo import conninfo_to_dict

from onward.errors import StoreError, TransactionError
from tests.integration.within.till import Paid, Till, Undone
from tests.integration.within.waking import Listener, criers, join_criers

NAMES = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}


@pytest.fixture
def django_till(till: Till) -> Iterator[Till]:
    """The service's store is Django's default database."""
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}}, USE_TZ=True)
        django.setup()
    parts = conninfo_to_dict(till.url)
    connections.settings["default"].update({name: str(parts[key]) for name, key in NAMES.items()})
    yield till
    connection.close()
    del connections["default"]


def write() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO written (n) VALUES (1)")


def test_a_commit_of_django_publishes_and_a_rollback_does_not(django_till: Till) -> None:
    outbox = django_till.app.outbox(connection)
    with transaction.atomic():
        write()
        outbox.add(Paid(n=1))
    with suppress(Undone), transaction.atomic():
        write()
        outbox.add(Paid(n=2))
        raise Undone
    with transaction.atomic():
        outbox.add(Paid(n=3))
        with suppress(Undone), transaction.atomic():
            outbox.add(Paid(n=4))
            raise Undone
        django_till.app.outbox(connections["default"]).add(Paid(n=5))
    assert django_till.written() == 1
    assert django_till.waiting() == [[1], [3], [5]]


def test_outside_of_a_transaction_of_django_nothing_is_published(django_till: Till) -> None:
    write()
    with pytest.raises(TransactionError, match=r"no transaction of Django.*with transaction\.atomic"):
        django_till.app.outbox(connection).add(Paid(n=1))
    assert django_till.waiting() == []


def test_in_asynchronous_code_the_error_says_where_it_belongs(django_till: Till) -> None:
    with pytest.raises(TransactionError, match=r"belongs to synchronous code.*app\.outbox\(connection\)\.add"):
        asyncio.run(django_till.app.publish(Paid(n=1), within=connection))


def test_a_failed_transaction_of_django_says_why(django_till: Till) -> None:
    with transaction.atomic():
        write()
        transaction.set_rollback(True)
        with pytest.raises(StoreError, match="Publishing in a transaction of Django failed"):
            django_till.app.outbox(connection).add(Paid(n=1))
    assert django_till.waiting() == []


def test_the_relay_is_told_of_a_commit_of_django_and_of_no_rollback(django_till: Till, listener: Listener) -> None:
    outbox = django_till.app.outbox(connection)
    with suppress(Undone), transaction.atomic():
        outbox.add(Paid(n=1))
        raise Undone
    with transaction.atomic():
        with suppress(Undone), transaction.atomic():
            outbox.add(Paid(n=2))
            raise Undone
    assert criers() == []
    with transaction.atomic():
        with transaction.atomic():
            outbox.add(Paid(n=3))
        assert criers() == []
    assert listener.hears() == "till"
    join_criers()
