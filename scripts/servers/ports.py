"""Free ports on loopback that stay a server's own over its restarts."""

import random
import socket

# Below what kernels give to clients (Linux from 32768, macOS from 49152). A client that tries to reach a server that
# is down would now and then be given the server's own port, connect to itself, and so keep the server from coming back.
FIRST, LAST = 20000, 32000
TRIES = 200


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(range(FIRST, LAST), TRIES):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports were found between {FIRST} and {LAST}")


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
