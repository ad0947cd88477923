"""Apache Kafka's own jars: resolved once by Maven, run by main class.

`pom.xml` beside this module pins the version. No Kafka installation, no shell scripts: every tool
of the distribution is `java -cp <libs>/* <main class>`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

JAVA_MINIMUM = 17
"""Kafka 4.x brokers need Java 17."""

POM = Path(__file__).with_name("pom.xml")
"""The Maven project that pins Kafka's version, in the package so that a wheel holds it."""

_MARKER = "pom.sha256"


class BrokerError(Exception):
    """The development broker cannot do what was asked; the message says why and what to do."""


class JavaMissingError(BrokerError):
    """No Java, or one that is older than Kafka needs."""


class MavenMissingError(BrokerError):
    """No Maven, and the jars are not there yet."""


class JarsUnavailableError(BrokerError):
    """Maven ran and could not resolve the jars; its last lines are in the message."""


@dataclass(frozen=True, kw_only=True)
class KafkaDistribution:
    """Where the jars come from and where they lie.

    pom:  the Maven project that pins the version.
    libs: folder of the resolved jars. Complete or absent, never half filled: jars are resolved
          beside it and moved into place, and resolved again when the pom has changed.
    """

    pom: Path
    libs: Path

    def is_resolved(self) -> bool:
        """Tell whether the jars of this very pom are in place."""
        marker = self.libs / _MARKER
        return marker.is_file() and marker.read_text() == self._fingerprint()

    def resolve(self) -> Path:
        """Make sure that the jars are there and return their folder. Needs Maven only once.

        Raises MavenMissingError or JarsUnavailableError.
        """
        if self.is_resolved():
            return self.libs
        maven = shutil.which("mvn")
        if maven is None:
            raise MavenMissingError(
                f"Maven (mvn) is not on the PATH, and {self.libs} lacks the jars of {self.pom}: "
                "install Maven, or set KAFKA_BOOTSTRAP_SERVERS to a broker that runs already"
            )
        self.libs.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="libs.", dir=self.libs.parent) as scratch:
            fresh = Path(scratch) / "libs"
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={fresh.resolve()}"]
            done = subprocess.run(  # noqa: S603 - a fixed command
                [maven, "-q", "-B", "-f", str(self.pom), *goal],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0 or not fresh.is_dir():
                tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
                raise JarsUnavailableError(f"Maven could not resolve {self.pom}:\n{tail}")
            (fresh / _MARKER).write_text(self._fingerprint())
            if self.libs.exists():
                self.libs.rename(Path(scratch) / "old")
            fresh.rename(self.libs)
        return self.libs

    def command(self, main_class: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line that runs a main class of the jars.

        options: flags of the virtual machine. Raises JavaMissingError.
        """
        return [java(), *options, "-cp", f"{self.libs.resolve()}/*", main_class, *arguments]

    def console_consumer(self, address: str, topic: str, *options: str) -> list[str]:
        """Return the command of Kafka's console consumer, for instance to show a topic.

        >>> kafka = KafkaDistribution(pom=Path("pom.xml"), libs=Path("/libs"))
        >>> kafka.console_consumer("localhost:9092", "t", "--from-beginning")[-1]
        '--from-beginning'
        """
        main = "org.apache.kafka.tools.consumer.ConsoleConsumer"
        arguments = ["--bootstrap-server", address, "--topic", topic, *options]
        return self.command(main, *arguments, options=_TOOL_OPTIONS)

    def console_producer(self, address: str, topic: str, *, key_separator: str = "\t") -> list[str]:
        r"""Return the command of Kafka's console producer: lines `key<separator>value` on stdin."""
        main = "org.apache.kafka.tools.ConsoleProducer"
        properties = ["parse.key=true", f"key.separator={key_separator}"]
        arguments = ["--bootstrap-server", address, "--topic", topic]
        for line in properties:
            arguments += ["--property", line]
        return self.command(main, *arguments, options=_TOOL_OPTIONS)

    def _fingerprint(self) -> str:
        return hashlib.sha256(self.pom.read_bytes()).hexdigest()


# The tools use the broker's logging library; without a level they print all of their settings.
# They end after seconds: the second compiler would take more than it gives.
_TOOL_OPTIONS = (
    "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN",
)  # fmt: skip


def java() -> str:
    """Return the path of a Java that is new enough: JAVA_HOME's, else the PATH's.

    Raises JavaMissingError.
    """
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home, "bin", "java"))] if home else []
    path = next(filter(None, map(shutil.which, [*candidates, "java"])), None)
    if path is None:
        raise JavaMissingError(
            f"no java on the PATH: install Java {JAVA_MINIMUM} or newer, or set "
            "KAFKA_BOOTSTRAP_SERVERS to a broker that runs already"
        )
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < JAVA_MINIMUM:
        raise JavaMissingError(
            f"{path} is not Java {JAVA_MINIMUM} or newer, it says: {said.strip()}"
        )
    return path
