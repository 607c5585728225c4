"""The broker on a real Kafka is what the contracts say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from onward.brokers.kafka.broker import KafkaBroker
from onward.ports import Broker
from onward.testing.contracts import DeliveryContract, GroupContract, LogContract, OpenBroker
from scripts.servers.kafka import Kafka


class TestKafkaBroker(DeliveryContract, GroupContract, LogContract):
    @pytest.fixture
    def open_broker(self, kafka: Kafka) -> OpenBroker:
        @asynccontextmanager
        async def open_it() -> AsyncIterator[Broker]:
            broker = KafkaBroker(kafka.url, "contract")
            try:
                yield broker
            finally:
                await broker.close()

        return open_it
