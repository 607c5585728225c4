"""Java, and Kafka's jars in the checkout's cache, fetched by Maven at the versions of kafka.pom.xml."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zlib import crc32

from scripts.servers.errors import Absent
from scripts.servers.progress import progress

POM = Path(__file__).with_name("kafka.pom.xml")
CACHE = Path(__file__).parents[2] / ".cache"
OLDEST_JAVA = 17
FETCH_LIMIT_S = 900.0


def java() -> str:
    """The `java` to run. Raises Absent if it is missing or too old."""
    found = shutil.which("java")
    if found is None:
        raise Absent("Kafka needs a Java runtime, and there is none (on Debian: apt-get install default-jre-headless).")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise Absent(
            f"Kafka needs Java {OLDEST_JAVA} or newer, and {found} is: {told.partition(chr(10))[0] or 'no Java'}"
        )
    return found


def version() -> str:
    """Kafka's version, as kafka.pom.xml pins it."""
    found = re.search(r"kafka_[\d.]+</artifactId>\s*<version>([^<]+)", POM.read_text())
    assert found is not None
    return found[1]


def folder() -> Path:
    """Where the jars are, or will be."""
    return CACHE / f"kafka-{version()}-{crc32(POM.read_bytes()):08x}"


def fetch(limit_s: float = FETCH_LIMIT_S) -> Path:
    """The folder with the jars; fetches them if they are not there. Raises Absent if that can't be done in time."""
    jars = folder()
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise Absent("Kafka's jars are fetched by Maven, and there is no mvn (on Debian: apt-get install maven).")
    CACHE.mkdir(exist_ok=True)
    # Under another name until it is whole: an interrupted fetch leaves nothing that looks like Kafka.
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetching-") as partial:
        with progress(f"Fetching Kafka {version()} by Maven into {jars}"):
            _copy(maven, Path(partial), limit_s)
        Path(partial).chmod(0o755)
        try:
            Path(partial).rename(jars)
        except OSError:
            if not jars.is_dir():  # else another run has been faster
                raise
    return jars


def _copy(maven: str, target: Path, limit_s: float) -> None:
    command = [
        maven,
        "--batch-mode",
        "--no-transfer-progress",
        "--strict-checksums",
        f"--file={POM}",
        "dependency:copy-dependencies",
        f"-DoutputDirectory={target}",
        "-DincludeScope=runtime",
    ]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            env={**os.environ, "MAVEN_OPTS": "-Xmx256m"},
        )
    except subprocess.TimeoutExpired as error:
        raise Absent(f"Maven did not fetch Kafka {version()} in {limit_s:.0f} s; is the network slow?") from error
    if ended.returncode != 0:
        errors = [line for line in ended.stdout.splitlines() if line.startswith("[ERROR]")]
        raise Absent(f"Maven could not fetch Kafka {version()}; is there a network? {errors[0] if errors else ''}")


def main() -> int:
    """`python -m scripts.servers.kafka_jars`: have them here before something needs them."""
    try:
        java()
        fetch()
    except Absent as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
