"""A PostgreSQL server on loopback, as durable as by default."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
from psycopg import sql

from scripts.servers.errors import Absent, Failed
from scripts.servers.ports import free_ports
from scripts.servers.process import Keeping, Process

ACCOUNT = "postgres"  # who runs it where we are root, which PostgreSQL refuses to run as
ADMIN = "postgres"
ROLE = "onward"


class Postgres:
    """A running server with the database `onward`, until its keeping closes.

    Its addresses are those of a role that may make databases, and nothing more: what works here needs no superuser.
    """

    def __init__(self, keeping: Keeping) -> None:
        self.programs, user = _programs(), _account()
        self._password = secrets.token_hex(8)
        folder = keeping.folder / f"postgres-{os.urandom(4).hex()}"
        folder.mkdir()
        if user is not None:
            shutil.chown(folder, user)
        _make_data(self.programs, folder, user, self._password)
        (self.port,) = free_ports(1)
        command = [
            str(self.programs / "postgres"),
            *("-D", str(folder / "data")),
            *("-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1"),
            *("-c", "unix_socket_directories="),
            *("-c", "max_prepared_transactions=4"),  # off by default, and sessions of a user's may commit in two phases
        ]
        # SIGQUIT ends it at once, and unlike SIGKILL leaves no shared memory behind.
        self.process = Process(keeping, "PostgreSQL", folder, command, user=user, end_signal=signal.SIGQUIT)
        self.start()
        with self._admin() as admin:
            password = sql.Literal(self._password)
            admin.execute(sql.SQL(f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD {{}}").format(password))
        self.create_database(ROLE)
        self.url = self.url_of(ROLE)

    def url_of(self, database: str) -> str:
        """The address of one of its databases, password and all."""
        return f"postgresql://{ROLE}:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it answers. Does nothing while it runs."""
        self.process.start()
        self.process.wait_until(self._answers)

    def kill(self) -> None:
        """SIGKILL for all of its processes, as if the machine had lost them; the data stay."""
        self.process.kill()

    def frozen(self) -> AbstractContextManager[None]:
        """Within, all of its processes stand still, the connections open."""
        return self.process.frozen()

    def create_database(self, name: str) -> None:
        """An empty one, in some 30 ms."""
        with self._admin() as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
                    sql.Identifier(name), sql.Identifier(ROLE)
                )
            )

    def drop_database(self, name: str) -> None:
        """Ends the connections to it, too."""
        with self._admin() as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _admin(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=ADMIN, user=ADMIN, password=self._password, autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self._admin().close()
        except psycopg.OperationalError:  # not listening yet, or still going through its log
            return False
        return True


def version() -> str:
    """What `postgres --version` says. Raises Absent."""
    told = subprocess.run([_programs() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


def _programs() -> Path:
    """The folder with `postgres` and `initdb`: of the one on the PATH, else Debian's newest."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not installed:
        raise Absent("PostgreSQL's server programs were not found (on Debian: apt-get install postgresql).")
    return max(installed, key=lambda path: float(path.parent.name))


def _account() -> str | None:
    """Whom to run as: nobody else, unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT).pw_name
    except KeyError as error:
        raise Absent(f"PostgreSQL refuses to run as root, and there is no account {ACCOUNT!r} to run it as.") from error


def _make_data(programs: Path, folder: Path, user: str | None, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o600)
    if user is not None:
        shutil.chown(secret, user)
    command = [
        str(programs / "initdb"),
        f"--pgdata={folder / 'data'}",
        f"--username={ADMIN}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]
    ended = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
    )
    secret.unlink()
    if ended.returncode != 0:
        raise Failed(f"PostgreSQL's initdb failed:\n{ended.stdout[-1000:]}{ended.stderr[-1000:]}")
