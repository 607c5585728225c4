"""What an adapter can promise beyond its port."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can promise beyond the port; the runtime and the docs read it, users print it."""

    durable: bool  # survives the process
    shared: bool  # more than one process can use it at once
    atomic_publish: bool  # a store transaction's events appear in the log by its commit, without a relay
    ordered: bool = True  # one partition has one order
    inline: bool = False  # a transaction's verbs never give up the event loop
    savepoints_are_cheap: bool = True  # one around each event of a batch costs little
