"""The arithmetic that keeps events from being lost or doubled: what is done, what is owed, what is missing.

Pure: no I/O, no clock; every value is frozen and every change returns a new one.
"""

from onward.ledger.arrivals import Arrivals, Run
from onward.ledger.audit import Discrepancy, HandlerTally, Lost, Tally, check, lost_of_producer, lost_on_log
from onward.ledger.intervals import LARGEST, MAX_ENCODED_BYTES, IntervalSet
from onward.ledger.numbering import Lane, Numbering
from onward.ledger.position import Position
from onward.ledger.producers import RECENT, Numbers, ProducerLedger

__all__ = [
    "LARGEST",
    "MAX_ENCODED_BYTES",
    "RECENT",
    "Arrivals",
    "Discrepancy",
    "HandlerTally",
    "IntervalSet",
    "Lane",
    "Lost",
    "Numbering",
    "Numbers",
    "Position",
    "ProducerLedger",
    "Run",
    "Tally",
    "check",
    "lost_of_producer",
    "lost_on_log",
]
