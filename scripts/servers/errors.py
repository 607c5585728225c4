"""Why a server is not there: this machine can't have it, or it did not come up."""


class Absent(Exception):
    """This machine lacks what the server needs. The message says what, and how to get it."""


class Failed(Exception):
    """Everything needed is there, and the server did not do what it should. The message ends with its log."""
