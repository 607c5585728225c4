"""What an adapter is, as tests: subclass the suites, supply one fixture, and the next adapter is a few lines.

class TestMyBroker(DeliveryContract, GroupContract, LogContract):
    @pytest.fixture
    def open_broker(self): return open_my_broker    # () -> async context manager of a Broker

class TestMyStore(
    AccountContract, DeadLetterContract, ParkingContract, ReadingContract, RegistrationContract, TransactionContract
):
    @pytest.fixture
    def open_store(self): return open_my_store      # () -> async context manager of a StoreBench

A store in which one transaction at a time writes adds TurnContract.
"""

from onward.testing.contracts.accounts import AccountContract
from onward.testing.contracts.backlogs import BacklogContract
from onward.testing.contracts.dead_letters import DeadLetterContract
from onward.testing.contracts.delays import DelayBench, DelayContract, OpenDelays
from onward.testing.contracts.delivery import DeliveryContract
from onward.testing.contracts.groups import GroupContract
from onward.testing.contracts.logs import LogContract
from onward.testing.contracts.logs_elsewhere import LogElsewhereContract
from onward.testing.contracts.outboxes import OpenOutbox, OutboxBench, OutboxContract
from onward.testing.contracts.parking import ParkingContract
from onward.testing.contracts.reading import ReadingContract
from onward.testing.contracts.registration import RegistrationContract
from onward.testing.contracts.scenes import OpenBroker, OpenStore, Published, StoreBench, StoreInspection, logged
from onward.testing.contracts.transactions import TransactionContract, TurnContract
from onward.testing.contracts.views import OpenView, ToldLogs, ViewBench, ViewContract

__all__ = [
    "AccountContract",
    "BacklogContract",
    "DeadLetterContract",
    "DelayBench",
    "DelayContract",
    "DeliveryContract",
    "GroupContract",
    "LogContract",
    "LogElsewhereContract",
    "OpenBroker",
    "OpenDelays",
    "OpenOutbox",
    "OpenStore",
    "OpenView",
    "OutboxBench",
    "OutboxContract",
    "ParkingContract",
    "Published",
    "ReadingContract",
    "RegistrationContract",
    "StoreBench",
    "StoreInspection",
    "ToldLogs",
    "TransactionContract",
    "TurnContract",
    "ViewBench",
    "ViewContract",
    "logged",
]
