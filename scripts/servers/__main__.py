"""`make servers`: Kafka and PostgreSQL until Ctrl-C; prints the addresses to use. ARGS=postgres starts only that."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from scripts.servers import kafka_jars, postgres
from scripts.servers.errors import Absent, Failed
from scripts.servers.kafka import Kafka
from scripts.servers.postgres import Postgres
from scripts.servers.process import Keeping
from scripts.servers.progress import progress

NAMES = ("kafka", "kafka-cluster", "postgres")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make servers", description="Run real servers until Ctrl-C.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; by default kafka and postgres")
    names = parser.parse_args().names or ["kafka", "postgres"]
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell that starts it in the background has it ignore the second
        signal.signal(number, _leave)
    try:
        with Keeping() as keeping:
            addresses = [start(name, keeping) for name in names]
            sys.stderr.write("Ready. Ctrl-C ends them and deletes their data. To use them:\n")
            print(" ".join(addresses), flush=True)
            threading.Event().wait()
    except (Absent, Failed) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nEnded; nothing is left of them.\n")
    return 0


def start(name: str, keeping: Keeping) -> str:
    """The setting that makes onward use it."""
    if name == "postgres":
        with progress(f"Starting PostgreSQL {postgres.version()}"):
            return f"ONWARD_STORE={Postgres(keeping).url}"
    kafka_jars.java()
    kafka_jars.fetch()
    size = 3 if name == "kafka-cluster" else 1
    with progress(f"Starting Kafka {kafka_jars.version()}, {size} node{'s' * (size > 1)}"):
        return f"ONWARD_BROKER={Kafka(keeping, size).url}"


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
