"""A container of an image, and the processes in it."""

import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.image.building import USER, image_name, run_command

__all__ = ["Container", "Failed", "container", "eventually", "fetch"]

PATIENCE_S = 600.0


class Failed(Exception):
    """What was expected did not happen; the message says what."""


class Container:
    """Runs programs as the image's user on the network of this machine, with volumes of a role."""

    def __init__(self, name: str, volumes: Mapping[str, Path], environment: Mapping[str, str]):
        """Keep the container's name, folders by their place in it, and its variables."""
        self.name = name
        self._options = [f"--volume={folder}:{place}" for place, folder in volumes.items()]
        self._options += [f"--env={name}={value}" for name, value in environment.items()]

    def command(self, *words: str) -> list[str]:
        """Return what runs a program in the container."""
        return [
            "buildah", "run", "--isolation=chroot", f"--user={USER}", *self._options, self.name,
            "--", *words,
        ]  # fmt: skip

    def output(self, *words: str) -> str:
        """Run a program to its end and return what it printed."""
        return run_command(*self.command(*words))

    def started(self, log: Path, *words: str) -> "Role":
        """Start a program that goes on."""
        with log.open("ab") as file:
            process = subprocess.Popen(self.command(*words), stdout=file, stderr=file)
        return Role(words[1], process, log)


class Role:
    """A role that runs in a container."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        """Watch `process`, which is the program that runs the container."""
        self.name = name
        self.begun = time.monotonic()
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it wrote until now."""
        return self._log.read_text(errors="replace")

    def answers(self, address: str) -> float:
        """Wait until an address answers with 200; return the seconds since the start."""

        def there() -> bool:
            if self._process.poll() is not None:
                raise Failed(f"{self.name} ended by itself:\n{self.log[-3000:]}")
            return fetch(address) is not None

        eventually(there, f"{self.name} answers at {address}")
        return time.monotonic() - self.begun

    def stop(self, grace_s: float) -> float:
        """Send SIGTERM to the role itself; return the seconds until it ended.

        With status 0, or, as uvicorn does once it has closed everything, by the signal itself.
        """
        begun = time.monotonic()
        for process in self._inside():
            process.terminate()
        try:
            status = self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end in {grace_s} s of grace") from None
        if status and "subprocess exited on terminated" not in self.log:
            raise Failed(f"{self.name} ended with status {status}:\n{self.log[-3000:]}")
        return time.monotonic() - begun

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self._process.poll() is None:
            for process in self._inside():
                process.kill()
            self._process.wait(60)

    def _inside(self) -> list[psutil.Process]:
        """Processes of the image's user, but for buildah's own, below the one that was started."""
        uid = int(USER.split(":")[0])
        below = psutil.Process(self._process.pid).children(recursive=True)
        return [
            process for process in below
            if process.uids().real == uid and not process.cmdline()[0].startswith("buildah")
        ]  # fmt: skip


@contextmanager
def container(
    target: str, name: str, volumes: Mapping[str, Path], environment: Mapping[str, str]
) -> Iterator[Container]:
    """Make a container of a target's image; it goes in the end."""
    made = run_command(
        "buildah", "from", "--pull-never", f"--name=segue-test-{name}", image_name(target)
    ).strip()
    try:
        yield Container(made, volumes, environment)
    finally:
        run_command("buildah", "rm", made)


def fetch(address: str, token: str = "") -> bytes | None:
    """Return what an address answers; None if it does not, or with an error."""
    asked = urllib.request.Request(address)  # noqa: S310
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            return bytes(answer.read())
    except OSError:
        return None


def eventually(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_S) -> None:
    """Wait for a condition; raise Failed if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.2)
