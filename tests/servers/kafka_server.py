"""A real Apache Kafka for the tests: one KRaft node on loopback, in a temporary folder.

`python -m tests.servers.kafka_server --fetch` brings the jars; without arguments it runs a broker
until Ctrl-C and prints its address.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.servers import kafka_jars
from tests.servers.lifetime import Lifetime

JVM = ("-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
# When our end of its pipe closes, the test run is dead: end the broker and remove its folder.
WATCHER = 'cat >/dev/null; kill -KILL "$0" 2>/dev/null; rm -rf "$1"'


class KafkaServer(Lifetime):
    """One broker that is its own controller; `bootstrap` keeps its value over restarts."""

    def __init__(self, **properties: str) -> None:
        """Choose ports and a folder; `properties` override the broker's (`_` stands for `.`)."""
        self._classpath = kafka_jars.classpath()
        self._folder = Path(tempfile.mkdtemp(prefix="tocsin-kafka-"))
        self._overrides = {name.replace("_", "."): value for name, value in properties.items()}
        self._broker: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._port, self._controller_port = _free_ports(2)
        self._formatted = False

    @property
    def bootstrap(self) -> str:
        """Its address, `127.0.0.1:port`."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The broker's process, None when it is down."""
        return self._broker.pid if self._broker else None

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it did not come up; the message ends with its log.
        """
        if self._broker is not None:
            raise RuntimeError("it runs already")
        if not self._formatted:
            self._format()
        with self._log.open("ab") as log:
            self._broker = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, str(self._broker.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._wait_ready(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Shut it down in order; its data stays for `start`."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """SIGKILL: no goodbye, as a crash."""
        self._end(signal.SIGKILL, 10.0)

    def restart(self, timeout_s: float = 60.0) -> None:
        """Up again on the same data and the same address."""
        self.stop()
        self.start(timeout_s)

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _log(self) -> Path:
        return self._folder / "broker.log"

    def _java(self, *arguments: str) -> list[str]:
        return ["java", *JVM, *LOGGING, "-cp", self._classpath, *arguments]

    def _format(self) -> None:
        settings = _settings(self._port, self._controller_port, self._folder / "data")
        settings.update(self._overrides)
        self._properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # With "=", because one cluster in 64 has a name that begins with a dash.
        tool = self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}")
        command = [*tool, "-c", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"cannot format Kafka's storage: {done.stdout}{done.stderr}")
        self._formatted = True

    def _wait_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._broker is None or self._broker.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1.0).close()
                if _answers(self.bootstrap):
                    return
            time.sleep(0.05)
        self._end(signal.SIGKILL, 10.0)
        tail = self._log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"Apache Kafka did not come up:\n{tail}")

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.send_signal(how)
            try:
                broker.wait(timeout_s)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


def _settings(port: int, controller_port: int, data: Path) -> dict[str, str]:
    always = str(2**63 - 1)
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": str(data),
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(4 << 20),
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # After a SIGKILL the broker may register again only when its old session has run out.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "250",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "auto.create.topics.enable": "false",
        # Replayed history keeps its own times: nothing expires, no record is too old or too new.
        "log.retention.ms": "-1",
        "log.message.timestamp.before.max.ms": always,
        "log.message.timestamp.after.max.ms": always,
    }


def _answers(bootstrap: str) -> bool:
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=2000)
    except KafkaError:
        return False
    try:
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, all different: held together, then let go."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def main(arguments: list[str] | None = None) -> int:
    """Fetch the jars, rewrite their lock, or run a broker until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.kafka_server")
    parser.add_argument("--fetch", action="store_true", help="bring the jars into .cache/kafka")
    parser.add_argument("--lock", action="store_true", help="rewrite kafka/jars.sha256")
    options = parser.parse_args(arguments)
    try:
        if options.lock:
            kafka_jars.lock()
        elif options.fetch:
            print(kafka_jars.fetch())
        else:
            _serve()
    except kafka_jars.KafkaUnavailable as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _serve() -> None:
    with KafkaServer() as server, contextlib.suppress(KeyboardInterrupt):
        print(server.bootstrap, flush=True)
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
