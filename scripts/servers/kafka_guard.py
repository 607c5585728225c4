"""The guarded door of a Kafka: a key and its certificate for 127.0.0.1, made by Java's own keytool."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.servers import kafka_jars
from scripts.servers.errors import Failed
from scripts.servers.kafka_settings import Guard

USERS = {"till": "what-till-knows", "stranger": "what-nobody-trusts"}
_PASSWORD = "of-no-interest"  # noqa: S105 - the file is in a temporary folder, for a server of a test
_OPTIONS = ("-alias", "kafka", "-storetype", "PKCS12", "-storepass", _PASSWORD)
_NAMED = ("-dname", "CN=127.0.0.1", "-ext", "SAN=IP:127.0.0.1", "-ext", "BC=ca:true", "-validity", "3650")


def make_guard(folder: Path, port: int) -> Guard:
    """Raises Failed where keytool does."""
    keystore, certificate = folder / "guard.p12", folder / "guard.pem"
    _keytool("-genkeypair", "-keyalg", "EC", "-keystore", str(keystore), *_NAMED)
    _keytool("-exportcert", "-rfc", "-keystore", str(keystore), "-file", str(certificate))
    return Guard(port, keystore, certificate, _PASSWORD, USERS)


def _keytool(command: str, *options: str) -> None:
    keytool = Path(kafka_jars.java()).resolve().with_name("keytool")
    ended = subprocess.run(
        [str(keytool), command, *_OPTIONS, *options], capture_output=True, text=True, check=False, timeout=60
    )
    if ended.returncode != 0:
        raise Failed(f"keytool {command} failed: {ended.stdout}{ended.stderr}")
