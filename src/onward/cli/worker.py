"""The program of a child that the supervisor starts: `python -m onward.cli.worker TARGET SOCKET DRAIN_SECONDS`."""

from __future__ import annotations

import logging
import socket
import sys

from onward.cli.targets import load
from onward.errors import OnwardError
from onward.runtime.worker import CANNOT_START, run_to_end, work
from onward.telemetry.logs import set_up_logs


def main(target: str, descriptor: str, drain_s: str) -> int:
    set_up_logs()
    parent = socket.socket(fileno=int(descriptor))
    parent.setblocking(False)
    try:
        app = load(target)
        return run_to_end(work(app.plan, app.settings, parent, float(drain_s)))
    except OnwardError as error:
        logging.getLogger("onward.worker").error("%s can't start: %s", target, error)
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
