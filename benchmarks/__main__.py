"""`python -m benchmarks [--quick] [--json] [--only WORD]`: what needs no server."""

import sys

from benchmarks.suite import Suite, measure

SUITE = Suite(
    "python -m benchmarks",
    modules=("consume", "publish", "latency", "waiting", "workers", "startup", "peers", "backlog"),
    packages=("onward", "apsw", "msgspec", "faststream", "huey", "persist-queue"),
)

if __name__ == "__main__":
    sys.exit(measure(SUITE))
