"""`make demo BROKER=kafka STORE=postgres`: the shop on real servers, which start with it and end with it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from scripts.servers.__main__ import start
from scripts.servers.errors import Absent, Failed
from scripts.servers.process import Keeping

BROKERS, STORES = ("sqlite", "kafka", "kafka-cluster"), ("sqlite", "postgres")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="Run the shop on the servers named.")
    parser.add_argument("--broker", choices=BROKERS, default="sqlite", help="BROKER=, by default sqlite")
    parser.add_argument("--store", choices=STORES, default="sqlite", help="STORE=, by default sqlite")
    chosen, rest = parser.parse_known_args()
    if chosen.store != "sqlite" and chosen.broker == "sqlite":
        parser.error("PostgreSQL carries no events: name a broker that does, BROKER=kafka")
    command = [sys.executable, "-m", "onward", "demo", "shop", *rest]
    try:
        with Keeping() as keeping:
            names = [name for name in (chosen.broker, chosen.store) if name != "sqlite"]
            settings = dict(start(name, keeping).split("=", 1) for name in names)
            # Ctrl-C reaches the shop from the terminal: the servers are to outlive its drain. Not SIG_IGN, which the
            # shop would inherit.
            signal.signal(signal.SIGINT, lambda _number, _frame: None)
            with subprocess.Popen(command, env={**os.environ, **settings}) as shop:
                signal.signal(signal.SIGTERM, lambda _number, _frame: shop.terminate())
                return shop.wait()
    except (Absent, Failed) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
