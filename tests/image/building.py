"""Builds the images without a registry of images: the base comes from Debian's packages."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["BASE", "USER", "build", "image_name", "require_base", "run_command"]

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
USER = "10001:10001"
#: What the official image has, by Debian's names.
PACKAGES = ("ca-certificates", "netbase", "tzdata", "python3", "python3-venv", "python-is-python3")
CERTIFICATES = Path("etc") / "ssl" / "certs" / "ca-certificates.crt"


def run_command(*command: str | Path, folder: Path = ROOT) -> str:
    """Run a program and return what it printed; its errors are shown, and end the test."""
    done = subprocess.run(
        list(map(str, command)), cwd=folder, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise SystemExit(f"failed with status {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout


def require_base() -> None:
    """Make the base image of the Dockerfile with debootstrap, unless there is one."""
    known = subprocess.run(["buildah", "inspect", BASE], capture_output=True, check=False)
    if known.returncode == 0:
        return
    with tempfile.TemporaryDirectory(prefix="segue-base-") as scratch:
        root = Path(scratch) / "root"
        run_command(
            "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", root
        )
        # Registries are reached from here as from this machine, whose proxy may have a certificate.
        shutil.copyfile("/" / CERTIFICATES, root / CERTIFICATES)
        packed = Path(scratch) / "base.tar"
        run_command("tar", "--directory", root, "--create", "--file", packed, ".")
        run_command("podman", "import", "--quiet", packed, BASE)


def image_name(target: str) -> str:
    """Return the local name of a target of the Dockerfile."""
    return f"localhost/segue-test-{target}"


def build(target: str, options: Sequence[str] = ()) -> int:
    """Build a target and return the size of its image in bytes; steps that were built stay."""
    run_command(
        "buildah", "bud", "--isolation=chroot", "--network=host", "--pull-never", "--layers",
        "--format=docker", "--file=deploy/Dockerfile", f"--target={target}",
        f"--tag={image_name(target)}", *options, ".",
    )  # fmt: skip
    size = run_command("podman", "image", "inspect", "--format", "{{.Size}}", image_name(target))
    return int(size)
