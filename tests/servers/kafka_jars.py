"""Apache Kafka's jars for the tests: fetched once with Maven, checked against a committed list.

Maven is asked because it knows where its repository is (its own default, or a mirror in the
settings of the machine); nothing here names one. What it brings must have the SHA-256 of
`kafka/jars.sha256`, jar by jar, or it is not used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent / "kafka"
ROOT = Path(__file__).parents[2]
LOCK = HERE / "jars.sha256"
CACHE = ROOT / ".cache" / "kafka"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
HOW_TO_GET = "run `python -m tests.servers.kafka_server --fetch` (needs Java 17+ and Maven)"


class KafkaUnavailable(Exception):
    """Apache Kafka cannot be run here; the message says what to do about it."""


def classpath() -> str:
    """The class path of the fetched jars.

    Raises:
        KafkaUnavailable: no Java, or the jars were not fetched.
    """
    if shutil.which("java") is None:
        raise KafkaUnavailable(f"no Java found; {HOW_TO_GET}")
    folder = _folder(LOCK.read_bytes())
    missing = [name for name in _locked() if not (folder / name).is_file()]
    if missing:
        raise KafkaUnavailable(f"Apache Kafka was not fetched; {HOW_TO_GET}")
    return f"{folder}/*"


def fetch() -> Path:
    """Bring the jars into the project's cache, once; as root on Debian, the tools they need too.

    Raises:
        KafkaUnavailable: no Maven and no way to install it, no network, or a jar with another hash.
    """
    folder = _folder(LOCK.read_bytes())
    if not folder.is_dir() or _problems(folder):
        _need_maven()
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            jars = Path(temporary) / "jars"
            _resolve(jars)
            problems = _problems(jars)
            if problems:
                raise KafkaUnavailable("not what jars.sha256 asks for: " + ", ".join(problems))
            shutil.rmtree(folder, ignore_errors=True)
            jars.rename(folder)
    return folder


def lock() -> None:
    """Write `jars.sha256` anew from what the pom resolves to (after a change of version)."""
    _need_maven()
    with tempfile.TemporaryDirectory() as temporary:
        _resolve(Path(temporary))
        lines = [f"{_digest(jar)}  {jar.name}\n" for jar in sorted(Path(temporary).glob("*.jar"))]
    LOCK.write_text("".join(lines))


def _folder(locked: bytes) -> Path:
    """One folder a lock file, so that a change of version never mixes jars."""
    return CACHE / hashlib.sha256(locked).hexdigest()[:16]


def _locked() -> dict[str, str]:
    pairs = (line.split() for line in LOCK.read_text().splitlines())
    return {name: digest for digest, name in pairs}


def _problems(folder: Path) -> list[str]:
    expected = _locked()
    found = {jar.name: _digest(jar) for jar in folder.glob("*.jar")}
    return sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _need_maven() -> None:
    if shutil.which("mvn") and shutil.which("java"):
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise KafkaUnavailable("Maven is missing; as root: apt-get install maven")
    subprocess.run([apt, "update", "-qq"], check=False)
    command = [apt, "install", "-y", "-qq", "--no-install-recommends", "maven"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, check=False, env=environment).returncode != 0:
        raise KafkaUnavailable("apt-get could not install maven")


def _resolve(into: Path) -> None:
    command = [
        *("mvn", "-q", "-B", "-f", str(HERE / "pom.xml")),
        *(f"{PLUGIN}:copy-dependencies", f"-DoutputDirectory={into}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        problem = next((line for line in done.stdout.splitlines() if "ERROR" in line), "")
        raise KafkaUnavailable(f"Maven could not fetch Apache Kafka: {problem[:300]}")
