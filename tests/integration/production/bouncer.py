"""A PgBouncer in transaction mode: few connections serve many clients, each transaction whichever is free."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from scripts.servers.ports import free_ports
from scripts.servers.postgres import ACCOUNT
from scripts.servers.process import Keeping, Process
from tests.absent import absent

DEBIANS = "/usr/sbin/pgbouncer"  # which is not on everybody's PATH


class Bouncer:
    """Before the server of one database, until its keeping closes; `url` is the database's, by way of it."""

    def __init__(self, keeping: Keeping, url: str, *, connections: int) -> None:
        program = shutil.which("pgbouncer") or shutil.which(DEBIANS)
        if program is None:
            absent("PgBouncer was not found (on Debian: apt-get install pgbouncer).")
        user = ACCOUNT if os.geteuid() == 0 else None
        server = conninfo_to_dict(url)
        (port,) = free_ports(1)
        folder = keeping.folder / f"pgbouncer-{os.urandom(4).hex()}"
        folder.mkdir()
        users = self._write(folder / "users", f'"{server["user"]}" "{server["password"]}"\n', user)
        settings = self._write(
            folder / "pgbouncer.ini",
            f"""\
[databases]
* = host={server["host"]} port={server["port"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
server_round_robin = 1
server_reset_query_always = 0
""",
            user,
        )
        self.url = url.replace(f":{server['port']}/", f":{port}/")
        self._process = Process(keeping, "PgBouncer", folder, [program, str(settings)], user=user)
        self.start()

    @staticmethod
    def _write(path: Path, text: str, user: str | None) -> Path:
        path.write_text(text)
        path.chmod(0o600)
        if user is not None:
            shutil.chown(path, user)
        return path

    def start(self) -> None:
        """Returns when it answers."""
        self._process.start()
        self._process.wait_until(self._answers)

    def kill(self) -> None:
        """SIGKILL: every connection by way of it is cut, whatever goes on there."""
        self._process.kill()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True
