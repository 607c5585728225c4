"""The program of a supervisor's child: `python -m onward.cli.worker TARGET SOCKET DRAIN_SECONDS START`."""

from __future__ import annotations

import logging
import socket
import sys

from onward.cli.starts import read_start
from onward.cli.targets import load
from onward.errors import OnwardError
from onward.runtime.worker import CANNOT_START, run_to_end, work
from onward.telemetry.logs import set_up_logs


def main(target: str, descriptor: str, drain_s: str, start: str) -> int:
    set_up_logs()
    parent = socket.socket(fileno=int(descriptor))
    parent.setblocking(False)
    try:
        app = load(target)
        chosen = read_start(start) if start else None
        return run_to_end(work(app.plan, app.settings, parent, float(drain_s), chosen))
    except OnwardError as error:
        logging.getLogger("onward.worker").error("%s can't start: %s", target, error)
        return CANNOT_START


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
